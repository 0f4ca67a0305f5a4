"""The files of a run: all or none, JSON as its standard has it, and no other tool's directory touched."""

import datetime
import errno
import json
import math

import numpy as np
import pytest

from congrad.errors import UserError
from congrad.files import json_line, versions, without_nan
from congrad.filtering.directory import RUN, is_run
from congrad.stage import check_can_be_made, staging


def test_what_json_has_no_word_for_becomes_null():
    value = {"a": math.nan, "b": [1.5, -math.inf, {"c": math.inf}], "d": "NaN", "e": 7, "f": None, "g": True}
    assert without_nan(value) == {"a": None, "b": [1.5, None, {"c": None}], "d": "NaN", "e": 7, "f": None, "g": True}


def test_a_line_is_plain_json_in_utf8():
    row = {"prompt": "日本語 🦉\n", "deep": [{"x": math.nan}], "score": 0.1}
    line = json_line(row)
    assert line.count(b"\n") == 1
    assert "日本語 🦉".encode() in line
    assert json.loads(line) == {**row, "deep": [{"x": None}]}


def test_a_line_holds_what_json_has_no_type_for():
    row = {"when": datetime.datetime(2026, 11, 21, 7, 30), "score": np.float64(0.1), "count": np.int64(3)}
    assert json.loads(json_line(row)) == {"when": "2026-11-21 07:30:00", "score": 0.1, "count": 3}
    broken = {"text": "half \ud83e", "large": 2**70, "nan": math.nan, "when": datetime.date(2026, 11, 21)}
    line = json_line(broken)
    assert line.endswith(b"}\n")
    assert json.loads(line.decode("utf-8", "surrogatepass")) == {**broken, "nan": None, "when": "2026-11-21"}


def test_files_take_their_places_together(tmp_path):
    with staging(tmp_path / "run", RUN) as new:
        for name in ("manifest.json", "kept.jsonl"):
            (new / name).write_text("1")
        assert not (tmp_path / "run" / "kept.jsonl").exists()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["kept.jsonl", "manifest.json"]
    with staging(tmp_path / "run", RUN) as new:
        (new / "kept.jsonl").write_text("2")
    assert (tmp_path / "run" / "kept.jsonl").read_text() == "2"
    assert not (tmp_path / "run" / "manifest.json").exists(), "it would speak of other files"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_an_error_leaves_what_was_there(tmp_path, error):
    (tmp_path / "kept.jsonl").write_text("1")
    (tmp_path / "manifest.json").write_text("1")
    expected = UserError if isinstance(error, OSError) else type(error)

    def write() -> None:
        with staging(tmp_path, RUN) as new:
            (new / "kept.jsonl").write_text("2")
            raise error

    with pytest.raises(expected) as caught:
        write()
    if expected is UserError:
        assert str(caught.value) == (
            f"{tmp_path}: cannot write (No space left on device); free some space or choose another output directory"
        )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"kept.jsonl": "1", "manifest.json": "1"}


def test_a_run_is_known_by_what_it_writes(tmp_path):
    assert not is_run(tmp_path)
    for content, ours in (("{}", False), ("[]", False), ("{", False), ('{"congrad": 1}', True)):
        (tmp_path / "manifest.json").write_text(content)
        assert is_run(tmp_path) == ours
    (tmp_path / "begun" / "index").mkdir(parents=True)
    assert not is_run(tmp_path / "begun")
    (tmp_path / "begun" / "index" / "plan.json").write_text("{}")
    assert is_run(tmp_path / "begun")


def test_the_check_of_a_place_leaves_it_as_it_was(tmp_path):
    check_can_be_made(tmp_path / "a" / "b" / "c", RUN)
    check_can_be_made(tmp_path, RUN)
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    check_can_be_made(tmp_path / "mine" / "run", RUN)
    check_can_be_made(tmp_path / "mine", RUN)
    assert not list((tmp_path / "mine").iterdir())
    (tmp_path / "mine" / "note").touch()
    with pytest.raises(UserError, match="is not empty and is not a congrad run"):
        check_can_be_made(tmp_path / "mine", RUN)


def test_versions_name_what_is_installed():
    found = versions()
    assert found["python"].startswith("3.")
    assert {"congrad", "torch", "transformers"} <= set(found)
