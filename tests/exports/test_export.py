"""The directory of an export: what is written, when it is refused, and what it tells of the run."""

import ast
import json
import shlex
from pathlib import Path

import pytest
import yaml
from tests.exports.rows import CONVERSATIONS, PLAIN

from congrad.errors import UserError
from congrad.exports import FORMATS, export_run
from congrad.exports.export import stale_exports

FILES = {
    "trl": {"train_dpo.py"},
    "llamafactory": {"train_dpo.yaml", "dataset_info.json"},
    "ms-swift": {"train_dpo.sh"},
    "axolotl": {"train_dpo.yaml"},
    "openrlhf": {"train_dpo.sh"},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rows", [PLAIN, CONVERSATIONS], ids=["text", "turns"])
def test_an_export_is_the_pairs_a_configuration_and_a_card(make_run, files_of, name, rows):
    run = make_run(rows)
    exported = export_run(run, name)
    assert exported.num_pairs == len(rows)
    assert files_of(exported.directory) == {"kept.jsonl", "README.md", "congrad.json"} | FILES[name]
    assert exported.command.split()[-1] in FILES[name]


@pytest.fixture
def files_of():
    return lambda directory: {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("rows", [PLAIN, CONVERSATIONS], ids=["text", "turns"])
def test_configurations_say_what_was_scored(make_run, rows):
    """The model, beta and the length limit, in each trainer's words; a name with a quote stays one word."""
    run = make_run(rows, model="org/it's a model")
    llamafactory = yaml.safe_load((export_run(run, "llamafactory").directory / "train_dpo.yaml").read_text("utf-8"))
    assert (llamafactory["model_name_or_path"], llamafactory["pref_beta"]) == ("org/it's a model", 0.2)
    assert (llamafactory["cutoff_len"], llamafactory["pref_loss"]) == (256, "sigmoid")
    assert llamafactory.get("template") == (None if rows is CONVERSATIONS else "empty")
    axolotl = yaml.safe_load((export_run(run, "axolotl").directory / "train_dpo.yaml").read_text("utf-8"))
    assert (axolotl["base_model"], axolotl["rl"], axolotl["rl_beta"]) == ("org/it's a model", "dpo", 0.2)
    assert axolotl["sequence_len"] == 256
    for name, model, beta, length in (
        ("ms-swift", "--model", "--beta", "--max_length"),
        ("openrlhf", "--model.model_name_or_path", "--model.beta", "--data.max_len"),
    ):
        words = shlex.split((export_run(run, name).directory / "train_dpo.sh").read_text("utf-8"), comments=True)
        found = {key: words[words.index(key) + 1] for key in (model, beta, length)}
        assert found == {model: "org/it's a model", beta: "0.2", length: "256"}
    script = ast.parse((export_run(run, "trl").directory / "train_dpo.py").read_text("utf-8"))
    constants = {node.value for node in ast.walk(script) if isinstance(node, ast.Constant)}
    assert {"org/it's a model", 0.2, 256, "sigmoid"} <= constants


LOSSES = {
    "hinge": {"trl": "loss_type='hinge'", "llamafactory": "pref_loss: hinge", "ms-swift": "--loss_type hinge"},
    "ipo": {
        "trl": "loss_type='ipo'",
        "axolotl": "rl: ipo",
        "openrlhf": "--model.ipo_enable",
        "llamafactory": "pref_loss: ipo",
        "ms-swift": "--loss_type ipo",
    },
    "robust": {"trl": "loss_type='robust', label_smoothing=0.1", "ms-swift": "--label_smoothing 0.1"},
    "simpo": {"llamafactory": "simpo_gamma: 0.5", "ms-swift": "--rlhf_type simpo", "axolotl": "rl: simpo"},
    "lp-dpo": {},
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", FORMATS)
def test_the_loss_that_was_scored_is_trained_or_its_lack_is_said(make_run, name, loss):
    run = make_run(PLAIN, loss={"name": loss, "label_smoothing": 0.1, "target_margin": 0.5})
    directory = export_run(run, name).directory
    (config,) = [directory / file for file in FILES[name] if file.startswith("train")]
    text = config.read_text(encoding="utf-8")
    said = f"scored with the loss {loss}, which this trainer lacks" in text
    assert said == (name not in LOSSES[loss])
    assert LOSSES[loss].get(name, "") in text


@pytest.mark.parametrize(("short", "known"), [("gemma3-270m", "google/gemma-3-270m"), ("org/other", "org/other")])
def test_a_packaged_model_is_named_as_trainers_know_it(make_run, short, known):
    script = (export_run(make_run(PLAIN, model=short), "trl").directory / "train_dpo.py").read_text(encoding="utf-8")
    assert f"model={known!r}" in script


def test_a_run_that_names_no_model_leaves_a_gap_to_fill(make_run):
    """As a baseline's run, whose manifest has other settings and no languages.json."""
    run = make_run(PLAIN)
    (run / "manifest.json").write_text(json.dumps({"congrad": 1, "rows": 4, "kept": 2, "settings": {}}))
    (run / "languages.json").unlink()
    directory = export_run(run, "trl").directory
    assert "model='MODEL'" in (directory / "train_dpo.py").read_text(encoding="utf-8")
    assert "2 of 4 pairs" in (directory / "README.md").read_text(encoding="utf-8")


class TestRefusals:
    def test_no_such_format(self, make_run):
        with pytest.raises(UserError, match=r"--format 'trk': choose from trl, llamafactory"):
            export_run(make_run(PLAIN), "trk")

    def test_no_run(self, tmp_path):
        with pytest.raises(UserError, match="is not a run of congrad"):
            export_run(tmp_path, "trl")

    def test_unfinished_run(self, tmp_path):
        (tmp_path / "index").mkdir()
        (tmp_path / "index" / "plan.json").write_text("{}")
        with pytest.raises(UserError, match="is an unfinished run; run the command that began it again"):
            export_run(tmp_path, "trl")

    def test_manifest_of_something_else(self, tmp_path):
        (tmp_path / "manifest.json").write_text("{}")
        with pytest.raises(UserError, match="is not a run of congrad filter"):
            export_run(tmp_path, "trl")

    def test_directory_of_something_else(self, make_run, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "kept.jsonl").write_text("mine")
        with pytest.raises(UserError, match="is not empty and is not a congrad export; choose another output"):
            export_run(make_run(PLAIN), "trl", tmp_path / "mine")
        assert (tmp_path / "mine" / "kept.jsonl").read_text() == "mine"

    def test_damaged_line(self, make_run):
        run = make_run(PLAIN)
        with (run / "kept.jsonl").open("a") as file:
            file.write("{half\n")
        with pytest.raises(UserError, match=r"kept\.jsonl:3: not JSON"):
            export_run(run, "openrlhf")
        assert not (run / "openrlhf" / "congrad.json").exists()


def test_again_after_a_failure_and_over_an_older_export(make_run):
    """What is whole is marked; what is not is written anew."""
    run = make_run(PLAIN)
    lines = (run / "kept.jsonl").read_text(encoding="utf-8")
    (run / "kept.jsonl").write_text(lines + "{half\n", encoding="utf-8")
    with pytest.raises(UserError):
        export_run(run, "axolotl")
    (run / "kept.jsonl").write_text(lines, encoding="utf-8")
    first = export_run(run, "axolotl")
    bytes_before = {path.name: path.read_bytes() for path in first.directory.iterdir()}
    export_run(run, "axolotl")
    assert {path.name: path.read_bytes() for path in first.directory.iterdir()} == bytes_before


def test_another_format_in_the_same_place_leaves_nothing_of_the_first(make_run, tmp_path, files_of):
    run = make_run(PLAIN)
    for name in (*FORMATS, FORMATS[0]):
        export_run(run, name, tmp_path / "out")
        assert files_of(tmp_path / "out") == {"kept.jsonl", "README.md", "congrad.json"} | FILES[name]


def test_an_export_that_was_killed_is_given_again(make_run, monkeypatch, files_of):
    run = make_run(PLAIN)
    with monkeypatch.context() as killed:

        def kill(*arguments: object, **options: object) -> str:
            raise KeyboardInterrupt

        killed.setattr("congrad.exports.export.card", kill)
        with pytest.raises(KeyboardInterrupt):
            export_run(run, "ms-swift")
    assert "congrad.json" not in files_of(run / "ms-swift")
    export_run(run, "ms-swift")
    assert files_of(run / "ms-swift") == {"kept.jsonl", "README.md", "congrad.json", "train_dpo.sh"}


def test_an_export_of_another_selection_is_stale(make_run):
    run = make_run(PLAIN)
    export_run(run, "trl")
    assert stale_exports(run) == []
    lines = (run / "kept.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "kept.jsonl").write_text(lines[0], encoding="utf-8")
    export_run(run, "axolotl")
    assert stale_exports(run) == [run / "trl"]


class TestCard:
    def card(self, make_run, **options) -> tuple[dict, str]:
        text = (export_run(make_run(PLAIN), "trl", **options).directory / "README.md").read_text(encoding="utf-8")
        _, header, body = text.split("---\n", 2)
        return yaml.safe_load(header), body

    def test_it_carries_the_manifest(self, make_run):
        header, body = self.card(make_run)
        assert header["configs"] == [
            {"config_name": "default", "data_files": [{"split": "train", "path": "kept.jsonl"}]}
        ]
        assert header["language"] == ["de"]  # the other name is no code
        for wanted in (
            "2 of 4 pairs of pairs.jsonl",
            "correlation of 0.93",
            "| de | 2 | 1 |",
            "| -0.31 | -0.42 to -0.20 | conflict |",
            "| loss.beta | 0.2 |",
            "| input.columns.language | lang |",
            "| input.bounds.depth | 100 |",
            "| python | 3.11.7 |",
            "| data fingerprint | abc |",
            "2503.23777",
        ):
            assert wanted in body

    def test_the_licence_is_the_user_s_to_state(self, make_run):
        header, body = self.card(make_run)
        assert "license" not in header
        assert "is not stated here" in body

    def test_a_stated_licence_is_told(self, make_run):
        header, body = self.card(make_run, licence="cc-by-4.0")
        assert header["license"] == "cc-by-4.0"
        assert "Licence of the pairs: cc-by-4.0" in body

    def test_no_place_on_anybody_s_machine_is_told(self, make_run):
        run = make_run(PLAIN, model="/home/someone/models/mine")
        directory = export_run(run, "axolotl").directory
        for name in ("README.md", "congrad.json"):
            assert "someone" not in (directory / name).read_text(encoding="utf-8")
        assert "| model.name | mine |" in (directory / "README.md").read_text(encoding="utf-8")

    def test_names_from_the_data_are_escaped(self, make_run):
        _, body = self.card(make_run)
        assert "| &lt;b&gt;\\|x | 1 | 1 |" in body
        assert "<b>" not in body


def test_a_directory_that_cannot_be_made_is_named(make_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="output: "):
        export_run(make_run(PLAIN), "trl", Path(tmp_path / "file" / "below"))


def test_the_mark_says_what_it_is(make_run):
    mark = json.loads((export_run(make_run(PLAIN), "trl").directory / "congrad.json").read_text(encoding="utf-8"))
    assert (mark["congrad_export"], mark["format"], mark["pairs"]) == (1, "trl", 2)
