"""What every stage of the loop does alike: it reads one directory, writes one, and goes on after a kill.

    stage.json      the stage's name, its settings and fingerprints of its input; written first
    *.jsonl         rows appended as they are done, each with a `key` made of its content
    manifest.json   written last: its presence means finished

A stage that is begun again with the same settings takes up the rows that are there; with others it is refused.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.files import json_line, versions, write_atomically, write_json

STAGE, MANIFEST = "stage.json", "manifest.json"


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
        raise UserError(f"{path}: no such file; run the stage that writes it, or check the path")


def is_finished(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def begin(directory: Path, name: str, settings: Mapping[str, Any]) -> bool:
    """Makes a stage's directory, or goes on with one that the same settings began.

    Args:
        name: of the stage.
        settings: all that decides its result, fingerprints of the input among them; anything that JSON takes, and
            nothing that may differ between two calls that belong together (a port, an API key).

    Returns:
        Whether the stage is finished already.

    Raises:
        UserError: something else lies there, or the settings were others.
    """
    wanted = json.loads(json.dumps({"stage": name, "settings": settings}))
    path = directory / STAGE
    if path.is_file():
        found = read_json(path)
        if found.get("stage") != name:
            raise UserError(
                f"{directory} holds the stage {found.get('stage')!r}, not {name!r}; choose another --output"
            )
        if found != wanted:
            raise UserError(
                f"{directory} was begun with {_difference(found['settings'], wanted['settings'])}; "
                "restore that, or choose another --output"
            )
        return is_finished(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is there already and no {name} stage of congrad's; choose another --output")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{directory} cannot be made ({error.strerror}); choose another --output") from error
    write_json(path, wanted)
    return False


def forget_if_empty(directory: Path, name: str, rows: str, *others: str) -> None:
    """Takes a stage back that was begun and stopped before its first row, so that it can begin with mended settings.

    Args:
        rows: the file that its first row would be in.
        others: files that it may have left beside it.
    """
    if not (directory / STAGE).is_file() or is_finished(directory) or read_json(directory / STAGE).get("stage") != name:
        return
    log = directory / rows
    if log.exists():
        with log.open("rb") as file:
            if file.readline().endswith(b"\n"):
                return
    for left in (rows, *others, STAGE):
        (directory / left).unlink(missing_ok=True)


def finish(directory: Path, content: Mapping[str, Any]) -> None:
    """Writes the manifest: settings, versions and what the stage has to say."""
    write_json(directory / MANIFEST, {**read_json(directory / STAGE), **content, "versions": versions()})


def read_json(path: Path) -> dict[str, Any]:
    """Raises:
    UserError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); give the stage that wrote it once more") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; give the stage that wrote it once more")
    return content


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """The first setting that differs, in words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    return f"{where} {json.dumps(found, ensure_ascii=False)}, now {json.dumps(wanted, ensure_ascii=False)}"


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
                    f"{path}:{number}: not JSON ({error}); give the stage that wrote it once more"
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
                raise UserError(f"{path}:{number}: damaged ({error}); remove the line and run again") from error
        try:
            self._file = path.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            raise UserError(f"{path}: cannot write ({error.strerror}); make room and run again") from error

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Adds rows whose key is not there yet; on return they are on the disk."""
        new = [row for row in rows if row["key"] not in self.rows]
        try:
            self._file.write(b"".join(json_line(row) for row in new))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"{self.path}: cannot write ({error.strerror}); make room and run again") from error
        self.rows |= {row["key"]: row for row in new}

    def __enter__(self) -> "RowLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
