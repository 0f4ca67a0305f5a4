"""From a finished run to a directory that a trainer reads: the pairs, its configuration, and a README on them."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from congrad.errors import UserError
from congrad.exports.card import card
from congrad.exports.configs import COMMANDS, CONFIG_FILES, CONFIGS, setup_of
from congrad.exports.layouts import FORMATS, check_format, kept_pairs, laid_out
from congrad.files import json_line, versions, write_atomically, write_json
from congrad.filtering.finished import KEPT, Run, open_run
from congrad.stage import (
    Kind,
    Record,
    check_can_be_made,
    file_fingerprint,
    is_finished,
    read_json,
    refuse_link,
    staging,
)

EXPORT = Kind("export", first=".congrad.begun", last="congrad.json", mark="congrad_export")
"""An export is made in one go (`staging`); an older congrad that was killed has left the first file."""


class Mark(Record):
    """What is read of `EXPORT.last`."""

    selection: str


FILES = (KEPT, "README.md", *CONFIG_FILES, EXPORT.last)  # all that any export writes


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
    if output is None:
        refuse_link(directory)
    check_can_be_made(directory, EXPORT)
    with staging(directory, EXPORT, EXPORT.first, *CONFIG_FILES) as new:  # CONFIG_FILES: of another format
        num_pairs, conversational = _write_pairs(new / KEPT, format, opened)
        for name, text in CONFIGS[format](setup_of(opened, conversational=conversational)).items():
            write_atomically(new / name, text.encode("utf-8", "replace"))
        write_atomically(new / "README.md", card(opened, format, licence=licence).encode("utf-8", "replace"))
        mark = {
            "congrad_export": 1,
            "format": format,
            "pairs": num_pairs,
            "selection": file_fingerprint(opened.directory / KEPT),
            "versions": versions(),
        }
        write_json(new / EXPORT.last, mark)
    return Exported(directory, format, num_pairs, COMMANDS[format])


def stale_exports(run: Path) -> list[Path]:
    """Exports beside a run's files that were made from another selection than the present one."""
    exports = [run / format for format in FORMATS if is_finished(run / format, EXPORT)]
    now = file_fingerprint(run / KEPT) if exports else ""
    return [export for export in exports if _selection_of(export) != now]


def _selection_of(export: Path) -> str | None:
    """What the mark of an export says; None where it is damaged, which ends no filter."""
    with suppress(UserError):
        selection: str = read_json(export / EXPORT.last, Mark)["selection"]
        return selection
    return None


def _write_pairs(path: Path, format: str, run: Run) -> tuple[int, bool]:
    """Writes the rows as they are converted; gives their number, and whether they are conversations."""
    conversational, num_pairs = False, 0
    with path.open("xb") as file:
        for pair in kept_pairs(run):
            num_pairs += 1
            conversational = pair.conversational
            file.write(json_line(laid_out(pair, format)))
    if num_pairs == 0:
        raise UserError(f"{run.directory / KEPT} holds no pairs", "raise selection.keep and filter again")
    return num_pairs, conversational
