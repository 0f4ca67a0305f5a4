"""Which engine answers, and how it is reached: in process, or over HTTP."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from congrad.errors import UserError

Kind = Literal["transformers", "openai", "vllm"]  # the last is answered with what does the same

# What is set for another kind would be ignored.
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "transformers": ("batch_size",),
    "openai": ("url", "model", "api_key_env", "concurrency", "timeout", "retries", "command", "options"),
}


@dataclass(frozen=True)
class Engine:
    """What turns requests into replies.

    Attributes:
        kind: `transformers` in this process (CPU, one GPU); `openai` for any endpoint that speaks its API (vLLM,
            SGLang, llama.cpp, `transformers serve`).
        batch_size: requests that transformers computes together.
        url: of the endpoint; `/v1` is added where it has no path.
        model: the name by which the endpoint knows the model; None: the path or the name of the model itself.
        api_key_env: the environment variable that holds the endpoint's key. The key is written nowhere.
        concurrency: requests that are under way at a time.
        timeout: seconds until a request counts as failed.
        retries: of a failed request, after 1, 2, 4, ... seconds, or when the endpoint says (Retry-After). The six of
            the default outlast a minute.
        command: starts the endpoint for as long as it is needed. No shell reads it; `{model}` is the model's path.
        options: more fields of a request's body (`{"top_k": 40}`; null leaves one of ours out).
    """

    kind: Kind = "transformers"
    batch_size: int = 8
    url: str | None = None
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 6
    command: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "vllm":
            raise UserError(
                "kind vllm: set kind to openai, url to http://localhost:8000/v1 and command to 'vllm serve {model}'"
            )
        if self.kind not in OWN_FIELDS:
            raise UserError(f"kind {self.kind!r}: choose one of {', '.join(OWN_FIELDS)}")
        for each in fields(self):
            default = {} if each.name == "options" else each.default
            if each.name not in ("kind", *OWN_FIELDS[self.kind]) and getattr(self, each.name) != default:
                raise UserError(f"{each.name}: an engine of kind {self.kind} has no use for it; leave it out")
        for name in ("batch_size", "concurrency"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}: must be 1 or more")
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise UserError(f"timeout {self.timeout}: must be more than 0 seconds")
        if self.retries < 0:
            raise UserError(f"retries {self.retries}: must be 0 or more")
        if self.kind == "openai":
            check_url(self.url)

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the replies: not where an endpoint is and how patiently it is asked."""
        names = ("kind", "batch_size") if self.kind == "transformers" else ("kind", "model", "options")
        return {name: getattr(self, name) for name in names}

    @property
    def endpoint(self) -> str:
        """The URL that the paths of the API are put behind, without a slash at its end."""
        assert self.url is not None
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") or "/v1"))


def check_url(url: str | None) -> None:
    """Raises:
    UserError: there is none, it is none, or it holds a secret.
    """
    if url is None:
        raise UserError("url is missing; give the endpoint's, for instance http://localhost:8000/v1")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"url {url!r} is none; write it like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            "url holds a name, a key or a query; put the key into the environment variable that api_key_env names"
        )
