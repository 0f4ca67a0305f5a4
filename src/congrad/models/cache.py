"""congrad's cache: where it is, whose it is, and the hashes of large files that are kept there.

What lies in it is taken for what was put there, so that nobody else may write into it. It is made for its user alone. A
directory that `CONGRAD_CACHE` names may be someone else's, as long as only its owner can write there.
"""

import hashlib
import os
import re
import sys
import time
from contextlib import suppress
from os import fstat, stat_result
from pathlib import Path

from congrad.errors import UserError
from congrad.files import write_atomically

SHA256 = re.compile("[0-9a-f]{64}")
QUICK = 1 << 20  # up to this many bytes reading takes no longer than looking up
SETTLED = 2.0  # seconds; a younger file may change again within one tick of the file system's clock
OTHERS_WRITE = 0o022


def cache_directory() -> Path:
    """$CONGRAD_CACHE, else congrad in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get("CONGRAD_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "congrad"


def open_cache() -> Path:
    """The cache, made where it is missing; where others could have put something there, a `UserError`."""
    directory = cache_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in (directory, *(directory / name for name in ("models", "sha256"))):
        if part.exists() or part.is_symlink():
            check_owner(part, is_link_allowed=part == directory)
    return directory


def check_owner(directory: Path, *, is_link_allowed: bool) -> None:
    """Takes the right to write from others where the directory is the user's, and refuses one that is not."""
    fix = "remove it if you did not make it, or set CONGRAD_CACHE to a directory of your own"
    if directory.is_symlink() and not is_link_allowed:
        raise UserError("is a link in congrad's cache", fix, at=directory)
    if sys.platform == "win32":  # permissions are another matter there
        return
    found = directory.stat()
    if found.st_uid == os.getuid():
        if found.st_mode & OTHERS_WRITE:  # as a umask of 002 makes it
            directory.chmod(found.st_mode & 0o7777 & ~OTHERS_WRITE)
    elif found.st_mode & OTHERS_WRITE or not os.environ.get("CONGRAD_CACHE"):
        raise UserError("belongs to another user, and models would be loaded from there", fix, at=directory)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex: taken from the name of a blob of the hub's cache, or kept from before."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and SHA256.fullmatch(blob.name):  # large files; names of others are git's hashes
        return blob.name
    with path.open("rb") as file:
        kept = _kept(fstat(file.fileno()))
        if kept is not None and (known := _read(kept)) is not None:
            return known
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if kept is not None and _kept(fstat(file.fileno())) == kept:
            with suppress(OSError, UserError):  # a cache that cannot be written is done without
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(kept, found.encode())
    return found


def _kept(stat: stat_result) -> Path | None:
    """Where the hash of a file is kept; None where it is not."""
    if stat.st_size <= QUICK or time.time() - max(stat.st_mtime, stat.st_ctime) < SETTLED:
        return None
    parts = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    with suppress(OSError, UserError):
        return open_cache() / "sha256" / "-".join(map(str, parts))
    return None


def _read(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        if SHA256.fullmatch(text := path.read_text(encoding="ascii")):
            return text
    return None
