"""From a finished run to a directory that a trainer reads: the pairs, its configuration, and a README that says what
they are."""

import os
from dataclasses import dataclass
from pathlib import Path

from congrad.errors import UserError
from congrad.exports.card import card
from congrad.exports.configs import COMMANDS, CONFIG_FILES, CONFIGS, setup_of
from congrad.exports.kept import kept_pairs
from congrad.exports.layouts import LAYOUTS, check_format
from congrad.files import json_line, versions, write_atomically, write_json
from congrad.filtering.finished import KEPT, Run, open_run
from congrad.stage import file_fingerprint, read_json

MARK = "congrad.json"  # written last: an export that is whole
BEGUN = ".congrad.begun"  # there from the first file to the last: an export that was killed may be given again


@dataclass(frozen=True)
class Exported:
    """What was written, and the command that trains on it from there."""

    directory: Path
    format: str
    num_pairs: int
    command: str


def export_run(
    run: str | Path, format: str, output: str | Path | None = None, *, licence: str | None = None
) -> Exported:
    """Writes the kept pairs of a finished run in a trainer's layout, with its configuration.

    Args:
        run: directory of a run of the filter.
        format: one of `congrad.exports.FORMATS`.
        output: a new or empty directory, or one that an export wrote before; None for one beside the run's files,
            named as the format.
        licence: of the pairs, as the hub names it (`cc-by-4.0`); None leaves it unsaid.

    Raises:
        UserError: there is no such run or format, a pair does not fit the layout (by file and line), or the directory
            holds something else or cannot be written.
    """
    check_format(format)
    opened = open_run(Path(run))
    directory = Path(output) if output is not None else opened.directory / format
    _make(directory)
    for name in (MARK, *CONFIG_FILES):  # of an export in another format there
        (directory / name).unlink(missing_ok=True)
    num_pairs, conversational = _write_pairs(directory / KEPT, format, opened)
    for name, text in CONFIGS[format](setup_of(opened, conversational=conversational)).items():
        write_atomically(directory / name, text.encode())
    write_atomically(directory / "README.md", card(opened, format, licence=licence).encode("utf-8", "replace"))
    mark = {
        "congrad_export": 1,
        "format": format,
        "pairs": num_pairs,
        "selection": file_fingerprint(opened.directory / KEPT),
        "versions": versions(),
    }
    write_json(directory / MARK, mark)
    (directory / BEGUN).unlink()
    return Exported(directory, format, num_pairs, COMMANDS[format])


def stale_exports(run: Path) -> list[Path]:
    """Exports beside a run's files that were made of another selection than the one that lies there now."""
    marks = [run / format / MARK for format in LAYOUTS if (run / format / MARK).is_file()]
    if not marks:
        return []
    now = file_fingerprint(run / KEPT)
    return [mark.parent for mark in marks if read_json(mark).get("selection") != now]


def _make(directory: Path) -> None:
    try:
        if directory.exists() and (
            not directory.is_dir()
            or (any(directory.iterdir()) and not any((directory / name).is_file() for name in (MARK, BEGUN)))
        ):
            raise UserError(f"--output {directory} is there already and no export of congrad's; name another directory")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / BEGUN).touch()
    except OSError as error:
        raise UserError(f"--output {directory} cannot be made ({error.strerror}); name another directory") from error


def _write_pairs(path: Path, format: str, run: Run) -> tuple[int, bool]:
    """Writes the rows as they are converted; gives their number, and whether they are conversations."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    conversational, num_pairs = False, 0
    try:
        with temporary.open("wb") as file:
            for pair in kept_pairs(run):
                num_pairs += 1
                conversational = pair.conversational
                file.write(json_line(LAYOUTS[format](pair)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write ({error.strerror}); free some space, or choose another --output"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    if num_pairs == 0:
        raise UserError(f"{run.directory / KEPT} holds no pair; filter with a greater --keep")
    return num_pairs, conversational
