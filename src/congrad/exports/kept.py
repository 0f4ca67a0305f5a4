"""The kept pairs of a finished run, as the filter scored them: plain text, or conversations."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.preferences.render import Message, as_chat, explicit
from congrad.stage import read_json, read_rows

KEPT = "kept.jsonl"


@dataclass(frozen=True)
class Run:
    """What an export needs to know of a run.

    Attributes:
        directory: where it lies.
        manifest: the content of manifest.json.
        chat: plain rows were scored through the chat template (`input.chat`).
    """

    directory: Path
    manifest: dict[str, Any]
    chat: bool

    @property
    def settings(self) -> dict[str, Any]:
        """The run's resolved configuration, by part."""
        settings: dict[str, Any] = self.manifest.get("config", {})
        return settings


@dataclass(frozen=True)
class Pair:
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


def open_run(directory: Path) -> Run:
    """Raises:
    UserError: there is no finished run here.
    """
    if not (directory / "manifest.json").is_file():
        begun = (directory / "index").exists()
        state = "is an unfinished run: give the command that began it once more" if begun else "is no run of congrad's"
        raise UserError(f"{directory} {state}")
    manifest = read_json(directory / "manifest.json")
    if "congrad" not in manifest or not (directory / KEPT).is_file():
        raise UserError(f"{directory} is no run of congrad's filter; name the directory that holds its {KEPT}")
    chat = bool(manifest.get("config", {}).get("input", {}).get("chat", False))
    return Run(directory, manifest, chat)


def kept_pairs(run: Run) -> Iterator[Pair]:
    """Yields the kept pairs in input order, the prompt taken out of the responses where the rows have none.

    Raises:
        UserError: a line is damaged.
    """
    path = run.directory / KEPT
    for number, row in enumerate(read_rows(path), 1):
        prompt, chosen, rejected = explicit(row)
        if run.chat:
            prompt, chosen, rejected = as_chat(prompt, chosen, rejected)
        yield Pair(f"{path}:{number}", _whole(prompt), _whole(chosen), _whole(rejected), row)


def _whole(side: str | list[Message]) -> str | list[Message]:
    """A conversation without the null keys that a columnar file fills into messages of unlike keys."""
    if isinstance(side, str):
        return side
    return [{key: value for key, value in message.items() if value is not None} for message in side]
