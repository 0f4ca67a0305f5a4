"""TRL's own trainer makes of the export the very tokens that the filter scored."""

import runpy
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tests.exports.chat_models import save_chat_model
from tests.exports.rows import CONVERSATIONS, IMPLICIT, IMPLICIT_PLAIN, PLAIN
from transformers import AutoTokenizer

from congrad.exports import export_run
from congrad.preferences import load_preferences, tokenise

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def model(tiny_directory: Path, tmp_path: Path) -> Path:
    """The tiny model with a chat template and a padding token."""
    from shutil import copytree

    directory = tmp_path / "model"
    copytree(tiny_directory, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = TEMPLATE
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers that a script makes, with their training left out."""
    from trl import DPOTrainer

    made: list[Any] = []
    monkeypatch.setattr(DPOTrainer, "train", lambda self: made.append(self))
    monkeypatch.setattr(DPOTrainer, "save_model", lambda self: None)
    return made


@pytest.mark.filterwarnings("ignore")  # TRL's own
@pytest.mark.parametrize(
    ("rows", "chat"),
    [
        pytest.param(PLAIN, False, id="text"),
        pytest.param(PLAIN, True, id="text by --chat"),
        pytest.param(IMPLICIT_PLAIN, False, id="implicit text"),
        pytest.param(IMPLICIT_PLAIN, True, id="implicit text by --chat"),
        pytest.param(CONVERSATIONS, False, id="turns"),
        pytest.param(IMPLICIT, False, id="implicit turns"),
    ],
)
def test_the_script_trains_on_what_was_scored(make_run, model, trained, tmp_path, monkeypatch, rows, chat):
    exported = export_run(make_run(rows, chat=chat, model=str(model)), "trl")
    monkeypatch.chdir(exported.directory)
    runpy.run_path("train_dpo.py")
    (trainer,) = trained
    assert (trainer.args.beta, trainer.args.max_length, trainer.args.loss_type) == (0.2, 256, ["sigmoid"])

    source = datasets.Dataset.from_list([row | {"language": "xx"} for row in rows])
    scored = tokenise(load_preferences(source), AutoTokenizer.from_pretrained(model), chat=chat, max_length=256)
    for side in ("prompt", "chosen", "rejected"):
        assert [list(ids) for ids in getattr(scored, f"{side}_ids")] == [
            list(ids) for ids in trainer.train_dataset[f"{side}_ids"]
        ]


def test_without_chat_the_pairs_are_the_run_s_own(make_run):
    run = make_run(PLAIN)
    exported = export_run(run, "trl")
    assert exported.directory == run / "trl"
    assert (run / "trl" / "kept.jsonl").read_bytes() == (run / "kept.jsonl").read_bytes()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, another one as the reference, and an adapter, which is where the user stands."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for name in ("model", "reference"):
        save_chat_model(tmp_path / name, "gemma")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    adapted.save_pretrained(tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # TRL's own
@pytest.mark.parametrize(
    ("settings", "lora", "weights"),
    [
        pytest.param({}, False, "model.safetensors", id="all weights"),
        pytest.param({"reference": "reference"}, False, "model.safetensors", id="reference"),
        pytest.param({"adapter": "./adapter"}, False, "adapter_model.safetensors", id="adapter"),
        pytest.param(
            {"adapter": "adapter", "reference": "./reference"},
            False,
            "adapter_model.safetensors",
            id="adapter, reference",
        ),
        pytest.param({"lora": {"r": 2, "alpha": 4.0}}, False, "adapter_model.safetensors", id="new adapter"),
        pytest.param({}, True, "adapter_model.safetensors", id="--lora"),
    ],
)
def test_it_trains_from_the_export_s_folder_on_relative_names(make_run, models, monkeypatch, settings, lora, weights):
    exported = export_run(make_run(CONVERSATIONS, model="./model", **settings), "trl", lora=lora)
    monkeypatch.chdir(exported.directory)
    ran = runpy.run_path("train_dpo.py")
    trainer = ran["trainer"]
    assert trainer.state.global_step >= 1
    assert (exported.directory / "model" / weights).is_file()
    if "reference" in settings:
        assert trainer.ref_model.config._name_or_path == str(models / "reference")
    if "adapter" in settings:
        assert (trainer.model.peft_config["default"].r, "ref" in trainer.model.peft_config) == (
            2, "reference" not in settings,
        )  # fmt: skip
