"""The life of a directory that is written: begun, filled, finished. Runs, indexes, exports and stages all keep to it.

    begun       its first file says what decides its content; other settings are refused by naming the first difference
    filled      by rows (`RowLog`), or by shards and files that are whole or absent (`congrad.files.whole_file`)
    finished    its last file, the manifest, is there

What is made in one go has no first file of its own: `staging` replaces all its files together, the manifest last. The
names of the first and the last file differ from kind to kind (`Kind`); for a stage of the loop they are

    stage.json      the stage's name, its settings and fingerprints of its input
    manifest.json   the same, what the stage has to say, and the versions

Rows are JSON, each with a `key` made of its content: appended as they are done (`RowLog`), or written whole.

A directory may come from a stranger: what its JSON may say stands as a `Record` next to what reads it.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from congrad.errors import UserError
from congrad.files import append_to, cannot_write, json_line, versions, write_atomically, write_json
from congrad.words import one_line, quote

MANIFEST, NEW, LOCK = "manifest.json", ".new", ".lock"
MOST_BYTES = 2**28  # of a JSON file that is read whole; languages.json of 1,000 languages has a fifth of it
MOST_NESTED = 64  # lists and objects of such a file; a tool's schema in a stage's settings may have a dozen
MOST_NESTED_IN_ROW = 250  # of a data set's columns; orjson writes no deeper
WRITE_AGAIN = "run the stage that wrote it again"

Amount = Annotated[int, Field(ge=0, le=2**53)]
"""How many there are of something."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}")  # what `whole_file` and a check leave when they are killed
FINGERPRINT = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Kind:
    """How a kind of directory begins and ends.

    Attributes:
        name: for a person: "is not a congrad {name}".
        first, last: the files that are written before and after all others.
        mark: a key of `last` that makes a directory ours without `first`.
    """

    name: str
    first: str
    last: str = MANIFEST
    mark: str | None = None


STAGE = Kind("stage", "stage.json")
# Of every kind of directory, runs to stages: files, and keys that one of them has together.
MARKS: dict[str, list[tuple[str, ...]]] = {
    MANIFEST: [("congrad",)],
    STAGE.first: [("stage", "settings")],
    "plan.json": [("format", "num_pairs", "shard_pairs")],
    "congrad.json": [("congrad_export",)],
    "groups.json": [("congrad_groups",)],
}


class Record(BaseModel):
    """What is read of a JSON file: typed, bounded, and nothing coerced. What else is there is not looked at."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
    most_bytes: ClassVar[int] = 2**22
    """Of the file."""
    fix: ClassVar[str] = WRITE_AGAIN
    """What to do where it is damaged."""


class Begun(Record):
    """A stage's first file."""

    stage: str
    settings: dict[str, Any]


def is_begun(directory: Path, kind: Kind = STAGE) -> bool:
    return (directory / kind.first).is_file()


def is_finished(directory: Path, kind: Kind = STAGE) -> bool:
    return (directory / kind.last).is_file()


def is_ours(directory: Path, kind: Kind) -> bool:
    """Whether a directory of this kind was begun or finished here, or killed while its files took their places."""
    for path in (directory / kind.last, directory / NEW / kind.last):
        with suppress(UserError):
            if kind.mark in read_json(path):
                return True
    return is_begun(directory, kind)


def is_written(directory: Path) -> bool:
    """Whether congrad wrote a directory, of whichever kind; by marks that a folder of data does not have."""
    if (directory / "index" / "plan.json").is_file() or (directory / ".congrad.begun").is_file():
        return True
    for name, keys in MARKS.items():
        for path in (directory / name, directory / NEW / name):
            with suppress(UserError):
                content = read_json(path)
                if any(all(key in content for key in each) for each in keys):
                    return True
    return False


# To begin


