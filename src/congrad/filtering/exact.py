"""Columns as they were published, in files: JSON where it can hold them, and Parquet beside it where it cannot."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from congrad.filtering.directory import DROPPED_EXACT, KEPT_EXACT
from congrad.sources.source import BATCH

JSON_HAS = (
    *(pa.types.is_null, pa.types.is_boolean, pa.types.is_integer),
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
)
LISTS = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)


def is_exact(values: pa.Array) -> bool:
    """Whether JSON gives values back as they are: null, true, false, whole numbers, finite numbers and text, and lists
    and objects of them. Bytes, decimals, dates and times come back as text, NaN and infinities as null."""
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return is_exact(values.storage)
    if pa.types.is_struct(kind):
        return all(map(is_exact, values.flatten()))
    if any(check(kind) for check in LISTS):
        return is_exact(values.flatten())
    if pa.types.is_floating(kind):
        numbers = values.cast(pa.float32()) if pa.types.is_float16(kind) else values
        return pc.all(pc.is_finite(numbers)).as_py() is not False
    return any(check(kind) for check in JSON_HAS)


def inexact_columns(dataset: datasets.Dataset) -> list[str]:
    """The columns that JSON does not give back as they are, in their order."""
    found: set[str] = set()
    for table in tables(dataset):
        for name in table.column_names:
            if name not in found and not all(map(is_exact, table[name].chunks)):
                found.add(name)
    return [name for name in dataset.column_names if name in found]


def inexact_in_words(columns: list[str]) -> str:
    """Which columns they are, and where they are as they were."""
    named = ", ".join(f"`{name}`" for name in columns)
    one = len(columns) == 1
    holds = f"column{'' if one else 's'} {named} hold{'s' if one else ''} what JSON has no type for"
    place = f"{'it is' if one else 'they are'} text or null in kept.jsonl (bytes are base64)"
    return f"{holds}: {place}, and as {'it was' if one else 'they were'} in {KEPT_EXACT}"


def tables(dataset: datasets.Dataset) -> Iterator[pa.Table]:
    """The rows as Arrow has them, batch by batch."""
    yield from dataset.with_format("arrow").iter(batch_size=BATCH)


def write_exact(directory: Path, dataset: datasets.Dataset, score_N: Any, keep_N: Any, column: str) -> None:
    """kept.parquet and dropped.parquet: the input's columns in their own types and the score in `column`."""
    score_N, keep_N = np.asarray(score_N), np.asarray(keep_N)
    features = datasets.Features({**dataset.features, column: datasets.Value(str(score_N.dtype))})
    schema, start = features.arrow_schema, 0
    with ExitStack() as stack:
        kept, dropped = (
            stack.enter_context(pq.ParquetWriter(directory / name, schema)) for name in (KEPT_EXACT, DROPPED_EXACT)
        )
        for table in tables(dataset):
            end = start + len(table)
            scores = pa.array(score_N[start:end], from_pandas=True)  # NaN is null
            whole = table.append_column(column, scores).cast(schema)
            keep = pa.array(keep_N[start:end])
            kept.write_table(whole.filter(keep))
            dropped.write_table(whole.filter(pc.invert(keep)))
            start = end


def columns_for_json(dataset: datasets.Dataset, start: int, end: int) -> dict[str, list[Any]]:
    """Some rows as Python has them, by column. A date or time that Python has no type for, such as one after the year
    9999, is its number in Arrow's units."""
    try:
        columns: dict[str, list[Any]] = dataset[start:end]
    except (ValueError, OverflowError):
        columns = {name: _column(dataset, name, start, end) for name in dataset.column_names}
    return columns


def _column(dataset: datasets.Dataset, name: str, start: int, end: int) -> list[Any]:
    one = dataset.select_columns([name])
    try:
        values: list[Any] = one[start:end][name]
    except (ValueError, OverflowError):
        stored = one.with_format("arrow")[start:end][name]
        values = [_value(stored.slice(row, 1)) for row in range(len(stored))]
    return values


def _value(stored: pa.ChunkedArray) -> Any:
    try:
        return stored.to_pylist()[0]
    except (ValueError, OverflowError):
        return stored.cast(as_numbers(stored.type)).to_pylist()[0]


def as_numbers(kind: pa.DataType) -> pa.DataType:
    """The type with whole numbers in place of dates and times."""
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(as_numbers(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(as_numbers(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(as_numbers(kind.value_type))
    return kind
