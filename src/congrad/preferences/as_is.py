"""Pairs that congrad made itself, or wrote: their columns are those of trainers, and their text is not looked into.

A model may have written what looks like messages or a transcript, and a kept row holds columns out of which its prompt
was made already. To find a layout in such rows once more would change what was scored.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.preferences.conversations import FILL, wrong_message
from congrad.preferences.known_names import CANONICAL
from congrad.preferences.layout import named
from congrad.preferences.names import EMPTY_PROMPT, require
from congrad.preferences.render import is_blank, split_prompt
from congrad.settings.input import Input
from congrad.sources.part import Mistake, Part
from congrad.stage import MANIFEST, STAGE, is_begun, read_json
from congrad.words import quote

ROWS = ("kept.jsonl", "dropped.jsonl", "pairs.jsonl")
OTHER_COLUMNS = ("input.columns.language", "input.columns.group")  # which rows keep as they were
NO_SHARED = Mistake("no shared prompt", "the responses do not begin with the same prompt", "give the prompt a column")


def is_written_here(source: object, settings: Input) -> bool:
    """Whether a source is a file of pairs in a directory of a run or a stage, and settings name no columns in it."""
    if not isinstance(source, str | Path) or (path := Path(source)).name not in ROWS or not path.is_file():
        return False
    if settings.layout not in ("auto", "pairs") or any(key not in OTHER_COLUMNS for key, _ in named(settings.columns)):
        return False
    if is_begun(path.parent, STAGE):
        return True
    try:
        return "congrad" in read_json(path.parent / MANIFEST)
    except UserError:
        return False


def take_as_is(parts: Sequence[Part], on_progress: Callable[[int], None] = lambda rows: None) -> list[Part]:
    """The parts with all text as it stands; rows that are no pair are in `left_out`.

    Args:
        on_progress: called after each part with how many rows are done.

    Raises:
        UserError: a column is missing.
    """
    from congrad.preferences.pairs import decoded, without
    from congrad.preferences.rows import iterate

    found, done = [], 0
    for part in map(decoded, parts):
        there = part.dataset.column_names
        for column in CANONICAL[1:]:
            require(there, part.source.name, column)
        columns = [column for column in CANONICAL if column in there]
        rows = enumerate(iterate(part.dataset, columns))
        wrong = {number: mistake for number, row in rows if (mistake := mistake_of(row)) is not None}
        found.append(without(part, wrong))
        done += len(part.rows)
        on_progress(done)
    return found


def mistake_of(row: Mapping[str, Any]) -> Mistake | None:
    """Why a row is no pair, if it is none."""
    for column, value in row.items():
        if value is None:
            return Mistake(f"{column} is null or missing", "is null or missing", FILL, column)
        if isinstance(value, list):
            wrong = (wrong_message(message, turn, column) for turn, message in enumerate(value))
            if (mistake := next((each for each in wrong if each is not None), None)) is not None:
                return mistake
            if not value:
                return Mistake("empty conversation", "holds an empty conversation", FILL, column)
        elif not isinstance(value, str):
            return Mistake(f"{column} is not text", f"holds {quote(value)}, not text", "write it as text", column)
    if len({type(value) for value in row.values()}) > 1:
        return Mistake("text among conversations", "holds text beside messages", "use one form for all")
    chosen, rejected = row["chosen"], row["rejected"]
    if "prompt" not in row:
        shares = bool(chosen) and bool(rejected) and not is_blank(chosen[: split_prompt(chosen, rejected)])
        return None if shares else NO_SHARED
    if is_blank(row["prompt"]):
        return Mistake(EMPTY_PROMPT, f"holds an {EMPTY_PROMPT}", FILL, "prompt")
    return None
