"""Which engine writes answers, and how it is reached: in this process, or over HTTP."""

import re
from dataclasses import field
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from annotated_types import Ge, Gt

from congrad.errors import UserError
from congrad.settings.section import Count, differs, fields_of, refused, section

# What is set for another kind would be ignored.
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "transformers": ("batch_size",),
    "openai": (
        *("url", "model", "api_key_env", "concurrency", "timeout", "retries", "max_reply_bytes", "command", "options"),
    ),
}
KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")
KEY_ONCE = "OPENAI_API_KEY"  # the default of earlier versions, which wrote it into the configuration of every run


@section("engine")
class Engine:
    """What turns requests into replies."""

    kind: Literal["transformers", "openai", "vllm"] = "transformers"
    """transformers in this process (CPU, one GPU); openai for any endpoint that speaks its API (vLLM, SGLang,
    llama.cpp, `transformers serve`)."""
    batch_size: Count = 8
    """Requests that transformers computes together."""
    url: str | None = None
    """Address of the endpoint; `/v1` is added where it has no path."""
    model: str | None = None
    """The name by which the endpoint knows the model; null for the path or the name of the model itself."""
    api_key_env: str | None = None
    """The environment variable that holds the endpoint's key, such as OPENAI_API_KEY; null: no key is sent. The name
    ends in _API_KEY, so that a configuration of someone else's cannot ask for what opens other things (HF_TOKEN,
    AWS_SECRET_ACCESS_KEY). The key goes to the host in url alone, over https or to this machine; before that, and in a
    dry run, a line says which key goes where. It is never written to a file."""
    concurrency: Count = 16
    """Requests that are open at a time."""
    timeout: Annotated[float, Gt(0)] = 120.0
    """Seconds until a request counts as failed."""
    retries: Annotated[int, Ge(0)] = 6
    """Tries again of a failed request, after 1, 2, 4, ... seconds, or when the endpoint says (Retry-After). The default
    six take more than a minute."""
    max_reply_bytes: Count = 10_000_000
    """The longest reply that is read, in bytes. 32,000 tokens take about 1,000,000."""
    command: str | None = None
    """Command that starts the endpoint, which is stopped after use: `vllm serve {model} --host 127.0.0.1 --port 8000`.
    Without `--host` it would answer other machines too. It does not run in a shell, but it is a program of the
    configuration's choice: read it before you run a configuration that is not yours. `{model}` is the model's path."""
    options: dict[str, Any] = field(default_factory=dict)
    """More fields of a request's body: `{top_k: 40}`; null leaves out a field that congrad sends."""

    def __post_init__(self) -> None:
        if self.kind == "vllm":  # of earlier versions
            command = "vllm serve {model} --host 127.0.0.1 --port 8000"
            fix = f"set kind to openai, url to http://localhost:8000/v1 and command to {command}"
            raise refused("kind", "is not an engine of its own any more", fix, value="vllm")
        if self.kind == "transformers" and self.api_key_env == KEY_ONCE:
            object.__setattr__(self, "api_key_env", None)
        for name in fields_of(type(self)):
            if name not in ("kind", *OWN_FIELDS[self.kind]) and differs(self, name):
                raise refused(name, f"would be ignored by an engine of kind {self.kind}", "leave it out")
        if self.kind == "openai":
            self._check_url()

    def _check_url(self) -> None:
        if self.url is None:
            raise refused("url", "is missing", "give the endpoint's address, for instance http://localhost:8000/v1")
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise refused("url", "is not a URL", "write it like http://localhost:8000/v1", value=repr(self.url))
        if parts.username or parts.password or parts.query or parts.fragment:
            fix = "put the key into the environment variable that api_key_env names"
            raise refused("url", "must not hold a user name, a key or a query", fix)

    def check_key(self, key: str = "engine") -> None:
        """Refuses a key that is not an endpoint's, or that would be read on its way; `key` is that of the engine.

        Not a part of reading the settings: earlier versions wrote such ones into the configuration of a run.
        """
        if self.api_key_env is None:
            return
        if not KEY_NAME.fullmatch(self.api_key_env):
            problem, fix = "must end in _API_KEY", "put the endpoint's key into such a variable, and name that"
            raise UserError(problem, fix, key=f"{key}.api_key_env", value=self.api_key_env)
        if not (self.is_here or self.endpoint.startswith("https:")):
            problem = f"would carry the key in {self.api_key_env} over the network in clear text"
            fix = f"write https://, or leave {key}.api_key_env out"
            raise UserError(problem, fix, key=f"{key}.url", value=self.url)

    @property
    def host(self) -> str:
        """The host of the endpoint, without its port."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def is_here(self) -> bool:
        """Whether the endpoint is on this machine, so that nothing that is sent to it leaves."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

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
