"""`congrad filter` with a new LoRA adapter and quantised weights: what is written, continued and refused."""

import importlib.util
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from congrad.gradients import open_index

pytest.importorskip("peft")
FLOAT32 = ("model.dtype=float32", "model.device=cpu")


@pytest.fixture
def run(congrad, pairs_file, tiny_directory, tmp_path):
    def call(*words: str, output: str = "run", model: Path = tiny_directory):
        return congrad("filter", pairs_file, "--model", model, "--output", tmp_path / output, *FLOAT32, *words, "-q")

    return call


def test_a_new_adapter_is_in_the_plan_and_in_what_a_run_is_filtered_again_with(run, congrad, tmp_path):
    words = ("model.lora={r: 4, target_modules: [q_proj, down_proj]}", "index.projection_size=8")
    done = run(*words)
    assert done.code == 0, done.err
    plan = json.loads((tmp_path / "run" / "index" / "plan.json").read_text())
    adapter = {"r": 4, "alpha": 32.0, "target_modules": ["q_proj", "down_proj"], "seed": 0}
    assert plan["lora"] == adapter
    assert plan["num_layers"] == 2 * 2
    assert plan["num_weights"] == 2 * 2 * 32 * 4  # B alone
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"]["model"]["lora"] == adapter
    assert manifest["fidelity"]["pairs"] == 30
    assert 0 <= manifest["fidelity"]["estimated_spearman"] < 1
    before = pq.read_table(tmp_path / "run" / "scores.parquet")
    (tmp_path / "run" / "manifest.json").unlink()
    assert run(*words).code == 0  # goes on
    assert congrad("filter", tmp_path / "run", "-q").code == 0  # is filtered again
    assert pq.read_table(tmp_path / "run" / "scores.parquet") == before
    for change, said in (
        ("model.lora.seed=1", "model.lora.seed 0, now 1"),
        ("model.lora.r=2", "model.lora.r 4, now 2"),
        ("model.lora.alpha=1", "model.lora.alpha 32.0, now 1"),
        ("model.lora.target_modules=[q_proj]", 'model.lora.target_modules ["q_proj", "down_proj"], now ["q_proj"]'),
    ):
        other = run(*words, change)
        assert other.code == 2
        assert f"was begun with {said}" in other.err


def test_an_index_without_an_adapter_says_nothing_of_one(run, tmp_path):
    assert run("index.projection_size=8").code == 0
    plan = json.loads((tmp_path / "run" / "index" / "plan.json").read_text())
    assert not {"lora", "quantise"} & set(plan)
    (tmp_path / "run" / "manifest.json").unlink()
    other = run("index.projection_size=8", "model.lora={r: 4}")
    assert other.code == 2
    assert "was begun with model.lora null, now {" in other.err


def test_what_has_no_gradient_is_refused_before_anything_is_loaded(run, tmp_path):
    done = run("model.quantise=4bit")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err == (
        "congrad: model.quantise=4bit: leaves no weights that can be trained; set model.adapter to a LoRA adapter, or "
        "model.lora to begin a new one: model.lora={}\n"
    )
    assert run("model.lora={}", "--adapter", "a").err.startswith("congrad: model.lora={} does not go with")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["generate", "evaluate", "train", "run"])
@pytest.mark.parametrize(
    ("word", "fix"),
    [("model.quantise=4bit", "leave it out"), ("model.lora={}", "leave it out; training takes rounds.lora")],
)
def test_the_filter_alone_reads_them(congrad, pairs_file, tiny_directory, tmp_path, command, word, fix):
    source = pairs_file
    if command == "run":
        source = tmp_path / "run.yaml"
        source.write_text(f"prompts: {{pairs: {pairs_file}}}\nrounds: {{count: 1}}\n")
    done = congrad(command, source, f"model.name={tiny_directory}", word, "--output", tmp_path / "out")
    assert done.refused, done.err
    assert done.err.splitlines()[-1] == f"congrad: {word} is for the filter only; {fix}"


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantised_while_it_is_loaded(run, tiny_directory, tmp_path, bits):
    for package in ("bitsandbytes", "accelerate"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    words = (f"model.quantise={bits}", "model.lora={r: 4}", "index.projection_size=8")
    done = run(*words, f"model.reference={tiny_directory}")  # which is quantised in the same way, without an adapter
    assert done.code == 0, done.err
    index = open_index(tmp_path / "run" / "index")
    assert index.plan["reference"] not in (None, index.plan["model"])
    assert torch.allclose(index.reference_logps_P2, index.policy_logps_P2, atol=1e-4)
    shutil.rmtree(tmp_path / "run")
    assert run(*words).code == 0
    plan = json.loads((tmp_path / "run" / "index" / "plan.json").read_text())
    assert (plan["quantise"], plan["lora"]["r"]) == (bits, 4)
    (tmp_path / "run" / "manifest.json").unlink()
    assert run(*words).code == 0
    other = run(*words[1:])
    assert other.code == 2
    assert f'was begun with model.quantise "{bits}", now null' in other.err


def test_a_checkpoint_that_is_quantised_otherwise_is_refused_by_name(run, tiny_directory, tmp_path):
    path = shutil.copytree(tiny_directory, tmp_path / "quantised")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "quanto"}}))
    done = run("model.lora={}", model=path)
    assert done.refused
    assert done.err.splitlines()[-1].startswith(f"congrad: model {path} is quantised with 'quanto', which is not ")
