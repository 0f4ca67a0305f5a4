"""An endpoint that means harm: replies without end, bombs, redirects, odd shapes; and what may leave for any endpoint.

Each ends in one line, soon and in little memory, and nothing but the request and a key that was named leaves.
"""

import gzip
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from congrad.engines.interface import Reply, Request, Sampling
from congrad.engines.open import open_engine
from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.model import Model

KEY = "sk-very-secret-123"
SECRETS = {
    "OPENAI_API_KEY": "sk-ambient",
    "OPENAI_ADMIN_KEY": "sk-admin",
    "OPENAI_ORG_ID": "org-ambient",
    "OPENAI_PROJECT_ID": "proj-ambient",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/elsewhere",
    "OPENAI_CUSTOM_HEADERS": "X-Custom: ambient\nAuthorization: Bearer sk-header\nCookie: ambient",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}
SENT = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length", "content-type"}
MEGABYTE = 1_000_000


class Server:
    """Reads requests and answers each as `answer` says, on a socket, byte for byte."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.answer, self.asked = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as file:
            first = file.readline().decode()
            headers = {}
            while line := file.readline().strip().decode():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            self.asked.append((first, headers, file.read(int(headers.get("content-length", 0)))))
            self.answer(connection)


@contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.listener.close()


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", "content-type: application/json", *headers, f"content-length: {len(body)}"]
    return ("\r\n".join([*head, "connection: close", "", ""])).encode() + body


def says(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def completion(text: object, **more: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": "stop"}], **more}).encode()


def ask(server: Server, *, max_tokens: int = 8, **options: object) -> Reply:
    settings = {"retries": 0, "timeout": 3.0, **options}
    engine = Engine(kind="openai", url=f"http://{server.host}", **settings)
    request = Request("r", prompt="a prompt", sampling=Sampling(max_tokens=max_tokens))
    with open_engine(engine, Model("a-model")) as opened:
        ((reply,),) = opened.generate([request])
    return reply


def endless(start: bytes, more: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(more)
            time.sleep(pause)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
GZIPPED = gzip.compress(b'{"choices": [{"text": "' + b"a" * 200 * MEGABYTE + b'"}]}', 1)
DEEP = b"[" * 100_000
NESTED = {"choices": [{"text": "a", "more": None}]}
WRONG: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "bomb": (says(http(GZIPPED, "content-encoding: gzip")), "compressed (gzip)"),
    "bomb in an error": (says(http(GZIPPED, "content-encoding: gzip", status="400 No")), "compressed (gzip)"),
    "unknown coding": (says(http(b"x", "content-encoding: br, zstd")), "compressed (br, zstd)"),
    "endless body": (endless(CHUNKED, b"10000\r\n" + b" " * 0x10000 + b"\r\n"), "engine.max_reply_bytes"),
    "long body": (says(http(b" " * 12 * MEGABYTE)), "engine.max_reply_bytes"),
    "long error": (says(http(b" " * 12 * MEGABYTE, status="500 No")), "engine.max_reply_bytes"),
    "long text": (says(http(completion("a" * 100_000))), "100,000 characters"),
    "slow body": (endless(CHUNKED, b"1\r\n \r\n", 0.05), "no answer within 1 seconds"),
    "slow head": (endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.05), "no answer within 1 seconds"),
    "endless head": (endless(b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 65536 + b"\r\n"), "is not responding"),
    "endless preface": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), "no answer within 1 seconds"),
    "deep": (says(http(DEEP)), "not a completion"),
    "deep error": (says(http(DEEP, status="400 No")), "refuses the request"),
    "deep and whole": (says(http(DEEP + b"]" * len(DEEP))), "not a completion"),
    "deep within": (says(http(json.dumps(NESTED).encode().replace(b"null", b"[" * 900 + b"]" * 900))), ""),
    "many lists": (says(http(b'{"choices": [' + b"[]," * MEGABYTE + b"[]]}")), "not a completion"),
    "many keys": (says(http(b'{"choices": [' + b'{"a":{}},' * (MEGABYTE // 2) + b"{}]}")), ""),
    "wrong choices": (says(http(b'{"choices": {"0": 1}}')), "not a completion"),
    "wrong text": (says(http(completion({"a": 1}))), "not a completion"),
    "huge number": (says(http(completion("a", usage={}).replace(b"{}", b"9" * 5000))), "not a completion"),
    "long words": (says(http(json.dumps({"error": {"message": "a\x1b[2J\n" * 90_000}}).encode(), status="400 N")), "a"),
    "wait for ever": (says(http(b"", "retry-after: inf", status="503 No")), "HTTP 503"),
    "no wait": (says(http(b"", "retry-after: nan", status="503 No")), "HTTP 503"),
    "odd wait": (says(http(b"", "retry-after: Mon, 99999999999999999999 Jan 2020 1:1:1", status="503 No")), "503"),
    "long wait": (says(http(b"", f"retry-after: {'9' * 5000}", status="503 No")), "HTTP 503"),
    "no HTTP": (says(b"\x00\xff" * 1000), "is not responding"),
    "a key that is echoed": (says(http(json.dumps({"error": {"message": KEY}}).encode(), status="400 No")), "***"),
}


@pytest.mark.parametrize(("answer", "part"), WRONG.values(), ids=WRONG)
def test_whatever_an_endpoint_does_is_one_line_soon_and_in_little_memory(answer, part, monkeypatch):
    monkeypatch.setenv("EVIL_API_KEY", KEY)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with served(answer) as server:
        try:
            ask(server, timeout=1.0, api_key_env="EVIL_API_KEY")
        except UserError as error:
            message = str(error)
            assert part in message, message
            assert message.isprintable()
            assert len(message) < 600
            assert KEY not in message
        else:
            assert part == ""
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


def test_a_reply_that_cannot_pass_is_not_asked_for_again():
    with served(says(http(b" " * 12 * MEGABYTE))) as server, pytest.raises(UserError):
        ask(server, retries=3)
    assert len(server.asked) == 1


def test_the_bound_on_replies_is_a_setting_and_ordinary_replies_never_meet_it():
    text = "\\u0e01" * 32_000  # 32,000 characters of Thai, each written with six
    body = completion("").replace(b'""', f'"{text}"'.encode())
    with served(says(http(body))) as server:
        assert len(ask(server, max_tokens=32_000).text) == 32_000
        with pytest.raises(UserError, match=r"raise engine\.max_reply_bytes"):
            ask(server, max_tokens=32_000, max_reply_bytes=100_000)


def test_where_the_options_leave_max_tokens_out_only_the_bytes_are_bounded():
    with served(says(http(completion("a" * 100_000)))) as server:
        assert len(ask(server, options={"max_tokens": None}).text) == 100_000


def test_an_answer_with_an_odd_number_of_tokens_has_none():
    for number in (-1, 10**300, True, "7", 2**63):
        with served(says(http(completion("a", usage={"completion_tokens": number})))) as server:
            assert ask(server) == Reply("r", "a", "stop", None)


def test_a_key_that_is_echoed_in_an_answer_is_in_no_reply(monkeypatch):
    monkeypatch.setenv("EVIL_API_KEY", KEY)
    with served(says(http(completion(f"the key is {KEY}")))) as server:
        assert ask(server, api_key_env="EVIL_API_KEY").text == "the key is ***"


# What leaves


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_carries_nothing_elsewhere(status, monkeypatch):
    monkeypatch.setenv("EVIL_API_KEY", KEY)
    with served(says(http(completion("a")))) as other:
        there = f"location: http://{other.host}/v1/completions?{KEY}\x1b]0;x"
        with served(says(http(b"", there, status=status))) as server, pytest.raises(UserError) as caught:
            ask(server, api_key_env="EVIL_API_KEY", retries=3)
        assert f"http://{server.host}/v1 sends its requests on to http://{other.host}" in str(caught.value)
        assert "engine.url" in str(caught.value)
        assert str(caught.value).isprintable()
        assert KEY not in str(caught.value)
    assert (len(server.asked), other.asked) == (1, [])


@pytest.mark.parametrize("named", [True, False])
def test_nothing_of_the_environment_leaves_but_a_key_that_was_named(named, monkeypatch):
    for name, value in (SECRETS | {"EVIL_API_KEY": KEY}).items():
        monkeypatch.setenv(name, value)
    options = {"api_key_env": "EVIL_API_KEY"} if named else {}
    with served(says(http(completion("a"), "set-cookie: a=b"))) as server:
        ask(server, **options)
        ask(server, **options)
    for first, headers, body in server.asked:
        assert first == "POST /v1/completions HTTP/1.1\r\n"
        assert set(headers) - {"authorization"} <= SENT
        assert headers.get("authorization") == (f"Bearer {KEY}" if named else None)
        assert headers["accept-encoding"] == "identity"
        assert b"ambient" not in body
