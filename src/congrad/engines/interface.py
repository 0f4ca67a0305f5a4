"""What every engine takes and gives: requests in, replies out, in groups as they are done."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.model import Model

Message = dict[str, Any]
"""`role`, `content`, and whatever else a chat template reads."""


@dataclass(frozen=True)
class Sampling:
    """How text is drawn."""

    temperature: float = 1.0  # 0 takes the most probable token every time
    top_p: float = 1.0  # sample from the most probable tokens that together have this probability
    max_tokens: int = 512
    stop: tuple[str, ...] = ()  # the text ends before the first of these
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """One text to be written: the reply to a conversation, or the continuation of a prompt."""

    key: str  # names the reply
    messages: list[Message] | None = None  # for the model's chat template
    prompt: str | None = None  # plain text
    sampling: Sampling = field(default_factory=Sampling)  # with a seed of this reply's own

    def __post_init__(self) -> None:
        assert (self.messages is None) != (self.prompt is None), "messages or a prompt, not both"


@dataclass(frozen=True)
class Reply:
    """What was written.

    Attributes:
        text: without the prompt and without special tokens.
        num_tokens: that were written, the end token and what follows a mark of `stop` among them; None where an
            endpoint does not say.
    """

    key: str  # of the request
    text: str
    finish_reason: Literal["stop", "length"]  # `stop`: the model or a mark of `stop` ended it; `length`: max_tokens
    num_tokens: int | None

    def cut(self, stop: tuple[str, ...]) -> "Reply":
        """The reply that ends before the first of some marks."""
        text = cut(self.text, stop)
        return self if text == self.text else replace(self, text=text, finish_reason="stop")


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
            UserError: it cannot continue; replies that were yielded are valid.
        """
        ...


class RequestRefused(UserError):
    """One request is at fault. The stage that made it from a row can name the row."""

    def __init__(self, request_key: str, problem: str, fix: str = "") -> None:
        super().__init__(problem, fix)
        self.request_key = request_key


def cut(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first of some marks."""
    return text[: min((text.find(mark) for mark in stop if mark in text), default=len(text))]


def identity(engine: Engine, model: Model) -> dict[str, Any]:
    """What decides the replies of an engine with a model, without paths: for the settings that a stage begins with."""
    from congrad.models.identity import identity

    in_process = engine.kind != "openai"
    content = {"engine": engine.identity, "model": identity(model, in_process=in_process)}
    return content | {"dtype": model.dtype} if in_process else content


def has_chat_template(engine: Engine, model: Model) -> bool:
    """Whether `model` is to be asked in conversations. A tokenizer that only the endpoint has is taken to say so."""
    from congrad.models.load import tokenizer_of

    try:
        tokenizer = tokenizer_of(model)
    except UserError:
        if engine.kind == "openai":
            return True
        raise
    return tokenizer.chat_template is not None
