"""Splits, configurations and files of a source: by name, list or glob, and what stands for them without one."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from congrad import UserError
from congrad.preferences.load import load_preferences
from congrad.sources.choose import chosen_files, configurations, splits
from congrad.stage import is_written

ROW = {"prompt": "why?", "chosen": "because it is so", "rejected": "no"}


def write(path: Path, rows: int = 1, **more: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    own = [{**ROW, "prompt": f"{path.stem} {i}", **more} for i in range(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in own))
    return path


def languages(source, **settings) -> dict[str, int]:
    return dict(Counter(load_preferences(source, **settings).languages))


def complaint(source, **settings) -> str:
    with pytest.raises(UserError) as caught:
        load_preferences(source, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("there", "wanted", "expected"),
    [
        (["test", "train"], None, ("train",)),
        (["dev"], None, ("dev",)),
        (["de", "es", "en"], None, ("de", "es", "en")),
        (["train_prefs", "test_prefs"], None, ("train_prefs",)),
        (["train_prefs", "train_sft", "test_sft"], ("train_*", "test_sft"), ("train_prefs", "train_sft", "test_sft")),
        (["a*", "ab"], "a*", ("a*",)),
    ],
)
def test_splits_are_chosen(there, wanted, expected):
    assert splits(there, wanted, "x").names == expected


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (["train_prefs", "train_sft"], None),
        (["de", "test"], None),
        (["de"], "fr"),
        (["de"], ("de", "x*")),
        (["de"], ()),
    ],
)
def test_an_unclear_split_is_an_error_that_lists_them(there, wanted):
    with pytest.raises(UserError, match=f"there are '{there[0]}'"):
        splits(there, wanted, "x")


def test_configurations_are_chosen():
    assert configurations(["a", "b"], "b", None, "x").names == ("b",)
    assert configurations(["de", "fr"], None, None, "x").names == ("de", "fr")
    assert configurations(["de", "fr", "all"], None, "[df]*", "x").names == ("de", "fr")
    with pytest.raises(UserError, match=r"there are configurations 'de', 'all'; name one with input.configuration"):
        configurations(["de", "all"], None, None, "x")


def test_files_are_chosen_by_globs():
    known = ["a.jsonl", "de/train.jsonl", "old/de/train.jsonl"]
    assert chosen_files(known, "!old/*", "x") == ("a.jsonl", "de/train.jsonl")
    assert chosen_files(known, ("train.jsonl", "!old*"), "x") == ("de/train.jsonl",)
    for wanted in ("b*", "!b*", ("*", "!*")):
        with pytest.raises(UserError, match=r"input\.files"):
            chosen_files(known, wanted, "x")


@pytest.mark.parametrize("saved", [False, True])
def test_splits_named_by_languages_give_the_languages(tmp_path, saved):
    data = datasets.DatasetDict({name: datasets.Dataset.from_list([ROW]) for name in ("de", "en", "es")})
    source = data
    if saved:
        source = tmp_path / "saved"
        data.save_to_disk(str(source))
    assert languages(source) == {"de": 1, "en": 1, "es": 1}
    assert languages(source, split=("de", "en")) == {"de": 1, "en": 1}
    assert languages(source, split="e*") == {"en": 1, "es": 1}
    assert "no split 'fr'; there are 'de', 'en', 'es'" in complaint(source, split="fr")
    assert "no configuration 'x'" in complaint(source, configuration="x")
    assert "no files '*'" in complaint(source, files="*")


def test_a_file_has_no_split_and_no_configuration(tmp_path):
    file = write(tmp_path / "x.jsonl", language="de")
    assert languages(file, split="train") == {"de": 1}
    assert "a file has no split 'test'" in complaint(file, split="test")
    assert "a file has no configuration 'de'" in complaint(file, configuration="de")
    assert "a file has no files '*'" in complaint(file, files="*")


def test_configurations_of_a_readme(tmp_path):
    card = ["---", "configs:"]
    for name in ("de", "fr"):
        write(tmp_path / name / "train.jsonl")
        card += [f"- config_name: {name}", f"  data_files: {name}/*"]
    (tmp_path / "README.md").write_text("\n".join([*card, "---", ""]))
    assert languages(tmp_path) == {"de": 1, "fr": 1}
    assert languages(tmp_path, configuration="fr") == {"fr": 1}
    assert "no configuration 'es'; there are 'de', 'fr'" in complaint(tmp_path, configuration="es")


def test_a_file_of_two_configurations_is_not_read_twice(tmp_path):
    write(tmp_path / "x.jsonl", language="de")
    card = [
        "---",
        "configs:",
        "- config_name: a",
        "  data_files: x*",
        "- config_name: b",
        "  data_files: x*",
        "---",
        "",
    ]
    (tmp_path / "README.md").write_text("\n".join(card))
    assert "of configuration 'a' and in" in complaint(tmp_path, configuration="*")


def test_a_folder_that_mixes_languages_with_others(tmp_path):
    for name in ("de", "fr", "test"):
        write(tmp_path / f"{name}.jsonl")
    said = complaint(tmp_path)
    assert "'test.jsonl'" in said
    assert "input.files" in said
    assert languages(tmp_path, files="!test*") == {"de": 1, "fr": 1}
    assert languages(tmp_path, files=("de*", "fr*")) == {"de": 1, "fr": 1}


def test_folders_of_languages_and_shards(tmp_path):
    for name in ("de", "fr"):
        write(tmp_path / "folders" / name / "train.jsonl")
        for shard in range(2):
            write(tmp_path / "shards" / f"{name}-0000{shard}-of-00002.jsonl")
    assert languages(tmp_path / "folders") == {"de": 1, "fr": 1}
    assert languages(tmp_path / "shards") == {"de": 2, "fr": 2}
    write(tmp_path / "none" / "dpo-00000-of-00003.jsonl")
    said = complaint(tmp_path / "none")
    assert "or set input.languages=detect ('dpo' names no language)" in said


MARKS = {
    "index/plan.json": {},
    "plan.json": {"format": 4, "num_pairs": 1, "shard_pairs": 1},
    "stage.json": {"stage": "pair", "settings": {}},
    "congrad.json": {"congrad_export": 1},
    "groups.json": {"congrad_groups": 1},
    "manifest.json": {"congrad": "1"},
}


@pytest.mark.parametrize("mark", MARKS)
def test_what_congrad_wrote_is_no_data(tmp_path, mark):
    write(tmp_path / "de.jsonl", 2)
    run = tmp_path / "runs" / "x"
    write(run / "train.jsonl")
    write(run / "deep" / "test.csv")
    (run / mark).parent.mkdir(exist_ok=True)
    (run / mark).write_text(json.dumps(MARKS[mark]))
    assert is_written(run)
    found = load_preferences(tmp_path)
    assert found.languages == ["de", "de"]
    assert [note for note in found.notes if "wrote" in note] == ["1 folder that congrad wrote is no data ('runs/x')"]


def test_data_with_a_manifest_of_others_is_data(tmp_path):
    write(tmp_path / "sub" / "de.jsonl")
    (tmp_path / "sub" / "manifest.json").write_text('{"files": []}')
    assert not is_written(tmp_path / "sub")


@pytest.mark.parametrize("mark", [{"congrad_export": 1}])
def test_an_export_that_is_named_itself_is_data(tmp_path, mark):
    write(tmp_path / "x.jsonl", language="de")
    (tmp_path / "congrad.json").write_text(json.dumps(mark))
    assert languages(tmp_path, files="x.jsonl") == {"de": 1}
