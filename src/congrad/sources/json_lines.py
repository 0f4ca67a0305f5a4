"""Read JSON whose columns change their type from row to row, or whose lines are partly broken.

Arrow's reader takes the types from a file's first block. Here all rows are looked through for a type that holds every
value, and then written to a file in batches. What no type holds is kept as JSON, so that it comes out as it went in.
"""

import codecs
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import orjson
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter
from datasets.table import cast_array_to_feature

from congrad.errors import Spot
from congrad.sources.locate import unpacked
from congrad.sources.part import LeftOut
from congrad.sources.scratch import new_arrow_file
from congrad.sources.source import BATCH
from congrad.words import one_line, quote

NULL, INT, UINT, FLOAT = map(datasets.Value, ("null", "int64", "uint64", "float64"))
JSON = datasets.Json()
SCALARS = {type(None): NULL, bool: datasets.Value("bool"), float: FLOAT, str: datasets.Value("string")}


def read_json(path: Path) -> tuple[datasets.Dataset | None, list[int], list[LeftOut]]:
    """The rows of a file of JSON Lines or of one JSON list, their numbers in the file, and the lines that are none.

    Returns:
        No dataset where the file has no row.
    """
    features: dict[str, Any] = {}
    numbers: list[int] = []
    left: list[LeftOut] = []
    for number, row in rows_of(path):
        if isinstance(row, LeftOut):
            left.append(row)
            continue
        numbers.append(number)
        for column, value in row.items():
            own = feature_of(value)
            features[column] = joined(features[column], own) if column in features else own
    if not features:
        return None, numbers, left
    kinds = datasets.Features(features)
    target = new_arrow_file()
    with ArrowWriter(features=kinds, path=str(target)) as writer:
        waiting: list[dict[str, Any]] = []
        for _, row in rows_of(path):
            if not isinstance(row, LeftOut):
                waiting.append(row)
            if len(waiting) == BATCH:
                writer.write_table(table_of(waiting, kinds))
                waiting = []
        if waiting:
            writer.write_table(table_of(waiting, kinds))
        writer.finalize()
    return datasets.Dataset.from_file(str(target)), numbers, left


def table_of(rows: list[dict[str, Any]], features: datasets.Features) -> pa.Table:
    columns = [
        cast_array_to_feature(pa.array([stored(row.get(name), kind) for row in rows], as_stored(kind)), kind)
        for name, kind in features.items()
    ]
    return pa.Table.from_arrays(columns, schema=features.arrow_schema)


def as_stored(kind: Any) -> pa.DataType:
    """The Arrow type of a feature, with text for JSON."""
    if isinstance(kind, datasets.List):
        return pa.list_(as_stored(kind.feature))
    if isinstance(kind, dict):
        return pa.struct([(key, as_stored(inner)) for key, inner in kind.items()])
    return pa.string() if kind == JSON else kind.pa_type


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any] | LeftOut]]:
    """Every row with its number (from 0), or what is wrong with its line."""
    with unpacked(path) as file:
        is_list = file.read(2**16).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["
    if is_list:
        with unpacked(path) as file:
            rows = parsed(file.read().removeprefix(codecs.BOM_UTF8))
        for number, row in enumerate(rows):
            if isinstance(row, dict):
                yield number, row
            else:
                yield number, not_an_object(row, Spot(str(path), row=number), number)
        return
    number = 0
    for index, line in enumerate(lines_of(path), 1):
        if line.strip():
            yield number, row_of(line, Spot(str(path), line=index), number)
            number += 1


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file; not all that is unpacked can be iterated."""
    rest = b""
    with unpacked(path) as file:
        rest = file.read(2**20).removeprefix(codecs.BOM_UTF8)
        while block := file.read(2**20):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
    yield from rest.split(b"\n")


def row_of(line: bytes, spot: Spot, number: int) -> dict[str, Any] | LeftOut:
    try:
        row = parsed(line)
    except UnicodeDecodeError:
        detail = "not UTF-8; convert it: iconv -f ITS-ENCODING -t UTF-8"
        return LeftOut(spot, number, "not UTF-8", detail=detail)
    except UnicodeEncodeError:
        detail = "half a surrogate pair (\\ud800 to \\udfff alone) is not text; remove it"
        return LeftOut(spot, number, "half a surrogate pair", detail=detail)
    except json.JSONDecodeError as error:
        complaint = f"not JSON ({error.msg}, character {error.colno}): {quote(line.decode())}"
        return LeftOut(spot, number, "not JSON", detail=f"{complaint}; fix the line or remove it")
    except ValueError as error:  # a number of more digits than Python reads
        return LeftOut(spot, number, "cannot be read", detail=f"cannot be read ({one_line(error)}); write it as text")
    return row if isinstance(row, dict) else not_an_object(row, spot, number)


def not_an_object(row: Any, spot: Spot, number: int) -> LeftOut:
    detail = f"{quote(row)} is not a JSON object; write one {{...}} with the row's columns per line"
    return LeftOut(spot, number, "not a JSON object", detail=detail)


def parsed(data: bytes) -> Any:
    """The value of JSON text.

    Raises:
        ValueError: it is none, or holds half a surrogate pair or a number beyond 64 bits, which no type here holds.
    """
    with suppress(orjson.JSONDecodeError):
        value = orjson.loads(data)
        if not has_float_beyond(value):
            return value
    value = json.loads(data.decode())
    json.dumps(value, ensure_ascii=False).encode()
    if has_large(value):
        raise ValueError("a number beyond 64 bits")
    return value


def has_float_beyond(value: Any) -> bool:
    """Whether there is a float that may have been written as an integer beyond 64 bits."""
    if isinstance(value, dict):
        return any(map(has_float_beyond, value.values()))
    if isinstance(value, list):
        return any(map(has_float_beyond, value))
    return isinstance(value, float) and abs(value) >= 2**63


def has_large(value: Any) -> bool:
    """Whether there is an integer beyond 64 bits, which `datasets` would give out as text, or a float beyond them."""
    if isinstance(value, dict):
        return any(map(has_large, value.values()))
    if isinstance(value, list):
        return any(map(has_large, value))
    if isinstance(value, float):
        return math.isinf(value)
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def feature_of(value: Any) -> Any:
    """The type that holds a value exactly."""
    if isinstance(value, int) and not isinstance(value, bool):
        return INT if -(2**63) <= value < 2**63 else UINT if 0 <= value < 2**64 else JSON
    if isinstance(value, list):
        kind: Any = NULL
        for item in value:
            kind = joined(kind, feature_of(item))
        return datasets.List(kind)
    if isinstance(value, dict):
        return {key: feature_of(item) for key, item in value.items()} or JSON
    return SCALARS[type(value)]


def joined(one: Any, other: Any) -> Any:
    """The type that holds the values of both exactly; JSON where there is none."""
    if one == other or other == NULL:
        return one
    if one == NULL:
        return other
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: joined(kind, other[key]) for key, kind in one.items()}
    if isinstance(one, datasets.List) and isinstance(other, datasets.List):
        return datasets.List(joined(one.feature, other.feature))
    return JSON


def stored(value: Any, kind: Any) -> Any:
    """A value as the writer is to be given it: text of JSON where its type is that."""
    if value is None:
        return None
    if kind == JSON:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(kind, datasets.List):
        return [stored(item, kind.feature) for item in value]
    if isinstance(kind, dict):
        return {key: stored(value[key], inner) for key, inner in kind.items()}
    return value