def check_can_be_made(directory: Path, kind: Kind) -> None:
    """Raises a `UserError` where a directory is not new, empty or one of ours, or cannot be written. It stays as is."""
    try:
        if directory.exists() and not directory.is_dir():
            raise UserError(f"output: {directory} is a file", "name a directory")
        if not is_ours(directory, kind) and _holds_files(directory):
            problem = f"output: {directory} is not empty and is not a congrad {kind.name}"
            raise UserError(problem, "choose another output directory")
        refuse_links(directory)
        missing = _missing(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe = directory / f".probe.{secrets.token_hex(8)}"
            probe.open("xb").close()
            probe.unlink()
        finally:
            _remove_if_empty(missing)
    except OSError as error:
        problem = f"output: {directory} cannot be written ({error.strerror})"
        raise UserError(problem, "choose another output directory") from error


def _missing(directory: Path) -> list[Path]:
    """The directory and those above it, as far as they are not there; itself first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _remove_if_empty(directories: Iterable[Path]) -> None:
    for path in directories:
        with suppress(OSError):
            path.rmdir()


def refuse_links(directory: Path) -> None:
    """Raises a `UserError` where a symbolic link lies below a directory: whoever passed it on would choose what is
    written over. The directory itself may be one, since its user named it."""
    for place, folders, files in os.walk(directory):
        for name in (*folders, *files):
            refuse_link(Path(place, name))


def refuse_link(path: Path) -> None:
    """The same of a place that will be written and was not named by its user."""
    if path.is_symlink():
        problem = f"output: {path} is a symbolic link, which is not written through"
        raise UserError(problem, "remove the link, or choose another output directory")


def _holds_files(directory: Path) -> bool:
    """Whether anything is there but folders and temporary files, which a kill in the first moments leaves."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return any(not path.name.startswith(".") and path.parent.name != NEW for path in files)


def make(directory: Path, kind: Kind) -> None:
    """Makes a directory for its first file, after `check_can_be_made`."""
    check_can_be_made(directory, kind)
    directory.mkdir(parents=True, exist_ok=True)


@contextmanager
def alone(directory: Path, kind: Kind) -> Iterator[None]:
    """Makes a directory and holds it for this process. The kernel lets go of it when the process ends, however it
    ends. Where nothing came into it, it goes again."""
    missing = _missing(directory)
    make(directory, kind)
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        fix = "wait until it ends, or choose another output directory"
        raise UserError("another congrad is running there", fix, at=directory) from error
    except OSError as error:
        raise cannot_write(directory, error) from error
    try:
        yield
    finally:
        (directory / LOCK).unlink(missing_ok=True)  # as long as it is held: filelock sees that a lock has no file
        lock.release()
        _remove_if_empty(missing)


def sweep(directory: Path) -> None:
    """Removes the temporary files of a killed process."""
    for path in directory.glob(".*"):
        if path.is_file() and TEMPORARY.fullmatch(path.name):
            path.unlink()


def check_same(directory: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses to continue what other settings began: a `UserError` names the first difference, in `wanted`'s order."""
    if found != wanted:
        problem = f"{directory} was begun with {_difference(found, wanted)}"
        raise UserError(problem, "restore the old setting, or choose another output directory")


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in (*wanted, *found):
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    if any(isinstance(value, str) and FINGERPRINT.fullmatch(value) for value in (found, wanted)):
        return f"other content of {where}"
    return f"{where} {one_line(json.dumps(found, ensure_ascii=False))}, now {json.dumps(wanted, ensure_ascii=False)}"


def begin(directory: Path, name: str, settings: Mapping[str, Any]) -> bool:
    """Makes a stage's directory, or continues one that the same settings began.

    Args:
        settings: all that decides its result, fingerprints of the input among them; anything that JSON takes, and
            nothing that may differ between two calls that belong together (a port, an API key).

    Returns:
        Whether the stage is finished already.

    Raises:
        UserError: the directory holds something else, or the settings were others.
    """
    wanted = json.loads(json.dumps({"stage": name, "settings": settings}))
    if is_begun(directory):
        found = read_json(directory / STAGE.first, Begun)
        if found["stage"] != name:
            problem = f"{directory} holds the stage {quote(found['stage'])}, not {name!r}"
            raise UserError(problem, "choose another output directory")
        check_same(directory, found["settings"], wanted["settings"])
        refuse_links(directory)
    else:
        make(directory, replace(STAGE, name=f"{name} stage"))
        write_json(directory / STAGE.first, wanted)
    sweep(directory)
    return is_finished(directory)


# To begin again


def holds_work(path: Path) -> bool:
    """Whether there is anything that took work: a file's first line, or anything in a folder."""
    if path.is_dir():
        return any(path.iterdir())
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline().endswith(b"\n")


def forget(directory: Path, *names: str) -> None:
    """Takes a stage back that was begun: removes these files and folders, and its first file last."""
    for path in (directory / name for name in (*names, STAGE.first)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def forget_if_empty(directory: Path, name: str, rows: str, *others: str) -> None:
    """Takes a stage back that was begun and stopped before its first row, so that it can begin with other settings.

    Args:
        rows: the file that its first row would be in; `others` may lie beside it.
    """
    if is_finished(directory) or not is_begun(directory) or read_json(directory / STAGE.first, Begun)["stage"] != name:
        return
    if not holds_work(directory / rows):
        forget(directory, rows, *others)


# To end


def finish(directory: Path, content: Mapping[str, Any]) -> None:
    """Writes a stage's manifest: its settings, what it has to say, and the versions."""
    write_json(directory / MANIFEST, {**read_json(directory / STAGE.first, Begun), **content, "versions": versions()})


@contextmanager
def staging(directory: Path, kind: Kind, *outdated: str) -> Iterator[Path]:
    """An empty directory whose files take their places in `directory` when the block ends well: all or none.

    The last file is taken away before and put there after the others, so that its presence means that they belong
    together. `outdated` are other files that speak of what was there, and go with it.
    What cannot be written is a `UserError`.
    """
    new = directory / NEW
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)  # what a killed process left
        new.mkdir()
        yield new
        for name in (kind.last, *outdated):
            (directory / name).unlink(missing_ok=True)
        for path in sorted(new.iterdir(), key=lambda path: path.name == kind.last):
            path.replace(directory / path.name)
    except OSError as error:
        raise cannot_write(directory, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def read_json(path: Path, kind: type[Record] | None = None) -> dict[str, Any]:
    """A file that a stage wrote; a `UserError` where it is missing or damaged, or is not of its `kind`."""
    most, fix = (MOST_BYTES, WRITE_AGAIN) if kind is None else (kind.most_bytes, kind.fix)
    try:
        if (size := path.stat().st_size) > most or not path.is_file():
            raise ValueError(f"{size} bytes" if path.is_file() else "not a file")
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            check_nesting(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error})", fix) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object", fix)
    if kind is not None:
        check_record(path, content, kind)
    return content


def check_nesting(content: Any, most: int = MOST_NESTED) -> None:
    """Raises a `ValueError` where lists and objects lie deeper in each other than anything of ours does; whoever
    descends into what is left needs no care."""
    inner = [content]
    for _ in range(most):
        inner = [
            value
            for outer in inner
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, dict | list)
        ]
        if not inner:
            return
    raise ValueError(f"nested more than {most} deep")


