"""TRL's own trainer makes of the export the very tokens that the filter scored."""

import runpy
from pathlib import Path
from typing import Any

import datasets
import pytest
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
