"""Pairs that congrad made or wrote are read to the letter, however much they look like another layout."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from tests.files import write_jsonl

from congrad.errors import UserError
from congrad.preferences import load_preferences
from congrad.preferences.canonical import Writer
from congrad.training.pairs import read_pairs

MESSAGES = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'
TALK = "Human: a\n\nAssistant: b"


def odd_rows() -> list[dict[str, Any]]:
    """Text that would be taken for conversations, and a prompt that would be cut."""
    prompt = "Write this sentence once more, and then go on:"
    plain = [
        {"prompt": prompt, "chosen": f"{prompt} yes {number}", "rejected": f"{prompt} no", "language": "en"}
        for number in range(30)
    ]
    odd = [
        {"prompt": prompt, "chosen": MESSAGES, "rejected": TALK, "language": "en"},
        {"prompt": TALK, "chosen": '["a", "b"]', "rejected": "", "language": "de"},
    ]
    return plain + odd


def sides(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in ("prompt", "chosen", "rejected")) for row in rows]


def test_rows_in_memory_are_taken_to_the_letter() -> None:
    rows = odd_rows()
    taken = load_preferences(datasets.Dataset.from_list(rows), as_is=True)
    assert sides(taken.dataset) == sides(rows)
    assert not taken.notes
    assert load_preferences(datasets.Dataset.from_list(rows[:30])).dataset["chosen"][0] == " yes 0"


@pytest.mark.parametrize("mark", [("stage.json", {"stage": "pair"}), ("manifest.json", {"congrad": 1})])
def test_files_of_a_run_and_of_a_stage_are_taken_to_the_letter(tmp_path: Path, mark: tuple[str, Any]) -> None:
    rows = odd_rows()
    write_jsonl(tmp_path / "kept.jsonl", rows[:30])
    assert load_preferences(tmp_path / "kept.jsonl").dataset["chosen"][0] == " yes 0"
    (tmp_path / mark[0]).write_text(json.dumps(mark[1]))
    write_jsonl(tmp_path / "kept.jsonl", rows)
    assert sides(load_preferences(tmp_path / "kept.jsonl").dataset) == sides(rows)


def test_what_was_left_unread_is_not_trained_on(tmp_path: Path) -> None:
    """A run with input.ignore=[system] scored rows without their system messages; a kept row has the column still."""
    rows = [
        {"prompt": "a?", "chosen": "b", "rejected": "c", "language": "de", "system": "Be brief.", "images": ["x.png"]}
    ]
    (tmp_path / "manifest.json").write_text('{"congrad": 1}')
    write_jsonl(tmp_path / "kept.jsonl", rows)
    dataset, languages = read_pairs([tmp_path / "kept.jsonl"], "language")
    assert languages == ["de"]
    assert list(dataset) == [{"prompt": "a?", "chosen": "b", "rejected": "c"}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": " "}, "holds an empty prompt"),
        ({"chosen": None}, "is null or missing"),
        ({"chosen": 3}, "holds 3, not text"),
        ({"chosen": [{"role": "assistant", "content": "b"}]}, "text beside messages"),
        ({"chosen": [{"role": "assistant", "content": None}]}, "has no 'content'"),
    ],
)
def test_rows_that_are_no_pair_are_named(change: dict[str, Any], reason: str) -> None:
    row = {"prompt": "a?", "chosen": "b", "rejected": "c", "language": "de"} | change
    with pytest.raises(UserError, match=reason):
        load_preferences(datasets.Dataset.from_list([row]), as_is=True)


def test_a_scratch_file_has_a_name_of_its_own() -> None:
    """Also where the file of an earlier writer is gone, whose rows may still be mapped."""
    one = Writer({"chosen": "string"}, conversational=False, plain=True)
    one.path.unlink()
    other = Writer({"chosen": "string"}, conversational=False, plain=True)
    assert one.path != other.path
    for writer in (one, other):
        writer.close()
