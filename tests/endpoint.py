"""Fixtures of tests that ask a model: a tiny one to chat with, and an endpoint that fails in every way asked for."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<s>{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


@pytest.fixture(scope="session")
def chat_directory(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template."""
    directory = tmp_path_factory.mktemp("models") / "tiny-chat"
    shutil.copytree(tiny_directory, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory)
    return directory


Fault = dict[str, Any]
"""`status` with `body` and `headers`; `sleep` in seconds before the answer; `half` or `junk` instead of one."""


class FakeEndpoint:
    """An OpenAI-compatible endpoint that repeats what it was asked, after the faults that it was given.

    Attributes:
        faults: what happens to the requests, in order of arrival; None for an answer, as to all further ones.
        always: what happens to all requests after those.
        turned_down: how often a prompt is still answered with 429.
        asked: path, headers, body and time of every request.
    """

    def __init__(self) -> None:
        self.faults: list[Fault | None] = []
        self.always: Fault | None = None
        self.turned_down: dict[str, int] = {}
        self.asked: list[dict[str, Any]] = []
        self.busy = self.most_busy = 0
        self.port = 0
        self.lock = threading.Lock()
        self.server: ThreadingHTTPServer | None = None
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def open(self) -> None:
        """Listens again on the same port."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fake.answer(self)

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        """Goes away: connections are refused."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()
            self.server = None

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self.lock:
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.asked.append({"path": handler.path, "headers": headers, "body": body, "time": time.monotonic()})
            fault = (self.faults.pop(0) if self.faults else self.always) or {}
            if self.turned_down.get(body.get("prompt"), 0):
                self.turned_down[body["prompt"]] -= 1
                fault = {"status": 429}
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        time.sleep(fault.get("sleep", 0))
        with self.lock:
            self.busy -= 1
        data = json.dumps(fault["body"] if "body" in fault else completion(handler.path, body)).encode()
        try:
            handler.send_response(fault.get("status", 200))
            for name, value in fault.get("headers", {}).items():
                handler.send_header(name, value)
            handler.send_header("content-type", "application/json")
            handler.send_header("content-length", str(len(data)))
            handler.end_headers()
            if fault.get("junk"):
                data = b"<" * len(data)
            handler.wfile.write(data[: len(data) // 2] if fault.get("half") else data)
        except (BrokenPipeError, ConnectionResetError):
            return  # whoever asked waits no longer


def completion(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's API answers, with a text made of the question and the seed."""
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    common = {"id": "1", "created": 1, "model": body["model"], "usage": usage}
    if path == "/v1/completions":
        choice = {"index": 0, "text": f"{body['prompt']} {body['seed']}", "finish_reason": "length", "logprobs": None}
        return {**common, "object": "text_completion", "choices": [choice]}
    message = {"role": "assistant", "content": f"{body['messages'][-1]['content']} {body['seed']}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**common, "object": "chat.completion", "choices": [choice]}


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint()
    yield fake
    fake.close()
