"""The filter on small real models, where their packages are installed."""

import importlib.util
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from congrad.models.packaged import PACKAGES

DEMO = Path(__file__).parents[2] / "demo" / "pairs"
LIMIT = 26  # two pairs in each of 13 languages


@pytest.fixture(params=sorted(PACKAGES))
def model(request: pytest.FixtureRequest) -> str:
    for module in (PACKAGES[request.param].module, "gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return str(request.param)


@pytest.mark.slow
def test_demo_pairs_on_a_real_model(congrad, model, tmp_path):
    command = (
        "filter",
        DEMO,
        "--model",
        model,
        "--output",
        tmp_path / "run",
        "--limit",
        LIMIT,
        "-q",
        "report.write=false",
    )
    done = congrad(*command)
    assert done.code == 0, done.err
    table = pq.read_table(tmp_path / "run" / "scores.parquet").to_pydict()
    assert len(table["row"]) == LIMIT
    assert all(score is not None for score in table["score"])
    assert all(-1 < score < 1 for score in table["score"])
    assert all(-1000 < value < 0 for side in ("chosen", "rejected") for value in table[f"{side}_logp"])
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["fidelity"]["pairs"] == LIMIT
    assert 0 < manifest["fidelity"]["estimated_spearman"] <= 1
    # The plan's dtype is what `auto` chose and what was computed in: the index goes on with it under its name.
    chosen = manifest["plan"]["dtype"]
    assert chosen in ("bfloat16", "float32")
    again = congrad(*command, "--dtype", chosen)
    assert again.code == 0, again.err


@pytest.mark.slow
def test_chat_on_a_real_model(congrad, model, tmp_path):
    pairs = DEMO / "en.jsonl"
    chat = congrad(
        "filter", pairs, "--model", model, "--output", tmp_path / "chat", "--limit", 4, "input.chat=true", "-q"
    )
    if model.startswith("gemma"):
        assert chat.code == 2
        assert "no chat template" in chat.err
    else:
        assert chat.code == 0, chat.err
