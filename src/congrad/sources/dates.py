"""JSON has no dates: text that looks like one stays the text that it is, so that what is kept is what was given.

Arrow's JSON reader takes a column whose every value looks like a date for timestamps, and so loses how it was written
(`2026-11-21`, a time zone). Where it did, the file is read again with these columns declared as text.
"""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.json

from congrad.files import json_line
from congrad.sources.locate import unpacked

BLOCK_BYTES = 2**26  # no row may be longer


def with_dates_as_text(path: Path, dataset: datasets.Dataset) -> datasets.Dataset:
    """The dataset that was read from a file of JSON Lines or of one JSON list, with text instead of timestamps at any
    depth; as it is where it holds none."""
    found = dataset.features.arrow_schema
    wanted = pa.schema([as_text(field) for field in found])
    if all(field.type == other.type for field, other in zip(found, wanted, strict=True)):
        return dataset
    try:
        with unpacked(path) as file:
            data = file.read()
        if data.lstrip().startswith(b"["):
            data = b"".join(json_line(row) for row in json.loads(data))
        with pa.BufferReader(data) as lines:
            table = pyarrow.json.read_json(
                lines,
                read_options=pyarrow.json.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=pyarrow.json.ParseOptions(explicit_schema=wanted),
            )
    except (pa.ArrowException, ValueError):  # what `datasets` read in a way of its own
        return dataset
    return datasets.Dataset(table) if len(table) == len(dataset) else dataset


def as_text(field: pa.Field) -> pa.Field:
    """The field with text in place of timestamps."""
    kind = field.type
    if pa.types.is_timestamp(kind):
        kind = pa.string()
    elif pa.types.is_struct(kind):
        kind = pa.struct([as_text(inner) for inner in kind])
    elif pa.types.is_list(kind):
        kind = pa.list_(as_text(kind.value_field))
    return field.with_type(kind)
