"""From a finished run to a directory that a trainer reads: the pairs, its configuration, and a README on them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from congrad.errors import UserError
from congrad.exports.card import card
from congrad.exports.configs import COMMANDS, CONFIG_FILES, CONFIGS
from congrad.exports.layouts import FORMATS, KeptPair, Row, check_format, kept_pairs, laid_out
from congrad.exports.setup import HUB_IDS, Setup, setup_of
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

if TYPE_CHECKING:  # transformers takes seconds
    from transformers import PreTrainedTokenizerBase

    from congrad.exports.verify import Check

EXPORT = Kind("export", first=".congrad.begun", last="congrad.json", mark="congrad_export")
"""An export is made in one go (`staging`); an older congrad that was killed has left the first file."""
LEFT_OUT = "left_out.jsonl"
NAMED = 10  # rows that are left out and named
BATCH = 256


class Mark(Record):
    """What is read of `EXPORT.last`."""

    selection: str


FILES = (KEPT, "README.md", *CONFIG_FILES, EXPORT.last)  # all of an export that may be shown to others


@dataclass(frozen=True)
class LeftOutRow:
    """A kept row that the trainer cannot express: its line in `KEPT` of the run."""

    line: int
    reason: str


@dataclass(frozen=True)
class Exported:
    """What was written, and the command that trains on it from there.

    Attributes:
        left_out: rows that are not in the export.
        notes: what of the run the trainer cannot express, and what was compared with what was scored.
    """

    directory: Path
    format: str
    num_pairs: int
    command: str
    left_out: tuple[LeftOutRow, ...] = ()
    notes: tuple[str, ...] = field(default=())


def export_run(
    run: str | Path,
    format: str,
    output: str | Path | None = None,
    *,
    licence: str | None = None,
    lora: bool = False,
) -> Exported:
    """Writes the kept pairs of a finished run in a trainer's layout, with its configuration, and checks them.

    Args:
        run: directory of a run of the filter.
        format: one of `congrad.exports.FORMATS`.
        output: a new or empty directory, or one that an export wrote before; None for one beside the run's files,
            named as the format.
        licence: of the pairs, as the hub names it (`cc-by-4.0`); None leaves it unsaid.
        lora: have the trainer train a LoRA adapter, also where the run was filtered for all weights.

    Raises:
        UserError: there is no such run or format, no pair fits the layout, or the directory holds something else or
            cannot be written.
    """
    check_format(format)
    opened = open_run(Path(run))
    directory = Path(output) if output is not None else opened.directory / format
    if output is None:
        refuse_link(directory)
    check_can_be_made(directory, EXPORT)
    first = next(kept_pairs(opened), None)
    if first is None:
        raise UserError(f"{opened.directory / KEPT} holds no pairs", "raise selection.keep and filter again")
    setup = setup_of(opened, conversational=first.conversational, lora=lora)
    tokenizer, missing = _tokenizer(opened, setup)
    with staging(directory, EXPORT, EXPORT.first, LEFT_OUT, *CONFIG_FILES) as new:  # those of another format
        if tokenizer is not None:
            from congrad.exports.verify import choose

            setup = choose(format, kept_pairs(opened), setup, tokenizer)
        num_pairs, left_out = _write_pairs(new, format, opened, setup, tokenizer)
        checked = _check(new / KEPT, format, opened, setup, tokenizer, left_out) if tokenizer is not None else None
        said = [f"not checked against what was scored: {missing}"] if checked is None else checked.in_words()
        config = CONFIGS[format](setup)
        for name, text in config.files.items():
            write_atomically(new / name, text.encode("utf-8", "replace"))
        shown = [*left_out_in_words(left_out), *said]
        write_atomically(
            new / "README.md", card(opened, format, licence=licence, checked=shown).encode("utf-8", "replace")
        )
        mark = {
            "congrad_export": 1,
            "format": format,
            "pairs": num_pairs,
            "left_out": dict(Counter(row.reason for row in left_out)),
            "checked": _as_data(checked, missing),
            "selection": file_fingerprint(opened.directory / KEPT),
            "versions": versions(),
        }
        write_json(new / EXPORT.last, mark)
    notes = (*config.remarks, *said)
    return Exported(directory, format, num_pairs, COMMANDS[format], tuple(left_out), notes)


def left_out_in_words(rows: Iterable[LeftOutRow]) -> list[str]:
    """How many rows are left out, by reason."""
    counts = Counter(row.reason for row in rows).most_common()
    return [f"{count} {'row is' if count == 1 else 'rows are'} left out: {reason}" for reason, count in counts]


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


def _tokenizer(run: Run, setup: Setup) -> "tuple[PreTrainedTokenizerBase | None, str]":
    """The tokenizer of the run's model, where it can be had without a download; else why there is none."""
    stored = run.settings.get("model", {}).get("name")
    if stored is None:
        return None, "the run names no model"
    if not (Path(setup.model).is_dir() or stored in HUB_IDS):
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        with suppress(HFValidationError, ValueError, OSError):
            if isinstance(try_to_load_from_cache(setup.model, "tokenizer_config.json", revision=setup.revision), str):
                return _loaded(setup.model, setup.revision)
        return None, "the tokenizer of its model is not on this machine"
    return _loaded(stored if stored in HUB_IDS else setup.model, None)


