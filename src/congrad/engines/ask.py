"""Asking a model: requests in, a row for every reply out, each kept as it comes and asked for once.

`generate`, `judge`, the exact-match tasks and the win rate all ask here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from congrad.engines.interface import Message, OpenEngine, Reply, Request, RequestRefused, Sampling
from congrad.errors import UserError
from congrad.stage import LogRow, RowLog, content_key

Row = dict[str, Any]


class ReplyRow(LogRow):
    """What is kept of a reply, unless it is said otherwise."""

    text: str
    finish_reason: str


class Answers(NamedTuple):
    """The rows by key, in the order of the requests, and how many of them hold nothing but white space."""

    rows: dict[str, Row]
    missing: int


def ask(
    requests: Sequence[Request],
    path: Path,
    engine: Callable[[], OpenEngine],
    where: Callable[[str], object],
    on_progress: Callable[[int], None] = lambda done: None,
    *,
    row: Callable[[Reply], Row] = vars,
    kind: type[LogRow] = ReplyRow,
    text: str = "text",
) -> Answers:
    """A row of every reply; continues from those in the log at `path`.

    Args:
        requests: all of them, each with a key of its own.
        engine: gives the open engine, where any reply is missing (`opened_when_asked`).
        where: names what a request came from, by its key, for errors.
        on_progress: called with how many rows are there.
        row: what is kept of a reply, with its `key`.
        kind: what such a row is, also one that the log holds already.
        text: the row's column that holds what was answered.

    Raises:
        UserError: the engine refuses a request, or cannot continue; what was answered is kept.
    """
    with RowLog(path, kind) as log:
        on_progress(len(log.rows))
        if any(request.key not in log.rows for request in requests):
            try:
                for group in engine().generate(requests, log.rows.keys()):
                    log.append([row(reply) for reply in group])
                    on_progress(len(log.rows))
            except RequestRefused as error:
                raise UserError(error.problem, error.fix, at=where(error.request_key)) from error
        rows = {request.key: log.rows[request.key] for request in requests}
    return Answers(rows, sum(not each[text].strip() for each in rows.values()))


def make_request(
    key: str, prompt: str | list[Message], sampling: Sampling, *, chat: bool, system: str | None = None
) -> Request:
    """A request for the model's chat template, or without `chat` for the text that the model continues."""
    if chat:
        return Request(key, messages=as_messages(prompt, system), sampling=sampling)
    return Request(key, prompt=str(prompt), sampling=sampling)


def as_messages(prompt: str | list[Message], system: str | None = None) -> list[Message]:
    """The conversation that a prompt is for a model that is chatted with."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if system is None or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def seeded(sampling: Sampling, stage: str, *parts: Any) -> Sampling:
    """The sampling of one request: its seed follows from that of all and from what it is for, and fits any endpoint."""
    return replace(sampling, seed=int(content_key(stage, sampling.seed, *parts), 16) % 2**31)
