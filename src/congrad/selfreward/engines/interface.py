"""What every engine takes and gives: requests in, replies out, in groups as they are done."""

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from congrad.errors import UserError
from congrad.models.settings import Model
from congrad.selfreward.engines.settings import Engine

Message = dict[str, Any]
"""`role`, `content`, and whatever else a chat template reads."""


@dataclass(frozen=True)
class Request:
    """One text to be written.

    Attributes:
        key: names the reply.
        messages: a conversation, for the model's chat template; None with a `prompt`.
        prompt: plain text that the model goes on with; None with `messages`.
        seed: of this reply alone.
        temperature: 0 takes the most probable token every time.
        top_p: sample from the most probable tokens that together have this probability.
        max_tokens: at most.
    """

    key: str
    messages: list[Message] | None = None
    prompt: str | None = None
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        assert (self.messages is None) != (self.prompt is None), "messages or a prompt, not both"
        assert self.temperature >= 0
        assert 0 < self.top_p <= 1
        assert self.max_tokens >= 1


@dataclass(frozen=True)
class Reply:
    """What was written.

    Attributes:
        key: of the request.
        text: without the prompt and without special tokens.
        finish_reason: the model ended it (`stop`), or `max_tokens` did (`length`).
        num_tokens: of the text and its end token; None where an endpoint does not say.
    """

    key: str
    text: str
    finish_reason: Literal["stop", "length"]
    num_tokens: int | None


class OpenEngine(Protocol):
    """An engine with its model loaded or its endpoint found."""

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[list[Reply]]:
        """Yields groups of replies as they come, in any order.

        Args:
            requests: all of a stage, those that are done included: in process, what is computed together follows from
                the whole list, so that a resumed stage ends in the same bytes.
            done: keys of those that need no reply. A batch that lacks any is computed whole and yielded whole, so
                replies to some of these may come again.

        Raises:
            RequestRefused: the model or the endpoint cannot take one of the requests.
            UserError: it cannot go on; replies that were yielded are good.
        """
        ...


class RequestRefused(UserError):
    """One request is at fault. The stage that made it from a row can name the row.

    Attributes:
        key: of the request.
    """

    def __init__(self, key: str, complaint: str) -> None:
        super().__init__(complaint)
        self.key = key


def open_engine(engine: Engine, model: Model, *, log: Path | None = None) -> AbstractContextManager[OpenEngine]:
    """The engine, ready to answer with `model`; on exit its memory is free and its processes have ended.

    Args:
        engine: which, and how.
        model: the round's.
        log: where a process that the engine starts writes what it has to say; None: nowhere.

    Raises:
        UserError: on entry, when the model cannot be loaded, an extra is not installed or the endpoint does not start.
    """
    if engine.kind == "transformers":
        from congrad.selfreward.engines.local import open_local

        return open_local(engine, model)
    if model.adapter is not None:
        raise UserError(f"an engine of kind {engine.kind} cannot put model.adapter on the model; merge the two first")
    if engine.kind == "openai":
        from congrad.selfreward.engines.endpoint import open_endpoint

        return open_endpoint(engine, model, log=log)
    if sys.platform == "win32":
        raise UserError("an engine of kind vllm needs Linux; use the kind openai and a server elsewhere")
    from congrad.selfreward.engines.offline_vllm import open_vllm

    return open_vllm(engine, model, log=log)


def identity(engine: Engine, model: Model) -> dict[str, Any]:
    """What decides the replies of an engine with a model, in values that JSON takes and that hold no path.

    For the settings that a stage is begun with.
    """
    from congrad.models.identity import identity

    in_process = engine.kind != "openai"
    content = {"engine": engine.identity, "model": identity(model, in_process=in_process)}
    return content | {"dtype": model.dtype} if in_process else content


def has_chat_template(engine: Engine, model: Model) -> bool:
    """Whether `model` is to be asked in conversations rather than given text to go on with.

    The tokenizer says so. An endpoint whose model's tokenizer is not at hand is taken to have a template.
    """
    from congrad.models.load import tokenizer_of

    try:
        tokenizer = tokenizer_of(model)
    except UserError:
        if engine.kind == "openai":
            return True
        raise
    return tokenizer.chat_template is not None
