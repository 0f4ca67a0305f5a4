"""A server that `engine.command` starts: waited for, and gone with whoever started it, all of its group."""

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import congrad.engines.server as module
from congrad.engines import lifeline
from congrad.engines.interface import Request
from congrad.engines.open import open_engine
from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.model import Model

SERVER = """
import json, os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

port, path, pids = int(sys.argv[1]), sys.argv[2], sys.argv[3]
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(pids, "w").write(f"{os.getpid()} {helper.pid}")
print("loading", path, flush=True)
time.sleep(0.3)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200 if self.path == "/v1/models" else 404, {})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, {"choices": [{"index": 0, "text": path, "finish_reason": "stop"}]})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args): ...


HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def engine(tmp_path: Path, free_port: int) -> Engine:
    (tmp_path / "server.py").write_text(SERVER)
    words = f"'{sys.executable}' '{tmp_path}/server.py' {free_port} {{model}} '{tmp_path}/pids'"
    return Engine(kind="openai", url=f"http://127.0.0.1:{free_port}", command=words)


def assert_gone(pids: Path) -> None:
    """All processes of the file have ended (one that has and whose parent has not looked yet is a zombie)."""
    deadline = time.monotonic() + 15
    for pid in map(int, pids.read_text().split()):
        while time.monotonic() < deadline:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] == "Z":
                    break
                time.sleep(0.05)
            except OSError:
                break
        else:
            raise AssertionError(f"{pid} is still there")


def test_the_server_is_waited_for_used_and_ended_with_its_group(engine, tmp_path):
    with open_engine(engine, Model("the/model"), log=tmp_path / "log") as opened:
        ((reply,),) = opened.generate([Request("a", prompt="x")])
        assert reply.text == "the/model"
        os.kill(int((tmp_path / "pids").read_text().split()[0]), 0)
    assert_gone(tmp_path / "pids")
    assert (tmp_path / "log").read_text() == "loading the/model\n"


def test_the_server_ends_when_who_started_it_is_killed(engine, tmp_path):
    program = (
        "import runpy, shlex, sys, time\n"
        "with runpy.run_path(sys.argv[1])['held'](shlex.split(sys.argv[2])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", program, lifeline.__file__, engine.command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        deadline = time.monotonic() + 20
        while not module.answers(engine.endpoint) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert_gone(tmp_path / "pids")
    assert not module.answers(engine.endpoint)


def test_a_server_that_sends_its_asker_elsewhere_is_not_ready(monkeypatch):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path == "/elsewhere" else 302)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # what is asked of this machine goes through nobody
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert not module.answers(f"http://127.0.0.1:{server.server_port}/v1")
        server.shutdown()
    assert asked == ["/v1/models", "/health"]


def test_a_server_that_ends_is_told_with_its_last_line(tmp_path, free_port):
    program = "print('first'); print('CUDA out of memory'); raise SystemExit(5)"
    engine = Engine(kind="openai", url=f"http://127.0.0.1:{free_port}", command=f'{sys.executable} -c "{program}"')
    with pytest.raises(UserError, match=r"ended with exit code 5 .*\(CUDA out of memory; all in ") as caught:
        open_engine(engine, Model("m"), log=tmp_path / "log").__enter__()
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_ended(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(module, "START_LIMIT", 0.3)
    program = f"import os, time; open('{tmp_path}/pids', 'w').write(str(os.getpid())); time.sleep(60)"
    command = f'{sys.executable} -c "{program}"'
    engine = Engine(kind="openai", url=f"http://127.0.0.1:{free_port}", command=command)
    with pytest.raises(UserError, match=r"does not answer after 0\.3 seconds"):
        open_engine(engine, Model("m")).__enter__()
    if (tmp_path / "pids").exists():
        assert_gone(tmp_path / "pids")


def test_another_server_at_the_same_place_is_not_taken_for_it(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAVE_LIMIT", 0.1)
    monkeypatch.setattr(module, "answers", lambda endpoint: True)
    with pytest.raises(UserError, match="already answers"):
        open_engine(engine, Model("m")).__enter__()
    assert not (tmp_path / "pids").exists()


@pytest.mark.parametrize(
    ("command", "part"), [("no-such-program {model}", "no such program"), ("x 'y", "No closing quotation")]
)
def test_a_command_that_is_none_is_named(command, part, free_port):
    engine = Engine(kind="openai", url=f"http://127.0.0.1:{free_port}", command=command)
    with pytest.raises(UserError, match=f"engine.command .*{part}"):
        open_engine(engine, Model("m")).__enter__()
