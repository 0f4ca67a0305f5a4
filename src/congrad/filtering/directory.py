"""What the directory of a run is, and whether it can become one. Reads and writes no results."""

import json
import os
from pathlib import Path

from congrad.errors import UserError

STAGING = ".new"
SCORE_COLUMN = "congrad_score"


def is_run(directory: Path) -> bool:
    """Whether a run of ours was finished or begun here."""
    if (directory / "index" / "plan.json").is_file():
        return True
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "congrad" in manifest


def check_output(directory: Path) -> None:
    """Checks that a directory is new, empty or a run of ours, and that it can be written. Leaves it as it was.

    Raises:
        UserError: it is none of these, or cannot be written.
    """
    try:
        if directory.exists() and not directory.is_dir():
            raise UserError(f"--output {directory} is a file; name a directory")
        # What a run leaves that was killed in its first moments are folders and temporary files.
        if any(not is_temporary(path) for path in directory.rglob("*") if path.is_file()) and not is_run(directory):
            raise UserError(
                f"--output {directory} is not empty and no run of congrad's; name a new or an empty directory"
            )
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe = directory / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        finally:
            for path in missing:
                if path.is_dir():
                    path.rmdir()
    except OSError as error:
        raise UserError(f"--output {directory} cannot be written ({error.strerror}); name another directory") from error


def is_temporary(path: Path) -> bool:
    return path.name.startswith(".") or path.parent.name == STAGING
