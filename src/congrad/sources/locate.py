"""Find a row in a text file, to say where a mistake is. Runs only when there is one, so it may read slowly."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from congrad.errors import Spot, UserError
from congrad.machine import refused
from congrad.words import one_line, quote

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
CSV_SUFFIXES = {".csv": ",", ".tsv": "\t"}
PARQUET_SUFFIXES = (".parquet",)


def open_zstd(path: Path) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


UNPACK: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": open_zstd}
COMPRESSIONS = tuple(UNPACK)


def suffix(name: str) -> str:
    """The suffix of the file's format, without a compression's suffix: `de.jsonl.gz` is `.jsonl`."""
    path = Path(name)
    return Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSIONS else path.suffix.lower()


def locate(name: str, row: int) -> Spot:
    """Name row `row` (0-based) of a file: `FILE:LINE` for JSON Lines and CSV, else `FILE, row N (counted from 0)`."""
    line = next(islice(_row_lines(name), row, None), None)
    return Spot(name, line=line) if line else Spot(name, row=row)


def locate_rows(name: str, rows: Sequence[int]) -> list[Spot]:
    """The same of many rows; the file is read once."""
    if not rows:
        return []
    lines = dict(zip(range(max(rows) + 1), _row_lines(name), strict=False))
    return [Spot(name, line=lines[row]) if lines.get(row) else Spot(name, row=row) for row in rows]


def explain(name: str, error: BaseException) -> UserError:
    """Say, by reading the file again, why `datasets` could not: the first line that is not UTF-8, JSON or an object;
    where there is none, what the machine refused, or else the first cause of the error that it raised."""
    if suffix(name) in (*JSON_SUFFIXES, *CSV_SUFFIXES) and (mistake := first_mistake(name)):
        return mistake
    while error.__cause__:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno is not None:  # of the system's, not of Arrow's own
        own = error.filename is None
        another = "set HF_DATASETS_CACHE to another directory" if own else "name another file"
        if found := refused(error, at=name if own else None, another=another):
            return found
    complaint = one_line(error) or type(error).__name__
    fix = "check that the file has the format that its name says"
    return UserError(f"`datasets` cannot read it ({complaint})", fix, at=name)


def unpacked(path: Path) -> Any:
    """A file of bytes, unpacked by its suffix."""
    return UNPACK[path.suffix.lower()](path) if path.suffix.lower() in COMPRESSIONS else path.open("rb")


def _read(name: str) -> bytes:
    with unpacked(Path(name)) as file:
        data: bytes = file.read()
    return data.removeprefix(codecs.BOM_UTF8)


def _row_lines(name: str) -> Iterator[int]:
    """The 1-based line on which each row starts; nothing where rows are not lines."""
    if not Path(name).is_file():
        return
    if suffix(name) in CSV_SUFFIXES:
        csv.field_size_limit(2**31 - 1)  # of 131,072 characters otherwise, which an answer may have
        text = io.StringIO(_read(name).decode(errors="replace"), newline="")
        reader = csv.reader(text, delimiter=CSV_SUFFIXES[suffix(name)])
        start, header = 1, True
        for record in reader:
            if record and not header:
                yield start
            header = header and not record
            start = reader.line_num + 1
    elif suffix(name) in JSON_SUFFIXES:
        lines = _read(name).split(b"\n")
        first = next((line for line in lines if line.strip()), b"")
        if first.lstrip().startswith(b"{") and first.rstrip().endswith(b"}"):  # else one array or object, indented
            yield from (number for number, line in enumerate(lines, 1) if line.strip())


def first_mistake(name: str) -> UserError | None:
    """The first line of a JSON, JSON Lines or CSV file that cannot be read; None where there is none."""
    data = _read(name)
    if not data.strip():
        return UserError("no rows", "the file is empty", at=name)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        return UserError(f"not UTF-8 ({byte})", "convert it: iconv -f ITS-ENCODING -t UTF-8", at=Spot(name, line))
    if suffix(name) in CSV_SUFFIXES:
        return None if any(_row_lines(name)) else UserError("no rows", "there is nothing after the header", at=name)
    if text.lstrip().startswith("["):
        try:
            return None if json.loads(text) else UserError("no rows", "the array is empty", at=name)
        except json.JSONDecodeError as error:
            complaint = f"not JSON ({error.msg}, character {error.colno})"
            return UserError(complaint, "fix the line", at=Spot(name, error.lineno))
        except ValueError as error:  # a number of more digits than Python reads
            return UserError(f"cannot be read ({one_line(error)})", "write it as text", at=name)
    for number, row_text in enumerate(text.split("\n"), 1):
        if not row_text.strip():
            continue
        try:
            row = json.loads(row_text)
            is_text = _is_text(row)
        except json.JSONDecodeError as error:
            complaint = f"not JSON ({error.msg}, character {error.colno}): {quote(row_text)}"
            return UserError(complaint, "fix the line or remove it", at=Spot(name, number))
        except ValueError as error:
            return UserError(f"cannot be read ({one_line(error)})", "write it as text", at=Spot(name, number))
        if not isinstance(row, dict):
            fix = "write one {...} with the row's columns per line"
            return UserError(f"{quote(row)} is not a JSON object", fix, at=Spot(name, number))
        if not is_text:
            complaint = "half a surrogate pair (\\ud800 to \\udfff alone) is not text"
            return UserError(complaint, "remove it", at=Spot(name, number))
    return None


def _is_text(row: object) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
