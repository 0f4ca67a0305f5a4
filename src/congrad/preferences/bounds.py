"""What a file may ask of memory and time, checked in its bytes before a parser meets them.

Parsers of JSON go down into a value by calling themselves: a line of 100,000 brackets ends the process. And a packed
file may hold a thousand times its size. Rows that have been read are checked in `congrad.preferences.read`.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from congrad.errors import Spot, UserError
from congrad.preferences.locate import JSON_SUFFIXES, suffix
from congrad.settings.input import Bounds
from congrad.words import human_bytes, one_line, quote

BLOCK_BYTES = 2**20
MOST_PACKED = 100  # times its size that any packed file may hold: text is packed to a third or a tenth
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
OTHERS = NOT_BRACKETS.replace(b"\n", b"")
STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}


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
    elif path.suffix.lower() in UNPACK:
        for _ in blocks(path, bounds):
            pass


def blocks(path: Path, bounds: Bounds) -> Iterator[bytes]:
    """The bytes of a file, unpacked."""
    unpack = UNPACK.get(path.suffix.lower())
    try:
        most, total = max(bounds.unpacked_bytes, MOST_PACKED * path.stat().st_size), 0
        with open(path, "rb") if unpack is None else unpack(path) as file:
            while block := file.read(BLOCK_BYTES):
                total += len(block)
                if unpack is not None and total > most:
                    problem = f"holds more than {human_bytes(most)} when it is unpacked"
                    raise beyond("unpacked_bytes", problem, "unpack it yourself", path)
                yield block
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        problem = f"cannot be read ({one_line(error)})"
        raise UserError(problem, "check the file and its permissions", at=path) from error


def zstd(path: Path) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


UNPACK: dict[str, Callable[[Path], BinaryIO]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstd}  # type: ignore[dict-item]


def check_json(path: Path, data: Iterator[bytes], bounds: Bounds) -> None:
    """Refuses values that lie too deep in one another, and lines that are too long for a row.

    Only brackets outside of strings count. Nearly all lines need no such count: see `are_ordinary`.
    """
    line, rest, is_list = 1, b"", None
    whole, lines = Nesting(), Lines(path, bounds)
    for block in data:
        if is_list is None and (start := block.lstrip(b"\xef\xbb\xbf \t\r\n")):
            is_list = start.startswith(b"[")
        if is_list:
            if whole.deepest(block) > bounds.depth:
                raise too_deep(path, line, bounds)
            line += block.count(b"\n")
            continue
        *ended, rest = (rest + block).split(b"\n")
        lines.check(ended)
        if len(rest) > bounds.row_bytes:
            raise too_long(Spot(str(path), line=lines.number), bounds)
    lines.check([rest])


class Lines:
    """Lines of JSON, of which each holds a row, or several do."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.number = 1  # of the next one
        self._path, self._bounds = path, bounds
        self._depth, self._before = 0, b""

    def check(self, lines: Sequence[bytes]) -> None:
        """Refuses one of the next lines that is too long or too deep.

        A line that begins with `{` can go on with a value of the line before only if that ends in `[`, `,` or `:`.
        """
        if self._depth or not are_ordinary(lines, self._bounds):
            for number, line in enumerate(lines, self.number):
                text = line.strip()
                if text.startswith(b"{") and not self._before.endswith((b"[", b",", b":")):
                    self._depth = 0
                if len(text) > self._bounds.row_bytes:
                    raise too_long(Spot(str(self._path), line=number), self._bounds)
                nesting = Nesting(self._depth)
                if nesting.deepest(text) > self._bounds.depth:
                    raise too_deep(self._path, number, self._bounds)
                self._depth, self._before = max(nesting.depth, 0), text or self._before
        self.number += len(lines)


def are_ordinary(lines: Sequence[bytes], bounds: Bounds) -> bool:
    """Whether each is `{...}`, short and of few brackets, wherever these are."""
    return (
        {line[:1] for line in lines} <= {b"{"}
        and {line[-1:] for line in lines} <= {b"}"}
        and max(map(len, lines), default=0) <= bounds.row_bytes
        and max(map(len, b"\n".join(lines).translate(None, OTHERS).split(b"\n"))) <= bounds.depth
    )


def too_deep(path: Path, line: int, bounds: Bounds) -> UserError:
    problem = f"nested too deeply (more than {bounds.depth} lists and objects in one another)"
    return beyond("depth", problem, "fix the line or remove it", Spot(str(path), line=line))


def too_long(place: Spot, bounds: Bounds) -> UserError:
    problem = f"a row of more than {human_bytes(bounds.row_bytes)}"
    return beyond("row_bytes", problem, "shorten it or remove it", place)


class Nesting:
    """How deep JSON text is, read block by block."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self._held = b""  # what belongs to the next block: the quote of a string that is open, and a backslash

    def deepest(self, block: bytes) -> int:
        """The greatest depth within the next block."""
        text = self._held + block
        end = len(text.rstrip(b"\\"))
        text, slashes = text[:end], text[end:]
        parts = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        self._held = (b"" if len(parts) % 2 else b'"') + slashes[: len(slashes) % 2]
        depths = list(
            accumulate(map(STEPS.__getitem__, b"".join(parts[::2]).translate(None, NOT_BRACKETS)), initial=self.depth)
        )
        self.depth = depths[-1]
        return max(depths)
