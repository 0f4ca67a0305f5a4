"""The subprocess of offline vLLM, with a stand-in of that name: what goes in, what comes out, and how it ends."""

import json
import os
import time
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.selfreward.engines import Reply, Request, open_engine, vllm_worker
from congrad.settings.engine import Engine
from congrad.settings.model import Model

STAND_IN = """
import json, os
from types import SimpleNamespace

print("a word of vLLM's on standard output")


def SamplingParams(**settings):
    return settings


class LLM:
    def __init__(self, **arguments):
        if arguments["model"] == "broken":
            raise RuntimeError("no room on the GPU")
        self.arguments = arguments

    def answer(self, texts, settings, use_tqdm):
        print("progress")
        assert use_tqdm is False
        if "die" in texts:
            os._exit(9)
        if "stay" in texts:
            import time
            open(os.environ["STAY"], "w").write(str(os.getpid()))
            time.sleep(60)
        return [
            SimpleNamespace(outputs=[SimpleNamespace(
                text=json.dumps([text, one, self.arguments]),
                finish_reason="length" if one["max_tokens"] == 2 else "stop",
                token_ids=[1, 2],
            )])
            for text, one in zip(texts, settings)
        ]

    def generate(self, prompts, settings, use_tqdm):
        return self.answer(prompts, settings, use_tqdm)

    def chat(self, conversations, settings, use_tqdm):
        return self.answer([messages[-1]["content"] + " chatted" for messages in conversations], settings, use_tqdm)
"""


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of that name on the path of Python's; the directory."""
    (tmp_path / "path" / "vllm").mkdir(parents=True)
    (tmp_path / "path" / "vllm" / "__init__.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    return tmp_path


def ask(requests: list[Request], model: str = "m", done=(), log: Path | None = None, **options) -> list[Reply]:
    with open_engine(Engine(kind="vllm", options=options), Model(model, dtype="bfloat16"), log=log) as engine:
        return [reply for group in engine.generate(requests, done) for reply in group]


def test_requests_go_in_and_replies_come_out(vllm):
    plain = Request("p", prompt="größer", seed=3, temperature=0.5, top_p=0.9, max_tokens=2)
    talk = Request("t", messages=[{"role": "user", "content": "Na?"}], max_tokens=9)
    done = Request("d", prompt="die")
    replies = {reply.key: reply for reply in ask([plain, done, talk], done={"d"}, log=vllm / "log", max_model_len=64)}
    assert replies.keys() == {"p", "t"}
    assert (replies["p"].finish_reason, replies["p"].num_tokens) == ("length", 2)
    assert replies["t"].finish_reason == "stop"
    text, settings, arguments = json.loads(replies["p"].text)
    assert text == "größer"
    assert settings == {"seed": 3, "temperature": 0.5, "top_p": 0.9, "max_tokens": 2}
    assert arguments == {
        "model": "m",
        "dtype": "bfloat16",
        "revision": None,
        "trust_remote_code": False,
        "generation_config": "vllm",
        "max_model_len": 64,
    }
    assert json.loads(replies["t"].text)[0] == "Na? chatted"
    assert "a word of vLLM's" in (vllm / "log").read_text()


def test_nothing_is_started_where_nothing_is_left_to_ask(vllm):
    assert ask([Request("d", prompt="die")], model="broken", done={"d"}) == []


def test_without_vllm_the_extra_is_named():
    with pytest.raises(UserError, match=r"pip install 'congrad\[vllm\]'"):
        ask([Request("p", prompt="a")])


def test_a_model_that_does_not_load_is_told_with_its_last_line(vllm):
    with pytest.raises(UserError, match=r"vLLM ended with exit code 1 .*no room on the GPU.*mend") as caught:
        ask([Request("p", prompt="a")], model="broken", log=vllm / "log")
    assert str(vllm / "log") in str(caught.value)


def test_replies_before_a_crash_are_given(vllm):
    requests = [Request(f"{i}", prompt="x") for i in range(vllm_worker.GROUP)] + [Request("last", prompt="die")]
    replies = []
    with open_engine(Engine(kind="vllm"), Model("m")) as engine:
        groups = engine.generate(requests)
        replies += next(groups)
        with pytest.raises(UserError, match="exit code 9"):
            next(groups)
    assert [reply.key for reply in replies] == [request.key for request in requests[:-1]]


def test_the_worker_ends_when_nobody_waits_for_it(vllm, monkeypatch):
    monkeypatch.setenv("STAY", str(vllm / "pid"))
    with open_engine(Engine(kind="vllm"), Model("m")) as engine:
        requests = [Request(f"{i}", prompt="x") for i in range(vllm_worker.GROUP)] + [Request("last", prompt="stay")]
        groups = engine.generate(requests)
        next(groups)
        deadline = time.monotonic() + 20
        while not (vllm / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        groups.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((vllm / "pid").read_text()), 0)
