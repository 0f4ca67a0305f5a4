"""Any endpoint that speaks OpenAI's API, through the `openai` client: many requests under way, and patience.

What may pass is tried again by tenacity: 408, 409, 425, 429, 5xx, time-outs, broken connections, answers cut off or no
JSON. The client's own retries know neither the last two, nor waits that outlast a minute in all, so they are off. What
does not pass (401, 404, 400) stops the run at once.
"""

import email.utils
import json
import os
import random
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from congrad.engines.interface import Reply, Request, RequestRefused
from congrad.errors import UserError
from congrad.models.packaged import resolve
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.words import one_line

if TYPE_CHECKING:
    import openai
    from tenacity import RetryCallState

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; the six waits of the default add up to more than a minute
LONGEST_TOLD_WAIT = 600.0  # an endpoint that asks for more is away
SPREAD = 0.25  # of a wait, so that requests that failed together do not come back together
PASSING = (408, 409, 425, 429)
BUSY = 429
KEYLESS = "none"  # the client wants a key; which one leaves, its transport decides
LONGEST_TOKEN = 256  # characters; the longest of common vocabularies are runs of 128 spaces
SAID = 2000  # characters of an error message that are looked at
MOST_TOKENS = 2**31  # of an answer, as an endpoint counts them


@contextmanager
def open_endpoint(engine: Engine, model: Model, *, log: Path | None = None) -> Iterator["Endpoint"]:
    """An endpoint that is there, or one that `engine.command` starts and that ends with this."""
    try:
        import openai  # noqa: F401
        import tenacity  # noqa: F401
    except ImportError as error:
        raise UserError("an engine of kind openai needs its client: pip install 'congrad[loop]'") from error
    engine.check_key()
    path = resolve(model.name)
    if Path(path).is_dir():
        path = str(Path(path).absolute())  # a server has a working directory of its own
    key = None if engine.api_key_env is None else read_key(engine.api_key_env)
    endpoint = Endpoint(engine, engine.model or path, key)
    if engine.command is None:
        yield endpoint
        return
    from congrad.engines.server import serve

    with serve(engine, path, log=log):
        yield endpoint


def read_key(name: str) -> str:
    """The key in an environment variable; that there is none is a `UserError`."""
    key = os.environ.get(name, "").strip()
    if not key:
        fix = "set it, or leave engine.api_key_env out if the endpoint asks for no key"
        raise UserError(f"the environment variable {name} is not set", fix)
    if not (key.isascii() and key.isprintable()):  # no header can hold it, and libraries would say so by quoting it
        raise UserError(f"the environment variable {name} holds a character that cannot be in a key", "set it again")
    return key


class Passing(Exception):
    """A failure that may pass; the endpoint asks for `wait` seconds, or is `busy`: there, and has had too much."""

    def __init__(self, what: str, *, wait: float = 0.0, busy: bool = False) -> None:
        super().__init__(what)
        self.wait, self.busy = wait, busy


