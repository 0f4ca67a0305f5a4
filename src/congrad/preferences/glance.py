"""A glance at data before `datasets` is imported, for the mistakes that are made most.

A path that leads nowhere, a line that cannot be read, a missing column and an empty field are said in a fraction of the
second that the import takes, by the same rules and in the same words as afterwards. What is unsure is left to those.
"""

import codecs
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from congrad.preferences.languages import column_of_languages, names_that_are_languages
from congrad.preferences.layout import Kind, kind_of_value
from congrad.preferences.names import CHECKED_AT_ONCE, EMPTY_LANGUAGE, Fields, blank, null
from congrad.settings.input import Input
from congrad.sources.bounds import check_columns, check_languages, check_text
from congrad.sources.locate import COMPRESSIONS, CSV_SUFFIXES, JSON_SUFFIXES, first_mistake, locate, suffix
from congrad.sources.paths import check_hub_id, check_split_of_file, data_files, is_saved, names_of

MOST_BYTES = 2**24  # of all files together: parsed in a tenth of a second
# Where one of these is in a path, `datasets` may take the file for another split.
SPLIT_WORDS = ("train", "test", "val", "dev")
SPACE = re.compile(r"[ \t\r\n]*")

CheckNames = Callable[[Mapping[str, Kind], str], Fields]
Row = dict[str, Any]


def glance(source: object, settings: Input, check_names: CheckNames) -> None:
    """Find what is wrong with a path, with the lines of its files and with their columns.

    Args:
        source: as for `load_preferences`; what is not a path is skipped.
        check_names: given what a file's columns hold, and its name, the columns that must be filled in every row; none
            where rows that are not may be left out.
    """
    if not isinstance(source, str | Path):
        return
    files = files_for_sure(source, settings)
    if sum(file.stat().st_size for file in files) > MOST_BYTES:
        return
    found = {str(file): rows for file in files if (rows := rows_for_sure(file, settings)) is not None}
    if len(found) < len(files):
        return
    columns = {name: list(dict.fromkeys(column for row in rows for column in row)) for name, rows in found.items()}
    for name, own in columns.items():
        check_columns(own, name, settings.bounds)
    fields = {name: check_names(kinds_of(own, found[name]), name) for name, own in columns.items()}
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    names = [names_of(file, folder) for file in files]
    column = column_of_languages(columns, names, settings)
    if column is None and settings.languages == "detect":
        languages = []
    elif column is None:
        languages = names_that_are_languages(list(zip(columns, names, strict=True)), settings)
    else:
        languages = [str(row.get(column)) for rows in found.values() for row in rows]
        fields = {name: [(column, EMPTY_LANGUAGE), *own] if own else [] for name, own in fields.items()}
    for name, rows in found.items():
        if any(not isinstance(row.get(column, ""), str | None) for row in rows for column, _ in fields[name]):
            return
        check_filled(name, rows, fields[name])
    check_languages(languages, column, source, settings.bounds)


def kinds_of(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, Kind]:
    """What columns hold, by their first value."""
    kinds: dict[str, Kind] = dict.fromkeys(columns, "other")
    for column in columns:
        kinds[column] = next(filter(None, (kind_of_value(row.get(column)) for row in rows)), "other")
    return kinds


def check_filled(name: str, rows: Sequence[Row], fields: Fields) -> None:
    for column, empty in fields:
        for start in range(0, len(rows), CHECKED_AT_ONCE):
            values = [row.get(column) for row in rows[start : start + CHECKED_AT_ONCE]]
            if None in values:
                raise null(locate(name, start + values.index(None)), column)
            blanks = (i for i, value in enumerate(values, start) if value is not None and not value.strip(" \t\r\n"))
            if empty and (found := next(blanks, None)) is not None:
                raise blank(locate(name, found), column, empty)


def files_for_sure(source: str | Path, settings: Input) -> list[Path]:
    """The files that will be read, in their order; none where only `datasets` knows."""
    path = Path(source)
    if path.is_file():
        check_split_of_file(path, settings)
        return [path]
    if not path.is_dir():
        check_hub_id(source)
        return []
    if is_saved(path):
        return []
    files, _ = data_files(path, settings.files)
    inside = [each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()]
    others = len(inside) > len(files)  # a README can say which file belongs to which split
    splits = any(word in name.lower() for name in inside for word in SPLIT_WORDS)
    plain = settings.split is None and settings.configuration is None and settings.files is None
    return files if plain and not others and not splits else []


def rows_for_sure(file: Path, settings: Input) -> list[Row] | None:
    """The rows of a file of JSON Lines; None where it holds none, and where it is unsure how they will be read."""
    if file.suffix.lower() in COMPRESSIONS or suffix(file.name) not in (*JSON_SUFFIXES, *CSV_SUFFIXES):
        return None
    check_text(file, settings.bounds)
    data = file.read_bytes()
    lines = [line for line in data.split(b"\n") if line.strip()]
    if lines and (suffix(file.name) in CSV_SUFFIXES or data.startswith(codecs.BOM_UTF8)):
        return None
    if lines and not (lines[0].lstrip().startswith(b"{") and lines[0].rstrip().endswith(b"}")):
        return None
    try:
        rows = [orjson.loads(line) for line in lines]
    except ValueError:
        rows = []
    if rows and all(isinstance(row, dict) for row in rows):
        return rows if any(rows) else None
    if lines and settings.on_bad_row == "drop":
        return None
    if not (lines and are_objects(data)) and (mistake := first_mistake(str(file))) is not None:
        raise mistake
    return None


def are_objects(data: bytes) -> bool:
    """Whether a reader that does not care for lines could make out one JSON object after another; unsure counts too."""
    try:
        text, decoder = data.decode().rstrip(" \t\r\n"), json.JSONDecoder()
        end = 0
        while end < len(text):
            space = SPACE.match(text, end)
            assert space is not None
            value, end = decoder.raw_decode(text, space.end())
            if not isinstance(value, dict | None):  # null makes a row of nothing but null
                return False
    except json.JSONDecodeError:
        return False
    except ValueError:  # not UTF-8, or a number of more digits than Python reads
        return True
    return True
