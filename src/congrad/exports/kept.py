"""The kept pairs of a finished run, as the filter scored them: plain text, or conversations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from congrad.filtering.finished import KEPT, Run
from congrad.preferences.render import Message, as_chat, explicit
from congrad.stage import read_rows


@dataclass(frozen=True)
class KeptPair:
    """One kept row: a prompt and two responses, all text or all lists of messages without null keys.

    Attributes:
        place: names the row for a person, by file and line.
        row: all its columns as they are in kept.jsonl.
    """

    place: str
    prompt: str | list[Message]
    chosen: str | list[Message]
    rejected: str | list[Message]
    row: dict[str, Any]

    @property
    def conversational(self) -> bool:
        return not isinstance(self.chosen, str)


def kept_pairs(run: Run) -> Iterator[KeptPair]:
    """Yields the kept pairs in input order, the prompt taken out of the responses where the rows have none.

    Raises:
        UserError: a line is damaged.
    """
    path = run.directory / KEPT
    chat = run.settings.get("input", {}).get("chat", False)
    for number, row in enumerate(read_rows(path), 1):
        prompt, chosen, rejected = explicit(row)
        if chat:
            prompt, chosen, rejected = as_chat(prompt, chosen, rejected)
        yield KeptPair(f"{path}:{number}", _whole(prompt), _whole(chosen), _whole(rejected), row)


def _whole(side: str | list[Message]) -> str | list[Message]:
    """A conversation without the null keys that a columnar file fills into messages of unlike keys."""
    if isinstance(side, str):
        return side
    return [{key: value for key, value in message.items() if value is not None} for message in side]
