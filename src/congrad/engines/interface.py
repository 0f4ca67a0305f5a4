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
    """How text is drawn.

    Attributes:
        temperature: 0 takes the most probable token every time.
        top_p: sample from the most probable tokens that together have this probability.
        max_tokens: at most.
        stop: the text ends before the first of these.
        seed: of the draws.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.temperature >= 0
        assert 0 < self.top_p <= 1
        assert self.max_tokens >= 1
        assert "" not in self.stop


@dataclass(frozen=True)
class Request:
    """One text to be written.

    Attributes:
        key: names the reply.
        messages: a conversation, for the model's chat template; None with a `prompt`.
        prompt: plain text that the model continues; None with `messages`.
        sampling: of this reply, with a seed of its own.
    """

    key: str
    messages: list[Message] | None = None
    prompt: str | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        assert (self.messages is None) != (self.prompt is None), "messages or a prompt, not both"


@dataclass(frozen=True)
class Reply:
    """What was written.

    Attributes:
        key: of the request.
        text: without the prompt and without special tokens.
        finish_reason: the model or a mark of `stop` ended it (`stop`), or `max_tokens` did (`length`).
        num_tokens: that were written, the end token and what follows a mark of `stop` among them; None where an
            endpoint does not say.
    """

    key: str
    text: str
    finish_reason: Literal["stop", "length"]
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
    """One request is at fault. The stage that made it from a row can name the row.

    Attributes:
        request_key: of the request.
    """

    def __init__(self, request_key: str, problem: str, fix: str = "") -> None:
        super().__init__(problem, fix)
        self.request_key = request_key


def cut(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first of some marks."""
    return text[: min((text.find(mark) for mark in stop if mark in text), default=len(text))]


def identity(engine: Engine, model: Model) -> dict[str, Any]:
    """What decides the replies of an engine with a model, in values that JSON takes and that hold no path.

    For the settings that a stage is begun with.
    """
    from congrad.models.identity import identity

    in_process = engine.kind != "openai"
    content = {"engine": engine.identity, "model": identity(model, in_process=in_process)}
    return content | {"dtype": model.dtype} if in_process else content


def has_chat_template(engine: Engine, model: Model) -> bool:
    """Whether `model` is to be asked in conversations rather than given text to continue.

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
