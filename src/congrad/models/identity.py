"""Which model it is, from the outside: files, name and revision, without loading it."""

import hashlib
from pathlib import Path
from typing import Any

from congrad.models.packaged import PACKAGES, resolve

SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".jinja", ".txt", ".py")
WHOLE = 64 << 20  # files up to here are read whole
PIECE, PIECES = 1 << 16, 512  # of longer ones so many pieces, evenly spread: training changes weights everywhere


def identify(name: str, revision: str | None = None) -> dict[str, Any]:
    """What tells this model from another, in values that JSON takes and that depend on no path.

    A directory is told by the content of its files, where a file of weights is sampled: that finds a model that was
    trained or replaced, and is no proof against one that was tampered with.

    Args:
        name: a short name, a directory or a hub id.
        revision: of a hub id.
    """
    if name in PACKAGES:
        return {"name": name, "sha256": PACKAGES[name].sha256}
    directory = Path(resolve(name))
    if not directory.is_dir():
        return {"name": name, "revision": revision}
    files = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and path.is_file())
    return {"files": {path.name: _digest(path) for path in files}}


def _digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for number in range(PIECES):
            file.seek((size - PIECE) * number // (PIECES - 1))
            digest.update(file.read(PIECE))
        return digest.hexdigest()