class Endpoint:
    """An endpoint, and how it fares: what one request learns of it helps the others."""

    def __init__(self, engine: Engine, model: str, key: str | None) -> None:
        self.engine, self.model, self.key, self.url = engine, model, key, engine.endpoint
        self.answered = 0
        self.open_at = 0.0  # on the monotonic clock
        self.jitter = random.Random()  # from the system: no result depends on it, and processes must differ

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[list[Reply]]:
        """As `OpenEngine.generate`. Works beside an event loop that runs already, as in a notebook."""
        import openai
        from anyio.from_thread import start_blocking_portal

        from congrad.engines.transport import BoundedClient

        transport = BoundedClient(self.engine, self.key, self.said)
        client = openai.AsyncOpenAI(api_key=KEYLESS, base_url=self.url, max_retries=0, http_client=transport)
        todo = iter([request for request in requests if request.key not in done])
        running: set[Future[Reply]] = set()
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
            try:
                while True:
                    for request in islice(todo, self.engine.concurrency - len(running)):
                        running.add(portal.start_task_soon(self.ask, client, request))
                    if not running:
                        return
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    replies = [future.result() for future in finished if future.exception() is None]
                    if replies:
                        yield replies
                    for future in finished:
                        future.result()  # of one that failed this raises
            finally:
                for future in running:
                    future.cancel()

    async def ask(self, client: "openai.AsyncOpenAI", request: Request) -> Reply:
        """One reply, however many tries it takes."""
        import anyio
        import tenacity

        answered = self.answered

        def after(state: "RetryCallState") -> None:
            nonlocal answered
            # Too much is asked at a time: while others get through, the endpoint is not away.
            if failure(state).busy and self.answered > answered:
                state.attempt_number = 1
            answered = self.answered

        backoff = tenacity.wait_exponential(FIRST_WAIT, LONGEST_WAIT)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Passing),
            after=after,
            wait=lambda state: backoff(state) * self.jitter.uniform(1, 1 + SPREAD),
            stop=lambda state: state.attempt_number > self.engine.retries or failure(state).wait > LONGEST_TOLD_WAIT,
            sleep=anyio.sleep,
            retry_error_callback=self.give_up,
        )
        reply: Reply = await retrying(self.attempt, client, request)
        self.answered += 1
        return reply.cut(request.sampling.stop)

    def give_up(self, state: "RetryCallState") -> None:
        raise UserError(
            f"{self.url} is not responding: {failure(state)} ({state.attempt_number} tries)",
            "nothing is lost: when it responds again, run the same command to continue",
        ) from failure(state)

    async def attempt(self, client: "openai.AsyncOpenAI", request: Request) -> Reply:
        """One try; raises `Passing` where it may go well another time."""
        import anyio
        import openai

        while (seconds := self.open_at - time.monotonic()) > 0:
            await anyio.sleep(seconds)
        own = {**asdict(request.sampling), "stop": list(request.sampling.stop) or None}  # the API's own names
        body = {name: value for name, value in (own | self.engine.options).items() if value is not None}
        try:
            with anyio.fail_after(self.engine.timeout):  # the client's own starts again with every byte
                # Raw, as the client would make an object of every value in a reply, however many there are.
                raw: Any
                if request.messages is None:
                    ask_plain = client.completions.with_raw_response.create
                    raw = await ask_plain(model=self.model, prompt=request.prompt, extra_body=body)
                else:
                    messages: Any = request.messages
                    ask_chat = client.chat.completions.with_raw_response.create
                    raw = await ask_chat(model=self.model, messages=messages, extra_body=body)
            reply = read_reply(request.key, json.loads(raw.content), chat=request.messages is not None)
        except (TimeoutError, openai.APITimeoutError) as error:
            raise Passing(f"no answer within {self.engine.timeout:g} seconds (engine.timeout)") from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            if isinstance(cause, UserError):  # openai 2 wraps what its transport raises
                raise cause from error
            raise Passing(self.said(cause) or type(cause).__name__) from error
        except openai.APIStatusError as error:
            raise self.refusal(request, error) from error
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            raise Passing("an answer that is not a completion") from error
        limit = body.get("max_tokens")
        if isinstance(limit, int) and len(reply.text) > limit * LONGEST_TOKEN:
            raise UserError(
                f"{self.url} answers with {len(reply.text):,} characters where max_tokens is {limit}",
                "check that it keeps to it, or give the limit in engine.options as the endpoint names it, with "
                "max_tokens null",
            )
        return replace(reply, text=self.without_key(reply.text))

    def refusal(self, request: Request, error: "openai.APIStatusError") -> Exception:
        """What an HTTP status means. Of 401 and 403 nothing is quoted: some endpoints repeat the key."""
        status, said = error.status_code, self.said(error.message)
        if status in PASSING or status >= 500:
            seconds = told_wait(error.response.headers)
            self.open_at = max(self.open_at, time.monotonic() + seconds)  # all requests wait at least that long
            return Passing(f"HTTP {status} ({said})", wait=seconds, busy=status == BUSY)
        if status in (401, 403):
            name = self.engine.api_key_env
            state = "needs a key" if name is None else f"refuses the key in {name}"
            fix = "name its variable in engine.api_key_env" if name is None else f"set the environment variable {name}"
            return UserError(f"{self.url} {state} (HTTP {status})", f"{fix} and run the same command again")
        if status in (404, 405) or 300 <= status < 400:
            return UserError(
                f"{self.url} does not have this path, or not the model {self.model!r} (HTTP {status}: {said})",
                "check engine.url and engine.model",
            )
        return RequestRefused(
            request.key,
            f"{self.url} refuses the request (HTTP {status}: {said}); fix engine.options, the settings or the row",
        )

    def without_key(self, text: str) -> str:
        """Text of the endpoint's, which may repeat the key that it got."""
        return text if self.key is None else text.replace(self.key, "***")

    def said(self, complaint: object) -> str:
        return one_line(self.without_key(str(complaint))[:SAID])


def read_reply(key: str, content: Any, *, chat: bool) -> Reply:
    """The first choice of a completion; one without content (a refusal, nothing but reasoning) is an empty reply.

    Not every endpoint sends a finish reason and counts tokens. Any other error than a `UserError` says that it is no
    completion.
    """
    choice = content["choices"][0]
    text = choice["message"].get("content") if chat else choice.get("text")
    if not isinstance(text, str | None):
        raise TypeError("text is not a string")
    counted = (content.get("usage") or {}).get("completion_tokens")
    num_tokens = counted if type(counted) is int and 0 <= counted < MOST_TOKENS else None
    return Reply(key, text or "", "length" if choice.get("finish_reason") == "length" else "stop", num_tokens)


def failure(state: "RetryCallState") -> Passing:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, Passing)
    return error


def told_wait(headers: Any) -> float:
    """Seconds for which Retry-After asks: a number, or a date; 0 where it is neither."""
    value = headers.get("retry-after", "")
    for read in (float, lambda date: email.utils.parsedate_to_datetime(date).timestamp() - time.time()):
        try:
            return max(0.0, read(value))  # in this order: what is not a number counts as none
        except (ValueError, OverflowError):
            continue
    return 0.0