def check_record(path: object, content: Mapping[str, Any], kind: type[Record]) -> None:
    """Refuses what a `kind` does not hold: a `UserError` names the file, or its line, and the first key."""
    try:
        kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "value_error":
            problem = str(first["ctx"]["error"])
        else:
            said = "is missing" if first["type"] == "missing" else first["msg"]
            key = ".".join(map(str, first["loc"]))
            problem = f"{key} {said[max(said.find('should '), 0) :]}"  # without "Input" or "String" before it
        raise damaged(path, problem, kind.fix) from None


def damaged(path: object, problem: str, fix: str) -> UserError:
    """What is said of a file that says what nothing of ours wrote."""
    return UserError(f"damaged: {one_line(problem)}", fix, at=path)


# Rows


def content_key(*parts: Any) -> str:
    """16 hex digits that depend on nothing but the parts (anything that JSON takes)."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: Path) -> None:
    """Raises a `UserError` where an input of a stage is not there."""
    if not path.is_file():
        raise UserError("no such file", "run the stage that writes it, or check the path", at=path)


def read_rows(path: Path, kind: type[Record] = Record) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file that a stage finished; a line that is damaged, or is not of its `kind`, is a `UserError`
    that names it."""
    require_file(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                if isinstance(row, dict):
                    check_nesting(row, MOST_NESTED_IN_ROW)
            except (ValueError, RecursionError) as error:
                raise UserError(f"not JSON that can be read ({error})", WRITE_AGAIN, at=f"{path}:{number}") from error
            if not isinstance(row, dict):
                raise UserError("not a JSON object", WRITE_AGAIN, at=f"{path}:{number}")
            check_record(f"{path}:{number}", row, kind)
            yield row


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A JSONL file, whole or absent."""
    write_atomically(path, b"".join(json_line(row) for row in rows))


class LogRow(Record):
    """A row of a `RowLog`."""

    fix = "remove the line and run again"
    key: str


class RowLog:
    """Rows that are appended to a file as they are done, each once, by their `key`.

    A kill in the middle of a line costs that line: what is there of it is cut off when the log is opened again.
    `rows` holds them all, by key, in the order in which they were written. Each is of one `kind`, also those that were
    there before.
    """

    def __init__(self, path: Path, kind: type[LogRow] = LogRow) -> None:
        self.path, self.kind = path, kind
        self.rows: dict[str, dict[str, Any]] = {}
        try:
            self._file = append_to(path)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            place = f"{self.path}:{number}"
            try:
                row = json.loads(line)
                key = row["key"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(f"damaged ({error})", self.kind.fix, at=place) from error
            check_record(place, row, self.kind)
            self.rows[key] = row
        self._file.truncate(whole)

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
