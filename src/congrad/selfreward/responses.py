"""What the stages `judge` and `pair` read: the responses of a finished `generate`, and their scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from congrad.engines.ask import as_messages
from congrad.engines.interface import Message
from congrad.errors import UserError
from congrad.selfreward.generate import RESPONSES
from congrad.stage import MANIFEST, file_fingerprint, is_finished, read_json, read_rows

RAW, SCORES = "raw.jsonl", "scores.jsonl"

Judgements = list[list[dict[str, Any]]]
"""By response, in order, rows of `judgements.jsonl`."""


@dataclass(frozen=True)
class Responses:
    """The responses of a round."""

    rows: list[dict[str, Any]]  # of `responses.jsonl`, in its order: prompt by prompt
    chat: bool  # whether the model was asked in conversations
    system: str | None  # what prompts without a system message were given
    fingerprint: list[Any]  # of all that

    def prompt(self, row: dict[str, Any]) -> str | list[Message]:
        """The prompt as the model was given it: a conversation, or the text that it went on with."""
        return as_messages(row["prompt"], self.system) if self.chat else row["prompt"]


def read_responses(directory: Path) -> Responses:
    """Reads what a finished `generate` left."""
    manifest = finished(directory, "generate")
    path, chat, system = directory / RESPONSES, bool(manifest["chat"]), manifest["settings"]["system"]
    return Responses(list(read_rows(path)), chat, system, [file_fingerprint(path), chat, system])


def read_scores(directory: Path, responses: Responses) -> list[float | None]:
    """The score of each response, None where it has none."""
    finished(directory, "judge")
    rows = list(read_rows(directory / SCORES))
    if [row["key"] for row in rows] != [row["key"] for row in responses.rows]:
        raise UserError(f"{directory} holds scores of other responses", "judge these first")
    return [row["score"] for row in rows]


def finished(directory: Path, name: str) -> dict[str, Any]:
    """The manifest of a finished stage.

    Raises:
        UserError: it is not finished, or another one.
    """
    if not is_finished(directory):
        raise UserError(f"{directory} does not hold a finished stage {name}", "run the command that makes it first")
    manifest = read_json(directory / MANIFEST)
    if manifest.get("stage") != name:
        raise UserError(f"{directory} holds the stage {manifest.get('stage')!r}, not {name!r}", "name the right one")
    return manifest
