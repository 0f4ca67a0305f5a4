"""Rows of JSON, each with a `key` made of its content: appended as they are done, or written whole."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.files import cannot_write, json_line, write_atomically


def content_key(*parts: Any) -> str:
    """16 hex digits that depend on nothing but the parts (anything that JSON takes)."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: Path) -> None:
    """Raises:
    UserError: an input of a stage is not there.
    """
    if not path.is_file():
        raise UserError("no such file", "run the stage that writes it, or check the path", at=path)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file that a stage finished.

    Raises:
        UserError: a line is damaged, by file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"not JSON ({error})", "run the stage that wrote it again", at=f"{path}:{number}"
                ) from error


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A JSONL file, whole or absent."""
    write_atomically(path, b"".join(json_line(row) for row in rows))


class RowLog:
    """Rows that are appended to a file as they are done, each once, by their `key`.

    A kill in the middle of a line costs that line: what is there of it is cut off when the log is opened again.
    `rows` holds them all, by key, in the order in which they were written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        data = path.read_bytes() if path.exists() else b""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            try:
                row = json.loads(line)
                self.rows[row["key"]] = row
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"damaged ({error})", "remove the line and run again", at=f"{path}:{number}") from error
        try:
            self._file = path.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            raise cannot_write(path, error) from error

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Adds rows whose key is not there yet; on return they are on the disk."""
        new = [row for row in rows if row["key"] not in self.rows]
        try:
            self._file.write(b"".join(json_line(row) for row in new))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.rows |= {row["key"]: row for row in new}

    def __enter__(self) -> "RowLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
