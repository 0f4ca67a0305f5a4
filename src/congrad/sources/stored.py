"""Data as files and Arrow store them: what would cost too much, hold no text, or open what a row names."""

from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils.extract import Extractor

from congrad.errors import UserError
from congrad.settings.input import Bounds
from congrad.sources.bounds import (
    UNREADABLE,
    Nesting,
    check_columns,
    most_unpacked,
    too_deep,
    too_long,
    too_much,
    unreadable,
)
from congrad.sources.confine import not_saved
from congrad.sources.source import BATCH, Source

PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}  # as `datasets` calls them
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def check_packing(path: Path) -> None:
    """Refuses a file that is packed otherwise than its name says: `datasets` goes by the content, and unpacks archives
    of many files too."""
    wanted = PACKED.get(path.suffix.lower())
    try:
        found = Extractor.infer_extractor_format(path) or None
    except UNREADABLE as error:  # it looks for a tar within
        raise unreadable(path, error) from error
    if found != wanted:
        problem = f"is {found or 'not packed'} inside, and {wanted or 'plain'} by its name"
        raise UserError(problem, "unpack it, or name it by what it is", at=path)


def check_parquet(path: Path, bounds: Bounds) -> None:
    """Refuses what its footer says of columns and of nested features, and more values than a file of its size holds,
    before `datasets` follows it."""
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    check_columns(schema.names, str(path), bounds)
    if Nesting().beyond(bounds.depth, (schema.metadata or {}).get(b"huggingface", b"")) is not None:
        raise too_deep(path, bounds)
    most = most_unpacked(path, bounds)
    sizes = (batch.nbytes for batch in file.iter_batches(batch_size=BATCH))  # a value that is repeated is stored once
    if any(total > most for total in accumulate(sizes)):
        raise too_much(path, most)


def check_stored(dataset: datasets.Dataset, path: Path) -> None:
    """Refuses a saved dataset whose values lie outside of their file: it is mapped into memory as it is, and to read
    them would be to read other memory, or to end the process."""
    for column in dataset.data.table.columns:
        for chunk in column.chunks:
            try:
                chunk.validate(full=True)
            except pa.ArrowInvalid as error:
                if chunk.type in (pa.string(), pa.large_string()) and "UTF8" in str(error):
                    continue  # said later, with the row; its places are right, or that would have been said first
                raise not_saved(path, error) from error


def check_rows(dataset: datasets.Dataset, source: Source, bounds: Bounds) -> None:
    """Refuses a row that is too long."""
    for number, table in enumerate(dataset.with_format("arrow").iter(batch_size=BATCH)):
        start = number * BATCH
        if (row := first_long(table, bounds.row_bytes)) is not None:
            raise too_long(source.where(start + row), bounds)


def first_long(table: pa.Table, most: int) -> int | None:
    """The first row of more bytes than that; a part that has no more as a whole holds none."""
    if table.nbytes <= most:
        return None
    if len(table) == 1:
        return 0
    half = len(table) // 2
    if (found := first_long(table.slice(0, half), most)) is not None:
        return found
    found = first_long(table.slice(half), most)
    return None if found is None else half + found


def holds_bytes(values: pa.Array) -> bool:
    """Whether there are bytes in a column's values, at any depth."""
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return holds_bytes(values.storage)
    if any(check(kind) for check in BYTES):
        return bool(values.null_count < len(values))
    if pa.types.is_struct(kind):
        return any(map(holds_bytes, values.flatten()))
    if pa.types.is_nested(kind) and hasattr(values, "flatten"):
        return holds_bytes(values.flatten())
    return False


def undecoded(feature: Any) -> Any:
    """The feature of a column whose images or sounds stay as they are stored: nothing that a row names is opened."""
    if hasattr(feature, "decode") and getattr(feature, "_type", None) != "Json":
        return replace(feature, decode=False)
    if isinstance(feature, datasets.List | datasets.LargeList):
        return replace(feature, feature=undecoded(feature.feature))
    if isinstance(feature, dict):
        return {key: undecoded(inner) for key, inner in feature.items()}
    return feature
