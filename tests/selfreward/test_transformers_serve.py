"""The endpoint engine against a real server: `transformers serve` with SmolLM2, started and ended as stages do it."""

import json
import socket
from dataclasses import replace

import pytest

from congrad.engines.interface import Request, Sampling
from congrad.engines.open import open_engine
from congrad.engines.server import answers, serve
from congrad.models.packaged import resolve
from congrad.selfreward.generate import run_generate
from congrad.selfreward.prompts import load_prompts
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.settings.selfreward import Generate, Prompts

ROWS = [
    {"prompt": "What is the capital of France?", "language": "en"},
    {"prompt": "Nenne drei Flüsse.", "language": "de"},
]


@pytest.mark.slow
def test_a_real_server_is_started_samples_answers_both_kinds_and_ends(tmp_path, save_rows):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"transformers serve {{model}} --host 127.0.0.1 --port {port} --device cpu --dtype float32"
    engine = Engine(kind="openai", url=f"http://127.0.0.1:{port}", concurrency=2)
    model, log = Model("smollm2-135m", dtype="float32"), tmp_path / "server.log"
    prompts = load_prompts(Prompts(str(save_rows(tmp_path / "prompts.jsonl", ROWS))))
    settings = Generate(samples=2, temperature=1.0, max_tokens=12, engine=engine)
    sampling = replace(engine, options={"generation_config": json.dumps({"do_sample": True})})
    chat = [{"role": "user", "content": ROWS[0]["prompt"]}]
    asked = [
        Request("chat", messages=chat, sampling=Sampling(0.0, max_tokens=12)),
        Request("text", prompt="The capital of France is", sampling=Sampling(0.0, max_tokens=8)),
    ]
    with serve(replace(engine, command=command), resolve(model.name), log=log):
        run_generate(prompts, model, replace(settings, engine=sampling), tmp_path / "sampled")
        run_generate(prompts, model, settings, tmp_path / "greedy")
        with open_engine(engine, model) as opened:
            there = {reply.key: reply for group in opened.generate(asked) for reply in group}
    assert not answers(engine.endpoint)

    manifest = json.loads((tmp_path / "sampled" / "manifest.json").read_text())
    assert (manifest["chat"], manifest["responses"]) == (True, 4), log.read_text()
    found = [json.loads(line) for line in (tmp_path / "sampled" / "responses.jsonl").read_text().splitlines()]
    assert all(1 <= row["num_tokens"] <= 12 for row in found)
    assert {row["finish_reason"] for row in found} <= {"stop", "length"}

    # The checkpoint says nothing of do_sample, and the server then ignores the temperature; a person is told the mend.
    manifest = json.loads((tmp_path / "greedy" / "manifest.json").read_text())
    assert manifest["responses"] == 2
    assert "does not sample" in manifest["warnings"][0]

    # Greedy, the server says what the engine in process says.
    with open_engine(Engine(), model) as opened:
        here = {reply.key: reply for group in opened.generate(asked) for reply in group}
    assert here["chat"] == there["chat"]
    assert here["text"].num_tokens == there["text"].num_tokens
    assert here["text"].text.strip() == there["text"].text.strip()
    assert here["text"].text.startswith(" "), "a reply that goes on with a text keeps its space"
