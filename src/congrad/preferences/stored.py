"""Data as files and Arrow store them: what would cost too much, hold no text, or open what a row names."""

import lzma
import zlib
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils.extract import Extractor

from congrad.errors import UserError
from congrad.preferences.bounds import Nesting, check_columns, most_unpacked, too_deep, too_long, too_much
from congrad.preferences.rows import BATCH, Source
from congrad.settings.input import Bounds
from congrad.words import one_line

PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}  # as `datasets` calls them
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def check_packing(path: Path) -> None:
    """Refuses a file that is packed otherwise than its name says: `datasets` goes by the content, and unpacks archives
    of many files too."""
    wanted = PACKED.get(path.suffix.lower())
    try:
        found = Extractor.infer_extractor_format(path) or None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:  # it looks for a tar within
        raise UserError(f"cannot be read ({one_line(error)})", "check the file and its permissions", at=path) from error
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
                problem = f"cannot be read as a saved dataset ({one_line(error)})"
                raise UserError(problem, "save it again", at=path) from error


def check_rows(dataset: datasets.Dataset, source: Source, bounds: Bounds) -> None:
    """Refuses a row that is too long, and bytes, which no JSON line of the results could hold."""
    for number, table in enumerate(dataset.with_format("arrow").iter(batch_size=BATCH)):
        start = number * BATCH
        if table.nbytes > bounds.row_bytes:
            long = (row for row in range(len(table)) if table.slice(row, 1).nbytes > bounds.row_bytes)
            if (row := next(long, None)) is not None:
                raise too_long(source.where(start + row), bounds)
        for column, values in zip(table.column_names, table.columns, strict=True):
            if any(holds_bytes(chunk) for chunk in values.chunks):
                row = next(row for row in range(len(table)) if holds_bytes(values.slice(row, 1).combine_chunks()))
                fix = "remove the column, or write it as text"
                raise UserError("holds bytes, which JSON cannot", fix, at=source.where(start + row), column=column)


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
