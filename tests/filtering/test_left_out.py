"""Rows that make no pair: each is named or counted, and all rows of the input are found again in a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from congrad import FilterConfig, Input, Model, Selection, filter_preferences, refilter
from congrad.filtering.directory import BAD_ROWS, OPTIONAL
from congrad.filtering.left_out import left_out_in_words
from congrad.settings.input import Columns


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def checked(run: Path) -> dict[str, Any]:
    """The manifest's record of the input, after all rows of the input are found in the run."""
    manifest = json.loads((run / "manifest.json").read_text())
    record = manifest["input"]
    kept, dropped = len(lines(run / "kept.jsonl")), len(lines(run / "dropped.jsonl"))
    assert (kept, kept + dropped, kept + dropped) == (manifest["kept"], manifest["rows"], record["pairs"])
    assert sum(manifest["reasons"].values()) == record["pairs"]
    assert record["rows"] == kept + dropped + sum(record["left_out"].values()) + record["not_sampled"]
    assert record["listed"] == (len(lines(run / BAD_ROWS)) if (run / BAD_ROWS).exists() else 0)
    return record


@pytest.fixture
def bad(tmp_path, make_rows) -> Path:
    """Twelve rows, of which the third has an empty prompt and the eighth no chosen response."""
    rows = make_rows(12)
    rows[2]["prompt"] = " "
    rows[7]["chosen"] = None
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config_of(source: Path, model: Path, **settings: Any) -> FilterConfig:
    return FilterConfig(Input(str(source), **settings), Model(str(model)))


def test_bad_rows_are_named_and_counted(bad, tmp_path, tiny_directory):
    run = tmp_path / "run"
    filter_preferences(config_of(bad, tiny_directory, on_bad_row="drop"), run)
    named = lines(run / BAD_ROWS)
    assert [(row["file"], row["line"], row["row"], row["is_bad"]) for row in named] == [
        (str(bad), 3, 2, True),
        (str(bad), 8, 7, True),
    ]
    assert [row["reason"] for row in named] == list(checked(run)["left_out"])
    assert "'prompt'" in named[0]["detail"]
    assert "'chosen'" in named[1]["detail"]
    assert checked(run)["rows"] == 12
    assert any("2 rows are left out" in note for note in checked(run)["notes"])


def test_a_sample_is_counted_too(bad, tmp_path, tiny_directory):
    filter_preferences(config_of(bad, tiny_directory, on_bad_row="drop", limit=7), tmp_path / "run")
    record = checked(tmp_path / "run")
    assert (record["pairs"], record["not_sampled"], record["listed"]) == (7, 3, 2)


def test_filtered_again_it_names_the_same_rows(bad, tmp_path, tiny_directory):
    run = tmp_path / "run"
    filter_preferences(config_of(bad, tiny_directory, on_bad_row="drop"), run)
    before = (run / BAD_ROWS).read_bytes(), checked(run)
    for output in (run, tmp_path / "other"):
        refilter(run, selection=Selection(keep=0.3), output=output)
        assert ((output / BAD_ROWS).read_bytes(), checked(output)) == before


def test_a_result_without_them_does_not_keep_those_of_an_earlier_one(tmp_path, tiny_directory, make_rows):
    source, run = tmp_path / "pairs.jsonl", tmp_path / "run"
    source.write_text("".join(json.dumps(row) + "\n" for row in make_rows(12)))
    config = config_of(source, tiny_directory)
    filter_preferences(config, run)
    assert not any((run / name).exists() for name in OPTIONAL)
    assert checked(run)["left_out"] == {}
    for name in OPTIONAL:
        (run / name).write_text("of an earlier result")
    refilter(run)
    assert not any((run / name).exists() for name in OPTIONAL)


def test_ties_are_named_and_the_other_responses_of_a_prompt_are_counted(tmp_path, tiny_directory):
    """Three responses to each of four prompts, and a fifth prompt whose two responses are rated alike."""
    rows = [
        {"prompt": f"Haus {number}?", "response": f" Baum {each}", "score": each, "language": "de"}
        for number in range(4)
        for each in range(3)
    ]
    rows += [{"prompt": "Hund?", "response": f" Baum {each}", "score": 1, "language": "de"} for each in range(2)]
    source, run = tmp_path / "rated.jsonl", tmp_path / "run"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = Columns(responses="response", scores="score")
    filter_preferences(config_of(source, tiny_directory, layout="ratings", columns=columns), run)
    record = checked(run)
    assert record["pairs"] == 4
    assert record["left_out"] == {
        "the other response of a pair": 4,
        "neither the best nor the worst response of its prompt": 4,
        "a tie": 2,
    }
    assert [(row["line"], row["reason"], row["is_bad"]) for row in lines(run / BAD_ROWS)] == [
        (13, "a tie", False),
        (14, "a tie", False),
    ]


def test_the_terminal_says_where_they_are(congrad, bad, tmp_path, tiny_directory):
    arguments = ("filter", bad, "--model", tiny_directory, "--output", tmp_path / "run", "input.on_bad_row=drop")
    called = congrad(*arguments)
    assert called.code == 0, called.err
    said = " ".join(called.out.split())
    assert said.count("left out 2 of 12 rows") == 1
    assert BAD_ROWS in said.replace(" ", "")
    record = {"rows": 9, "left_out": {"a message that is no response": 3}, "listed": 0}
    assert left_out_in_words(record, Path("run")) == (
        f"left out 3 of 9 rows (a message that is no response: 3): see {Path('run', 'manifest.json')}"
    )
    assert left_out_in_words({**record, "left_out": {}}, Path("run")) == ""
