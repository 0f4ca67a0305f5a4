"""Comparisons and ratings from files to pairs: what all files say together, in the order of their rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from congrad.errors import UserError
from congrad.preferences import Preferences, load_preferences


def load(folder: Path, files: dict[str, list[dict[str, Any]]], **settings: Any) -> Preferences:
    for name, rows in files.items():
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return load_preferences(folder, **settings)


def sides(preferences: Preferences) -> list[tuple[Any, Any]]:
    return [(row["chosen"], row["rejected"]) for row in preferences.dataset]


def test_a_file_of_a_scale_without_a_number_below_zero_is_read_as_the_others(tmp_path):
    def rows(value):
        return [{"prompt": "q", "response1": "one", "response2": "two", "overall_preference": value}]

    found = load(tmp_path, {"de.jsonl": rows(1), "fr.jsonl": rows(-2), "it.jsonl": rows(2)})
    assert sides(found) == [("two", "one"), ("one", "two"), ("two", "one")]
    assert found.languages == ["de", "fr", "it"]


def test_labels_of_0_and_1_are_asked(tmp_path):
    rows = [{"prompt": "q", "response_a": "x", "response_b": "y", "label": i, "language": "de"} for i in (0, 1)]
    with pytest.raises(UserError, match=r"column 'label' holds 0, 1, which can be read in 2 ways; say which with"):
        load(tmp_path, {"x.jsonl": rows})
    found = load(tmp_path, {"x.jsonl": rows}, better={"1": "first", "0": "second"})
    assert sides(found) == [("y", "x"), ("x", "y")]


def test_trees_of_three_languages(tmp_path):
    def message(name, parent, text, role, language, rank=None):
        named = {"message_id": name, "parent_id": parent, "text": text, "role": role}
        return {**named, "lang": language, "rank": rank}

    rows = []
    for language in ("zh", "de", "en"):
        rows.append(message(f"{language}1", f"{language}q", f"{language} bad", "assistant", language, 1))
        rows.append(message(f"{language}0", f"{language}q", f"{language} good", "assistant", language, 0))
        rows.append(message(f"{language}q", None, f"{language}?", "prompter", language))
    found = load(tmp_path, {"x.jsonl": rows})
    assert found.languages == ["zh", "de", "en"]
    assert [row["prompt"] for row in found.dataset] == [
        [{"role": "user", "content": f"{language}?"}] for language in found.languages
    ]
    assert [(good[0]["content"], bad[0]["content"]) for good, bad in sides(found)] == [
        (f"{language} good", f"{language} bad") for language in found.languages
    ]
    assert list(found.rows) == [1, 4, 7]
    assert len(found.left_out) == 6


def test_rows_of_one_response_are_put_together_by_prompt_and_language(tmp_path):
    told = [("p", "de", "a", 1), ("p", "en", "b", 9), ("p", "de", "c", 2), ("p", "en", "d", 1), ("q", "en", "e", 1)]
    rows = [dict(zip(("prompt", "language", "response", "score"), each, strict=True)) for each in told]
    columns = {"responses": "response", "scores": "score"}
    found = load(tmp_path, {"x.jsonl": rows}, layout="ratings", columns=columns)
    assert sides(found) == [("b", "d"), ("c", "a")]
    assert found.languages == ["en", "de"]
    assert sorted((each.row, each.mistake.reason) for each in found.left_out) == [
        (0, "the other response of a pair"),
        (3, "the other response of a pair"),
        (4, "a single response"),
    ]


def test_rows_of_one_response_without_a_prompt_are_refused(tmp_path):
    rows = [{"reply": "a", "score": 1, "language": "de"}]
    columns = {"responses": "reply", "scores": "score"}
    with pytest.raises(UserError, match=r"no column is known to hold it; set input\.columns\.prompt"):
        load(tmp_path, {"x.jsonl": rows}, layout="ratings", columns=columns)


def test_two_columns_of_scores_say_which_response_is_better(tmp_path):
    told = [(3, 1), (1, 2.5), (2, 2), (None, 2)]
    rows = [
        {"prompt": "q", "human_ref_A": "x", "human_ref_B": "y", "score_A": one, "score_B": other, "language": "de"}
        for one, other in told
    ]
    found = load(tmp_path, {"x.jsonl": rows})
    assert sides(found) == [("x", "y"), ("y", "x")]
    assert [(each.row, each.mistake.reason, each.mistake.is_bad) for each in found.left_out] == [
        (2, "a tie", False),
        (3, "fewer than two responses have scores", False),
    ]
    assert any("the better one by `score_A` and `score_B`" in note for note in found.notes)


def test_conversations_with_scores_beside_them(tmp_path):
    talks = [[{"role": "assistant", "content": text}] for text in "ab"]
    found = load(tmp_path, {"x.jsonl": [{"prompt": "q", "responses": talks, "scores": [1, 2], "language": "de"}]})
    assert sides(found) == [(talks[1], talks[0])]
