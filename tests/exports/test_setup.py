"""Every export names the model absolutely, its revision, adapter and reference, and the kind of training of the run."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.exports.rows import CONVERSATIONS

from congrad.exports import FORMATS, Exported, export_run
from congrad.exports.configs import swift_model_type


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands: a folder with directories of models."""
    for name in ("model", "adapter", "reference"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(exported: Exported) -> tuple[str, dict[str, Any]]:
    """The text of the configuration, and its keys: of YAML, or the options of a command."""
    (path,) = exported.directory.glob("train_dpo.*")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return text, yaml.safe_load(text)
    if path.suffix == ".sh":
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        return text, {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
    return text, {}


ADAPTED = {"adapter": "adapter", "revision": "v2"}


@pytest.mark.parametrize("name", FORMATS)
def test_relative_names_are_absolute(make_run, here, name):
    settings = {"adapter": "./adapter", "reference": "reference"}
    exported = export_run(make_run(CONVERSATIONS, model="./model", **settings), name)
    text, _ = said(exported)
    shown = text + " ".join(exported.notes)
    for each in ("model", "adapter", "reference"):
        assert str(here / each) in shown
        assert f"./{each}" not in text.replace("./kept.jsonl", "")
    if name in ("axolotl", "openrlhf"):  # what it cannot express stands in the file and in the output
        missing = "axolotl cannot load" if name == "axolotl" else "OpenRLHF cannot load"
        assert missing in text
        assert any(missing in note for note in exported.notes)


def test_llamafactory(make_run, here):
    _, keys = said(export_run(make_run(CONVERSATIONS, model="org/m", **ADAPTED), "llamafactory"))
    adapter = str(here / "adapter")
    assert (keys["model_name_or_path"], keys["model_revision"], keys["finetuning_type"]) == ("org/m", "v2", "lora")
    assert keys["adapter_name_or_path"] == keys["ref_model_adapters"] == adapter
    assert keys["ref_model"] == "org/m"  # else its reference is the model without the adapter


def test_ms_swift(make_run, here):
    _, keys = said(export_run(make_run(CONVERSATIONS, model="org/m", **ADAPTED), "ms-swift"))
    adapter = str(here / "adapter")
    assert (keys["--model"], keys["--model_revision"], keys["--tuner_type"]) == ("org/m", "v2", "lora")
    assert keys["--adapters"] == keys["--ref_adapters"] == adapter
    assert keys["--truncation_strategy"] == "right"  # as it was scored; its default leaves long pairs out


def test_axolotl(make_run, here):
    exported = export_run(make_run(CONVERSATIONS, model="org/m", **ADAPTED), "axolotl")
    _, keys = said(exported)
    assert (keys["base_model"], keys["revision_of_model"], keys["adapter"]) == ("org/m", "v2", "lora")
    assert "lora_model_dir" not in keys  # for DPO, it would be read by nothing
    assert str(here / "adapter") in exported.notes[0]


def test_openrlhf(make_run, here):
    text, keys = said(export_run(make_run(CONVERSATIONS, model="org/m", reference="org/r", **ADAPTED), "openrlhf"))
    assert (keys["--model.model_name_or_path"], keys["--ref.model_name_or_path"]) == ("org/m", "org/r")
    assert keys["--ds.lora.rank"] == "16"
    assert "revision v2, which OpenRLHF cannot name" in text


KINDS = {
    "llamafactory": ("finetuning_type: full", "finetuning_type: lora", "lora_rank: 4"),
    "ms-swift": ("--tuner_type full", "--tuner_type lora", "--lora_rank 4"),
    "axolotl": ("base_model", "adapter: lora", "lora_r: 4"),
    "openrlhf": ("--model.beta", "--ds.lora.rank", "--ds.lora.rank 4"),
    "trl": ("DPOTrainer(", "LoraConfig(", "LoraConfig(r=4"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_train_the_same_kind(make_run, name, tmp_path):
    """All weights where the run was filtered for them; an adapter where it was filtered for one, or when asked."""
    full, lora, rank = KINDS[name]
    run = make_run(CONVERSATIONS)
    text, _ = said(export_run(run, name))
    assert full in text
    assert lora not in text
    assert lora in said(export_run(run, name, lora=True))[0]
    adapted = make_run(CONVERSATIONS, lora={"r": 4, "alpha": 8.0}, directory="adapted")
    assert rank in said(export_run(adapted, name))[0]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "trl"])
def test_an_alpha_that_is_no_whole_number_is_never_0_and_is_said(make_run, name):
    run = make_run(CONVERSATIONS, lora={"r": 4, "alpha": 0.5})
    text, _ = said(exported := export_run(run, name))
    assert re.search(r"lora[._]alpha:? 1$", text.replace(" \\", ""), re.MULTILINE)
    assert any("the alpha 0.5 of the run is written as 1" in note for note in exported.notes)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"architectures": ["LlamaForCausalLM"]}', "llama"),
        ('{"architectures": ["Gemma3ForCausalLM"]}', None),
        ("{}", None),
        ("no", None),
    ],
)
def test_the_model_type_that_ms_swift_asks_for(tmp_path, content, kind):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    assert swift_model_type(tmp_path) == kind
