"""What leaves for an endpoint, and what may come back: the HTTP client that the `openai` client sends through.

The `openai` client reads keys, an organisation, a project and any headers from the environment. Here only the request's
own headers leave, and the key that `engine.api_key_env` names. Replies are asked for as they are, since a megabyte that
is compressed can become a gigabyte. No redirect is followed: it would carry prompts to another host.
"""

from collections.abc import Callable
from typing import Any

import openai

from congrad.errors import UserError
from congrad.settings.engine import Engine

HEADERS = ("host", "connection", "accept", "user-agent", "content-type", "content-length")
"""What leaves beside the key; all else that a client adds would be of the environment, or of an earlier reply."""


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Sends what a request needs and reads no more than `engine.max_reply_bytes`; all else is a `UserError`."""

    def __init__(self, engine: Engine, key: str | None, said: Callable[[object], str]) -> None:
        """`said` makes one line of what an endpoint says, without the key."""
        # A proxy that the environment names would read what is sent to this machine in clear text.
        proxies = not engine.is_here
        hooks: Any = {"response": [self.check]}  # called before a redirect is made anything of
        super().__init__(timeout=engine.timeout, follow_redirects=False, trust_env=proxies, event_hooks=hooks)
        self.engine, self.key, self.said = engine, key, said

    async def send(self, request: Any, **options: Any) -> Any:
        """The response to a request, read whole."""
        headers = {name: value for name, value in request.headers.items() if name in HEADERS}
        headers["accept-encoding"] = "identity"
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        content, limits = request.content, request.extensions
        sent = type(request)(request.method, request.url, headers=headers, content=content, extensions=limits)
        response = await super().send(sent, **(options | {"stream": True, "follow_redirects": False}))
        try:
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > self.engine.max_reply_bytes:
                    problem = f"{self.engine.endpoint} sends a reply of more than {self.engine.max_reply_bytes:,} bytes"
                    raise UserError(problem, "raise engine.max_reply_bytes if you expect such replies")
        finally:
            await response.aclose()
        return type(response)(response.status_code, headers=response.headers, content=bytes(body), request=request)

    async def check(self, response: Any) -> None:
        """Refuses a redirect, and a reply that is compressed though none was asked for."""
        url = self.engine.endpoint
        if response.has_redirect_location:
            there = self.said(response.headers["location"])
            fix = "no redirect is followed: name the right address in engine.url"
            raise UserError(f"{url} sends its requests on to {there}", fix)
        coding = response.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            problem = f"{url} sends a reply that is compressed ({self.said(coding)}), which was not asked for"
            raise UserError(problem, "switch compression off there")
