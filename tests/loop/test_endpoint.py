"""Two rounds with a tiny model whose answers and judgements come from a real server, `transformers serve`."""

import json
import signal
import socket
from pathlib import Path

import pytest

from congrad.engines.server import serve
from congrad.settings.engine import Engine

PAUSED = Path(__file__).with_name("paused.py")
SERVE = "transformers serve --host 127.0.0.1 --dtype float32"


@pytest.mark.slow
def test_two_rounds_over_a_real_server_with_a_kill_and_a_resume(congrad, start, write_config, place, talker):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    engine = {
        "kind": "openai",
        "url": f"http://127.0.0.1:{port}",
        "concurrency": 2,
        "options": {"generation_config": json.dumps({"do_sample": True})},
    }
    config = write_config(
        generate={"samples": 3, "max_tokens": 6, "engine": engine},
        train={"max_steps": 2},
        rounds={"lora": {"r": 4}},
    )
    served = Engine(kind="openai", url=engine["url"], command=f"{SERVE} --port {port}")
    log = place / "server.log"
    with serve(served, str(talker), log=log):
        process = start(PAUSED, "judge 1", "run", config, "-o", "out")
        line = next((line for line in process.stdout if line.startswith("judge ")), None)
        assert line is not None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        raw = place / "out" / "round-1" / "judge" / "raw.jsonl"
        answers = (place / "out" / "round-1" / "generate" / "responses.jsonl").read_bytes()
        before = raw.read_text(encoding="utf-8").splitlines()
        assert before

        done = congrad("run", config, "-o", "out")
    assert done.code == 0, done.err + log.read_text(encoding="utf-8")[-2000:]
    assert raw.read_text(encoding="utf-8").splitlines()[: len(before)] == before, "what was judged was judged once"
    assert (place / "out" / "round-1" / "generate" / "responses.jsonl").read_bytes() == answers
    assert "ConGrad, round 2" in done.out
    second = json.loads((place / "out" / "round-2" / "generate" / "manifest.json").read_text(encoding="utf-8"))
    assert second["responses"] > 0
    assert second["model"] == "out/round-1/train/model"
