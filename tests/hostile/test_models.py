"""Model directories that mean harm: code of their own, pickled weights, adapters and checkpoints that run something.

Each of them would create the file `MARK` if anything of it were run.
"""

import json
import os
import pickle
import shutil
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from congrad.errors import UserError
from congrad.evaluation.measure import the_judge
from congrad.loop.check import filter_config
from congrad.loop.config import read_config
from congrad.loop.plan import layout
from congrad.loop.run import judges_in_process, policy
from congrad.models.identity import identity
from congrad.models.load import load, load_model, load_skeleton
from congrad.progress import Listener, Progress
from congrad.selfreward.judge import who_judges
from congrad.settings.engine import Engine
from congrad.settings.evaluation import Evaluate, WinRate
from congrad.settings.model import Model, reference_of
from congrad.settings.selfreward import Judge, Prompts
from congrad.settings.training import Rounds

CODE = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM

class MineConfig(LlamaConfig):
    model_type = "mine"

class Mine(LlamaForCausalLM):
    config_class = MineConfig
"""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "MARK"


@pytest.fixture
def coded(tiny_directory: Path, tmp_path: Path, mark: Path):
    """`coded(name)`: the tiny model as one that brings its own code, which leaves the mark."""

    def make(name: str) -> str:
        directory = tmp_path / name
        shutil.copytree(tiny_directory, directory)
        path = directory / "config.json"
        config = json.loads(path.read_text())
        classes = {"AutoConfig": f"code_{name}.MineConfig", "AutoModelForCausalLM": f"code_{name}.Mine"}
        path.write_text(json.dumps(config | {"model_type": "mine", "architectures": ["Mine"], "auto_map": classes}))
        (directory / f"code_{name}.py").write_text(CODE.format(mark=str(mark)))
        return str(directory)

    return make


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def complaint(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# A trust setting belongs to one model


def others(model: Model) -> dict[str, Model | None]:
    """Every model that a command loads beside the one of the settings, whatever names it: all are called `b`."""
    contest = WinRate(Prompts("prompts.jsonl"), judge_model="b")
    return {
        "reference": reference_of(replace(model, reference="b")),
        "judge": who_judges(Judge(model="b"), Engine(), model)[1],
        "endpoint's judge": who_judges(Judge(engine=Engine("openai", url="https://x", model="b")), Engine(), model)[1],
        "win rate's judge": the_judge({"M0": model}, Evaluate(win_rate=contest))[0],
        "evaluated, initial": model.other("b"),
        "back and forth": model.other("c").other("b"),
    }


def test_trust_in_one_model_covers_no_other():
    for name, other in others(Model("a", trust_remote_code=True)).items():
        assert other is not None
        assert (other.name, other.runs_code) == ("b", False), name
    assert Model("a", trust_remote_code=True).runs_code
    assert not Model("a", trust_remote_code=("b",)).runs_code


def test_a_list_trusts_each_that_it_names():
    for name, other in others(Model("a", trust_remote_code=("a", "b"))).items():
        assert other.runs_code or name == "endpoint's judge", name
    assert not Model("a").other("b").runs_code
    assert Model("a").other("b").trust_remote_code is False


def test_what_training_makes_of_a_model_is_trusted_as_that_is(write_run):
    for trust in (True, ["a"]):
        config = read_config(write_run({"name": "a", "trust_remote_code": trust}))
        later = policy(config, layout(config, Path("out")), 2, None)
        assert (later.name, later.runs_code) == ("out/round-1/train/model", True)
        reference = reference_of(filter_config(config, "congrad", Path("pairs.jsonl"), later).model)
        assert (reference.name, reference.runs_code) == ("a", True)
        assert not later.other("b").runs_code
        assert not any(each.runs_code for each in judges_in_process(config))
    config = read_config(write_run({"name": "a", "trust_remote_code": ["b"]}))
    assert not policy(config, layout(config, Path("out")), 2, None).runs_code
    assert all(each.runs_code for each in judges_in_process(config))


@pytest.fixture
def write_run(tmp_path: Path):
    def write(model: dict) -> Path:
        content = {"model": model, "prompts": {"source": "p.jsonl"}, "judge": {"model": "b"}}
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps(content | {"rounds": {"reference": "initial"}}))
        return path

    return write


def test_code_that_is_not_trusted_does_not_run_and_the_message_names_the_model(coded, mark, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    one, two = coded("one"), coded("two")
    trusting = Model(one, dtype="float32", device="cpu", trust_remote_code=True)
    for call in (load, load_skeleton):
        message = complaint(call, trusting.other(two))
        assert message.endswith(f"to run it, name the model in model.trust_remote_code: [{two}]"), message
        assert not mark.exists()
    load(trusting)
    assert mark.exists()
    load(replace(trusting, trust_remote_code=(one, two)).other(two))


def test_a_model_that_a_received_stage_names_gets_no_trust(congrad, coded, mark, tmp_path):
    (tmp_path / "generated").mkdir()
    manifest = {"stage": "generate", "model": coded("one"), "chat": False, "settings": {}}
    (tmp_path / "generated" / "manifest.json").write_text(json.dumps(manifest))
    done = congrad("judge", tmp_path / "generated", "-o", tmp_path / "out", "model.trust_remote_code=true")
    assert done.refused
    assert "model.trust_remote_code=true: would trust a model that only the stage names; name it: --model" in done.err
    assert not mark.exists()


# Pickles


def hostile_bin(directory: Path, mark: Path, name: str) -> None:
    (directory / "model.safetensors").unlink(missing_ok=True)
    with (directory / name).open("wb") as file:
        pickle.dump({"a": Payload(mark)}, file)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "weights.ckpt"])
def test_pickled_weights_are_never_read(tiny_directory, tmp_path, mark, name):
    directory = tmp_path / "pickled"
    shutil.copytree(tiny_directory, directory)
    hostile_bin(directory, mark, name)
    for call in (load, load_skeleton):
        message = complaint(call, Model(str(directory)))
        assert f"model {directory} has its weights in {name}, a pickle, and only safetensors are read" in message
        assert "save_pretrained" in message
    identity(Model(str(directory)))
    assert not mark.exists()


def test_weights_that_a_configuration_calls_pickled_are_not_read(tiny_directory, tmp_path, mark):
    directory = tmp_path / "pickled"
    shutil.copytree(tiny_directory, directory)
    (directory / "adapter_model.bin").write_bytes(pickle.dumps({"a": Payload(mark)}))
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_weights": "adapter_model.bin"}))
    assert "in adapter_model.bin, a pickle, and only" in complaint(load_model, str(directory), dtype="float32")
    assert not mark.exists()


@pytest.fixture
def adapter(tiny_directory: Path, tmp_path: Path) -> Path:
    peft = pytest.importorskip("peft")
    base, path = load_model(str(tiny_directory), dtype="float32", device="cpu"), tmp_path / "adapter"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in tests/models/conftest.py
        peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj"], r=2)).save_pretrained(path)
    return path


def test_adapters_are_read_from_safetensors_alone(tiny_directory, adapter, mark):
    settings = adapter / "adapter_config.json"
    whole = json.loads(settings.read_text())
    settings.write_text(json.dumps(whole | {"megatron_config": {"a": 1}, "megatron_core": "antigravity"}))
    assert "names a module to be imported" in complaint(load_model, str(tiny_directory), adapter=str(adapter))
    for text in ("[" * 100_000, "[1]", "{", '{"peft_type": 1}'):
        settings.write_text(text)
        assert str(adapter) in complaint(load_model, str(tiny_directory), adapter=str(adapter))
    settings.write_text(json.dumps(whole))
    for key, value in (("r", "x"), ("r", -1), ("target_modules", 7), ("lora_alpha", [])):
        settings.write_text(json.dumps(whole | {key: value}))
        assert str(adapter) in complaint(load_model, str(tiny_directory), adapter=str(adapter))
    settings.write_text(json.dumps(whole))
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    message = complaint(load_model, str(tiny_directory), adapter=str(adapter))
    assert f"adapter {adapter} has its weights in adapter_model.bin, a pickle" in message
    hostile_bin(adapter, mark, "adapter_model.bin")
    complaint(load_model, str(tiny_directory), adapter=str(adapter))
    assert not mark.exists()


CONFIGS = {
    "deep": "[" * 100_000,
    "no object": "[1]",
    "no type": "{}",
    "long number": '{"model_type": "llama", "hidden_size": ' + "9" * 5000 + "}",
}
VALUES = {
    "num_hidden_layers": [10**9, -1, "2", None, [], 1.5],
    "hidden_size": [10**12, 0, -4, "x", {}],
    "num_attention_heads": [0, -1, 10**9, "x"],
    "vocab_size": [0, -1, 10**15, None],
    "model_type": [1, None, "no-such", ["llama"]],
    "architectures": [7, "x" * 10**6, [1], ["BertModel"]],
    "rope_parameters": [1, {"rope_type": "x"}, {"rope_type": "yarn"}, []],
    "hidden_act": ["__import__('os')", 1],
    "auto_map": [1, {"AutoConfig": "../../x.py"}, {"AutoConfig": 1}],
    "quantization_config": [1, {}, {"quant_method": "x"}, {"quant_method": "bitsandbytes"}],
    "attn_implementation": ["someone/kernel", {"a": 1}],
    "transformers_weights": ["../other.safetensors", "/etc/passwd", 1],
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_damaged_configuration_is_one_line(tiny_directory, tmp_path, text):
    directory = tmp_path / "model"
    shutil.copytree(tiny_directory, directory)
    (directory / "config.json").write_text(text)
    for call in (load, load_skeleton):
        assert len(complaint(call, Model(str(directory), dtype="float32", device="cpu"))) < 800


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("key", VALUES)
def test_a_hostile_value_in_a_configuration_is_one_line_or_does_nothing(tiny_directory, tmp_path, mark, key):
    directory = tmp_path / "model"
    shutil.copytree(tiny_directory, directory)
    path = directory / "config.json"
    whole = json.loads(path.read_text())
    for value in VALUES[key]:
        path.write_text(json.dumps(whole | {key: value}))
        for call in (load_skeleton, load):
            with suppress(UserError):
                call(Model(str(directory), dtype="float32", device="cpu"))
    assert not mark.exists()


# Checkpoints


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_a_received_checkpoint_runs_nothing(tiny_directory, tmp_path, mark, save_rows, make_rows, name):
    pytest.importorskip("trl")
    from congrad.training.train import train

    pairs, model = save_rows(tmp_path / "kept.jsonl", make_rows(8)), Model(str(tiny_directory), device="cpu")
    settings = {"max_steps": 3, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1}
    arguments = ([pairs], model, model, Rounds(), settings, tmp_path / "out")

    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*arguments, listener=Listener(on_progress=stop))
    checkpoint = tmp_path / "out" / "checkpoints" / "checkpoint-1"
    shutil.copytree(checkpoint, checkpoint.with_name("checkpoint-2"), dirs_exist_ok=True)
    (checkpoint.with_name("checkpoint-2") / "trainer_state.json").write_text('{"evil": 1}')
    checkpoint.with_name("checkpoint-x").mkdir()
    with (checkpoint / name).open("wb") as file:
        pickle.dump({"a": Payload(mark)}, file, protocol=2)
    if name == "training_args.bin":  # written, never read
        train(*arguments)
    else:
        assert f"{checkpoint}: cannot be resumed" in complaint(train, *arguments)
    assert not mark.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_a_configuration_chooses_no_code_of_the_hub(tiny_directory, tmp_path, key):
    directory = tmp_path / "model"
    shutil.copytree(tiny_directory, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {key: "somebody/kernel"}))
    for call in (load, load_skeleton):
        said = complaint(call, Model(str(directory), dtype="float32", device="cpu"))
        assert "asks for the code of 'somebody/kernel'; remove " in said


@pytest.mark.parametrize("elsewhere", ["../other/model.safetensors", "/tmp/model.safetensors", "a/../../b.safetensors"])
def test_weights_lie_in_the_model_s_directory(tiny_directory, tmp_path, elsewhere):
    directory = tmp_path / "model"
    shutil.copytree(tiny_directory, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"transformers_weights": elsewhere}))
    assert "which is not beside it" in complaint(load, Model(str(directory), dtype="float32", device="cpu"))
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").unlink()
    listed = {"metadata": {}, "weight_map": {"lm_head.weight": elsewhere}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(listed))
    assert "which is not beside it" in complaint(load, Model(str(directory), dtype="float32", device="cpu"))