def _loaded(name: str, revision: str | None) -> "tuple[PreTrainedTokenizerBase | None, str]":
    from congrad.models.load import load_tokenizer

    try:
        return load_tokenizer(name, revision=revision), ""
    except UserError as error:
        return None, str(error)


def _write_pairs(
    new: Path, format: str, run: Run, setup: Setup, tokenizer: "PreTrainedTokenizerBase | None"
) -> tuple[int, list[LeftOutRow]]:
    """Writes the rows as they are converted; gives their number, and what is left out."""
    num_pairs, left_out = 0, list[LeftOutRow]()
    kept: list[bytes] = []
    with (new / KEPT).open("xb") as file:
        for line, (pair, row) in enumerate(_converted(run, format, setup, tokenizer), 1):
            if isinstance(row, str):
                left_out.append(LeftOutRow(line, row))
                kept.append(json_line({"line": line, "reason": row, "row": pair.row}))
            else:
                num_pairs += 1
                file.write(json_line(row))
    if num_pairs == 0:
        what = left_out_in_words(left_out)[0]
        raise UserError(f"no pair of {run.directory / KEPT} can be expressed for {format}: {what}", "use --format trl")
    if kept:
        write_atomically(new / LEFT_OUT, b"".join(kept))
    return num_pairs, left_out


def _converted(
    run: Run, format: str, setup: Setup, tokenizer: "PreTrainedTokenizerBase | None"
) -> Iterator[tuple[KeptPair, Row | str]]:
    """Each kept pair with its row, or with the reason why it has none."""
    if tokenizer is None or format == "trl":
        for pair in kept_pairs(run):
            try:
                yield pair, laid_out(pair, format)
            except UserError as error:
                yield pair, error.problem
        return
    from congrad.exports.scored import scored
    from congrad.exports.seen import Dropped
    from congrad.exports.verify import express

    pairs = kept_pairs(run)
    while batch := list(islice(pairs, BATCH)):
        for pair, wanted in zip(batch, scored(batch, tokenizer, setup.max_length), strict=True):
            found = express(pair, format, setup, tokenizer, wanted)
            yield pair, found.reason if isinstance(found, Dropped) else found[0]


def _check(
    path: Path,
    format: str,
    run: Run,
    setup: Setup,
    tokenizer: "PreTrainedTokenizerBase",
    left_out: list[LeftOutRow],
) -> "Check":
    from congrad.exports.verify import check

    without = {row.line for row in left_out}
    written = (pair for line, pair in enumerate(kept_pairs(run), 1) if line not in without)
    return check(path, format, written, setup, tokenizer)


def _as_data(checked: "Check | None", missing: str) -> dict[str, Any]:
    if checked is None or checked.pairs is None:
        return {"pairs": None, "reason": missing if checked is None else checked.unchecked}
    return {"pairs": checked.pairs, "same": checked.same, "differences": checked.differences}
