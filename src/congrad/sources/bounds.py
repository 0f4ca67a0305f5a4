"""What a file may ask of memory and time, checked in its bytes before a parser meets them.

Parsers of JSON go down into a value by calling themselves: a line of 100,000 brackets ends the process. And a packed
file may hold a thousand times its size. Rows that have been read are checked in `congrad.sources.stored`.
"""

import csv
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain, islice
from operator import sub
from pathlib import Path

from congrad.errors import Spot, UserError
from congrad.settings.input import Bounds
from congrad.sources.locate import COMPRESSIONS, CSV_SUFFIXES, JSON_SUFFIXES, suffix, unpacked
from congrad.words import human_bytes, one_line, quote

BLOCK_BYTES = 2**20
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what a damaged file raises when it is unpacked
MOST_PACKED = 100  # times its size that any packed file may hold: text is packed to a third or a tenth
OTHERS = bytes(set(range(256)) - set(b"[]{}\n"))
STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1), ord("\n"): 0}


def beyond(bound: str, problem: str, fix: str, at: object) -> UserError:
    """The refusal of what is beyond a bound of the section `input.bounds`."""
    return UserError(problem, f"{fix}, or raise input.bounds.{bound}", at=at)


def check_columns(columns: Sequence[str], name: str, bounds: Bounds) -> None:
    """Refuses a file of too many columns."""
    if len(columns) > bounds.columns:
        problem = f"{len(columns):,} columns, which begin with {', '.join(map(quote, columns[:5]))}"
        raise beyond("columns", problem, "remove those that are not needed", name)


def check_languages(languages: Sequence[str], column: str | None, name: object, bounds: Bounds) -> None:
    """Refuses a column that groups the rows into too many languages, which is mostly another column."""
    different = list(dict.fromkeys(languages))
    if len(different) > bounds.languages:
        place = "the files' names hold" if column is None else f"column {quote(column)} holds"
        problem = f"{place} {len(different):,} languages, such as {', '.join(map(quote, different[:3]))}"
        raise beyond("languages", problem, "name the column of languages with input.columns.language", name)


def check_text(path: Path, bounds: Bounds) -> None:
    """Reads a text file through once, and refuses what no parser should be given.

    Raises:
        UserError: what is packed does not unpack, or holds too much; a JSON value or row is too deep or too long.
    """
    if suffix(path.name) in JSON_SUFFIXES:
        check_json(path, blocks(path, bounds), bounds)
        return
    if (separator := CSV_SUFFIXES.get(suffix(path.name))) is not None:
        check_header(path, separator, bounds)
    if path.suffix.lower() in COMPRESSIONS:
        for _ in blocks(path, bounds):
            pass


def most_unpacked(path: Path, bounds: Bounds) -> int:
    """The bytes that a packed file may hold."""
    return max(bounds.unpacked_bytes, MOST_PACKED * path.stat().st_size)


def too_much(path: Path, most: int) -> UserError:
    problem = f"holds more than {human_bytes(most)} when it is unpacked"
    return beyond("unpacked_bytes", problem, "unpack it yourself", path)


def check_header(path: Path, separator: str, bounds: Bounds) -> None:
    """Refuses a table of too many columns by its start: to read 20,000 of them takes pandas 13 s."""
    start = next(blocks(path, bounds), b"").decode("utf-8", "replace")
    with suppress(csv.Error, StopIteration):  # which is said when it is read
        check_columns(next(csv.reader(start.splitlines(), delimiter=separator)), str(path), bounds)


def blocks(path: Path, bounds: Bounds) -> Iterator[bytes]:
    """The bytes of a file, unpacked."""
    try:
        most, total = most_unpacked(path, bounds), 0
        with unpacked(path) as file:
            while block := file.read(BLOCK_BYTES):
                total += len(block)
                if total > most and path.suffix.lower() in COMPRESSIONS:
                    raise too_much(path, most)
                yield block
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> UserError:
    """What is said of a file that raises one of `UNREADABLE`."""
    return UserError(f"cannot be read ({one_line(error)})", "check the file and its permissions", at=path)


def check_json(path: Path, data: Iterator[bytes], bounds: Bounds) -> None:
    """Refuses values that lie too deep in one another, and lines that are too long for a row.

    Of most blocks no bracket needs to be counted: see `are_ordinary`. A file that is one list may be a single line.
    """
    number, rest, is_list = 1, b"", None  # of the next line, and what has been read of it
    nesting = Nesting()
    for block in chain(data, [b"\n"]):
        if is_list is None and (start := block.lstrip(b"\xef\xbb\xbf \t\r\n")):
            is_list = start.startswith(b"[")
        if not is_list:
            *lines, rest = (rest + block).split(b"\n")
            if max(map(len, [*lines, rest])) > bounds.row_bytes:
                longer = (i for i, line in enumerate([*lines, rest], number) if len(line) > bounds.row_bytes)
                raise too_long(Spot(str(path), line=next(longer)), bounds)
            if not nesting.depth and are_ordinary(lines, bounds):
                number += len(lines)
                continue
            block = b"\n".join([*lines, b""])
        if (deep := nesting.beyond(bounds.depth, block)) is not None:
            raise too_deep(Spot(str(path), line=number + deep), bounds)
        number += block.count(b"\n")


def are_ordinary(lines: Sequence[bytes], bounds: Bounds) -> bool:
    """Whether each is blank or `{...}` with few brackets, wherever these are.

    What follows such lines starts anew, since in JSON no value goes on from `}` with `{`.
    """
    rows = [row for line in lines if (row := line.strip())]
    return (
        {row[:1] for row in rows} <= {b"{"}
        and {row[-1:] for row in rows} <= {b"}"}
        and max(map(len, b"\n".join(rows).translate(None, OTHERS).split(b"\n"))) <= bounds.depth
    )


def too_deep(place: object, bounds: Bounds) -> UserError:
    problem = f"nested too deeply (more than {bounds.depth} lists and objects that are not closed)"
    return beyond("depth", problem, "close them or remove them", place)


def too_long(place: Spot, bounds: Bounds) -> UserError:
    problem = f"a row of more than {human_bytes(bounds.row_bytes)}"
    return beyond("row_bytes", problem, "shorten it or remove it", place)


class Nesting:
    """How deep JSON text is, read block by block. Strings end with their line, as they do in JSON."""

    def __init__(self) -> None:
        self.depth = 0
        self._held = b""  # what belongs to the next block: the quote of a string that is open, and a backslash

    def beyond(self, most: int, block: bytes) -> int | None:
        """In which line of the next block (from 0) more lists and objects than that are open; None: in none."""
        text = self._held + block
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            text, backslash = text[:-1], text[-1:]
        else:
            backslash = b""
        *ended, last = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b"\n")
        whole = [line[: line.rindex(b'"')] if line.count(b'"') % 2 else line for line in ended]
        self._held = b'"' * (last.count(b'"') % 2) + backslash
        outside = b"".join(b"\n".join([*whole, last]).split(b'"')[::2]).translate(None, OTHERS)
        depths = list(accumulate(map(STEPS.__getitem__, outside), initial=self.depth))
        if min(depths) < 0:  # what is closed and was not open
            depths = list(map(sub, depths, islice(accumulate(depths, min, initial=0), 1, None)))
        self.depth = depths[-1]
        if max(depths) <= most:
            return None
        return outside.count(b"\n", 0, next(i for i, depth in enumerate(depths) if depth > most))
