"""The files of a run: all or none, JSON as its standard has it, and no other tool's directory touched."""

import datetime
import json
import math

import numpy as np

from congrad.files import json_line, versions, without_nan
from congrad.filtering.directory import is_run


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


def test_a_run_is_known_by_what_it_writes(tmp_path):
    assert not is_run(tmp_path)
    for content, ours in (("{}", False), ("[]", False), ("{", False), ('{"congrad": 1}', True)):
        (tmp_path / "manifest.json").write_text(content)
        assert is_run(tmp_path) == ours
    (tmp_path / "begun" / "index").mkdir(parents=True)
    assert not is_run(tmp_path / "begun")
    (tmp_path / "begun" / "index" / "plan.json").write_text("{}")
    assert is_run(tmp_path / "begun")


def test_versions_name_what_is_installed():
    found = versions()
    assert found["python"].startswith("3.")
    assert {"congrad", "torch", "transformers"} <= set(found)
