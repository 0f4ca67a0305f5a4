"""Files that are whole or absent, and values that every JSON reader takes."""

import base64
import importlib.metadata
import json
import math
import os
import platform
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from congrad.errors import UserError
from congrad.machine import CHECK, refused

# Windows has neither, asks for a right to make links, and has no pipes in folders.
NO_FOLLOW, NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
JSON_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_SERIALIZE_NUMPY
PACKAGES = ("congrad", "torch", "transformers", "datasets", "safetensors", "pyarrow", "numpy", "peft", "torchjd", "trl")


def append_to(path: Path) -> BinaryIO:
    """A file to be continued, or a new one; an `OSError` where it is a link, or a pipe that nobody reads."""
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags | NO_FOLLOW | NO_WAIT, 0o666))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file that is renamed to `path` when the block ends well; what cannot be written is a `UserError`.

    Nobody can have prepared it: its name cannot be guessed, and nothing that is there is opened. A link in the place of
    `path` is refused, since whoever made it expects its target to change.
    """
    if path.is_symlink():
        raise UserError("is a symbolic link, which is not written through", "remove the link", at=path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:  # new, or an `OSError`: a link of that name is not followed
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    """What is said of a file or directory that was to be written, by what the system refused.

    Where the error names a file elsewhere, that one is at fault: a block that writes may read as well.
    """
    if error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(path.parent):
        elsewhere = refused(error)
    else:
        elsewhere = None
    own = refused(error, at=path, doing="cannot write", another="choose another output directory")
    return elsewhere or own or UserError(f"cannot write ({error.strerror or error})", CHECK, at=path)


def write_atomically(path: Path, data: bytes) -> None:
    with whole_file(path) as file:
        file.write(data)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8", "backslashreplace"))  # as JSON escapes half a surrogate pair


def without_nan(value: Any) -> Any:
    """NaN and infinities, which JSON has no word for, as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return value


def json_line(row: dict[str, Any]) -> bytes:
    """A row of a JSONL file; NaN is null, and what JSON has no type for is text: bytes in base64, all else as it is
    printed."""
    try:
        return orjson.dumps(row, default=_as_text, option=JSON_LINE)
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits
        return (json.dumps(without_nan(row), ensure_ascii=False, default=_as_text) + "\n").encode(
            "utf-8", "surrogatepass"
        )


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def versions() -> dict[str, str]:
    """Versions of Python and of every installed package that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
