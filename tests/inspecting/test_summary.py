"""What `congrad inspect` counts, by hand on small data; that nothing heavy is imported; that it ends as it should."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from congrad.cli.app import app
from congrad.inspecting.measure import measure
from congrad.inspecting.summary import contradicting, repeated, summarise
from congrad.preferences.load import load_preferences

ROWS = [
    {"language": "de", "id": "1", "prompt": "Wer?", "chosen": "Anna ist es", "rejected": "Ich"},
    {"language": "German", "id": "2", "prompt": "Wo?", "chosen": "Hier", "rejected": "Dort drüben"},
    {"language": "en", "id": "1", "prompt": "Who?", "chosen": "Anna", "rejected": "Me"},
    {"language": "en", "id": "2", "prompt": "Where?", "chosen": "Here", "rejected": "Here"},
    {"language": "en", "id": "1", "prompt": "Who?", "chosen": "Anna", "rejected": "Me"},
    {"language": "en", "id": "1", "prompt": "Who?", "chosen": "Me", "rejected": "Anna"},
    {"language": "en", "id": "3", "prompt": " ", "chosen": "a", "rejected": "b"},
    {"language": None, "id": "4", "prompt": "x", "chosen": "a", "rejected": "b"},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return path


@pytest.fixture
def found(data: Path) -> dict[str, Any]:
    preferences = load_preferences(str(data), on_bad_row="drop")
    return summarise(preferences, measure(preferences), None)


def test_rows_in_are_pairs_and_those_left_out(found: dict[str, Any]) -> None:
    assert (found["rows"], found["pairs"]) == (8, 6)
    assert {each["reason"]: each["count"] for each in found["left_out"]} == {
        "empty prompt": 1,
        "language is null or missing": 1,
    }
    assert [each["first"][0].rpartition(":")[2] for each in found["left_out"]] == ["7", "8"]
    assert found["tags"] == {"German": "de"}


def test_lengths_by_hand(found: dict[str, Any]) -> None:
    german = found["languages"]["de"]
    assert german["characters"]["chosen"] == {"median": 11, "p95": 11, "longest": 11}
    assert german["characters"]["prompt"] == {"median": 4, "p95": 4, "longest": 4}
    assert german["mean_difference"] == ((11 - 3) + (4 - 11)) / 2
    assert german["chosen_longer"]["share"] == 0.5
    assert found["languages"]["en"]["chosen_longer"]["count"] == 3, "equal lengths say nothing"
    assert found["all"]["pairs"] == 6


def test_repeated_contradicting_and_identical(found: dict[str, Any]) -> None:
    assert [found[key]["count"] for key in ("repeated", "contradicting", "identical_sides")] == [1, 3, 1]
    assert found["repeated"]["first"][0].endswith(":5")
    assert [place.rpartition(":")[2] for place in found["contradicting"]["first"]] == ["3", "5", "6"]


def test_prompts_of_several_languages(found: dict[str, Any]) -> None:
    assert (found["shared_prompts"]["count"], found["shared_prompts"]["by"]) == (2, "id")


def test_the_counting_agrees_with_loops() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        text_NS = draw.integers(0, 3, (draw.integers(0, 30), 3))
        rows = [tuple(row) for row in text_NS.tolist()]
        assert repeated(text_NS).tolist() == [n for n, row in enumerate(rows) if row in rows[:n]]
        swapped = [n for n, (p, c, r) in enumerate(rows) if c != r and (p, r, c) in rows]
        assert contradicting(text_NS).tolist() == swapped


def test_length_that_gives_the_label_is_said(tmp_path: Path) -> None:
    path = tmp_path / "de.jsonl"
    row = {"language": "de", "prompt": "a", "chosen": "long enough", "rejected": "no"}
    path.write_text((json.dumps(row) + "\n") * 40, "utf-8")
    result = CliRunner().invoke(app, ["inspect", str(path)])
    assert result.exit_code == 0
    assert "the length alone nearly gives the label in de" in result.output


def test_bad_rows_are_no_failure_and_json_says_the_same(data: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(data)])
    assert result.exit_code == 0
    for said in ("6 pairs of 8 rows", "1 rows cannot be used (empty prompt)", "pairs.jsonl:7", "'German' is de"):
        assert said in result.output
    assert "congrad filter stops at rows that cannot be used" in result.output
    content = json.loads(CliRunner().invoke(app, ["inspect", str(data), "--json"]).stdout)
    assert content["contradicting"]["count"] == 3
    assert content["languages"]["en"]["pairs"] == 4


def test_where_languages_come_from_is_said(tmp_path: Path) -> None:
    for name, content in (("de.jsonl", "Wie viele Tage hat eine Woche?"), ("en.jsonl", "How many days has a week?")):
        row = {"prompt": content, "chosen": f"{content} 7.", "rejected": f"{content} 9."}
        (tmp_path / name).write_text(json.dumps(row) + "\n", "utf-8")
    named = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert "languages: from the names of files, folders, splits or configurations" in named.output
    path = tmp_path / "x.jsonl"
    text = "Die Woche hat sieben Tage, und am Sonntag sind die meisten Geschäfte in Deutschland geschlossen. " * 3
    row = {"language": "en", "prompt": text, "chosen": text, "rejected": f"{text} Nein."}
    path.write_text(json.dumps(row) + "\n", "utf-8")
    detected = CliRunner().invoke(app, ["inspect", str(path), "input.languages=detect"])
    assert detected.exit_code == 0
    assert "languages: detected in the texts" in detected.output
    assert "from the column" not in detected.output


def test_conversations(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"

    def said(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    row = {
        "language": "de",
        "prompt": [said("user", "abc")],
        "chosen": [said("assistant", "12345")],
        "rejected": [said("assistant", "1")],
    }
    path.write_text(json.dumps(row) + "\n", "utf-8")
    content = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout)
    lengths = content["languages"]["de"]["characters"]
    assert (content["kind"], [lengths[side]["longest"] for side in lengths]) == ("conversations", [3, 5, 1])


def test_no_torch_and_no_transformers(data: Path) -> None:
    program = f"""
import sys
from congrad.cli import main
sys.argv = ["congrad", "inspect", {str(data)!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = sorted({{"torch", "transformers", "trl", "peft"}} & set(sys.modules))
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_mistake_of_the_user_ends_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "congrad", "inspect"]
    for more in ([str(tmp_path / "nothing.jsonl")], [], [str(tmp_path), "--all"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
