"""What the stages `judge` and `pair` read: the responses of a finished `generate`, and their scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from congrad.engines.ask import as_messages
from congrad.engines.interface import Message
from congrad.errors import UserError
from congrad.selfreward.generate import RESPONSES
from congrad.stage import (
    MANIFEST,
    Amount,
    Begun,
    Record,
    check_record,
    damaged,
    file_fingerprint,
    is_finished,
    read_json,
    read_rows,
)
from congrad.words import quote

RAW, SCORES = "raw.jsonl", "scores.jsonl"


class Settings(Record):
    system: str | None


class Generated(Record):
    """What is read of the manifest of `generate`."""

    model: str | None = None
    chat: bool
    settings: Settings


class Turn(Record):
    role: str
    content: str | None = None  # a call of a tool may say nothing else


class Response(Record):
    """A row of `responses.jsonl`."""

    key: str
    prompt_key: str
    row: Amount
    sample: Amount
    language: str
    prompt: str | Annotated[list[Turn], MinLen(1)]
    response: str
    num_tokens: Amount | None


class Scored(Record):
    """A row of `scores.jsonl`."""

    key: str
    score: float | None


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


def finished_generate(directory: Path) -> dict[str, Any]:
    """The manifest of a finished `generate`."""
    manifest = finished(directory, "generate")
    check_record(directory / MANIFEST, manifest, Generated)
    return manifest


def read_responses(directory: Path) -> Responses:
    """Reads what a finished `generate` left."""
    manifest = finished_generate(directory)
    path, chat, system = directory / RESPONSES, manifest["chat"], manifest["settings"]["system"]
    rows = list(read_rows(path, Response))
    if not rows:
        raise damaged(path, "no responses", Response.fix)
    return Responses(rows, chat, system, [file_fingerprint(path), chat, system])


def read_scores(directory: Path, responses: Responses) -> list[float | None]:
    """The score of each response, None where it has none."""
    finished(directory, "judge")
    rows = list(read_rows(directory / SCORES, Scored))
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
    manifest = read_json(directory / MANIFEST, Begun)
    if manifest["stage"] != name:
        raise UserError(f"{directory} holds the stage {quote(manifest['stage'])}, not {name!r}", "name the right one")
    return manifest
