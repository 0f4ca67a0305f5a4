"""The stage directory: begun, taken up after a kill, refused with other settings."""

import json
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.stage import RowLog, begin, content_key, finish, is_finished, read_rows, write_rows

SETTINGS = {"generate": {"temperature": 0.7, "samples": 4}, "input": "abc"}


def test_a_stage_is_begun_taken_up_and_finished(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "generate"
    assert not begin(directory, "generate", SETTINGS)
    assert not begin(directory, "generate", SETTINGS)
    finish(directory, {"rows": 3})
    assert is_finished(directory)
    assert begin(directory, "generate", SETTINGS)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["settings"] == SETTINGS
    assert manifest["rows"] == 3
    assert "torch" in manifest["versions"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    begin(tmp_path / "x", "generate", SETTINGS)
    with pytest.raises(UserError, match=r"generate\.temperature 0\.7, now 1\.0"):
        begin(tmp_path / "x", "generate", {**SETTINGS, "generate": {"temperature": 1.0, "samples": 4}})
    with pytest.raises(UserError, match="holds the stage 'generate', not 'judge'"):
        begin(tmp_path / "x", "judge", SETTINGS)


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and is not a congrad generate stage"):
        begin(tmp_path, "generate", SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_log_keeps_rows_once_and_cuts_off_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowLog(path) as log:
        log.append([{"key": "a", "text": "Käse\u2028\x85"}, {"key": "b", "text": "x"}])
        log.append([{"key": "a", "text": "again"}])
    with path.open("ab") as file:
        file.write(b'{"key": "c", "te')
    with RowLog(path) as log:
        assert log.rows == {"a": {"key": "a", "text": "Käse\u2028\x85"}, "b": {"key": "b", "text": "x"}}
        log.append([{"key": "c", "text": "whole"}])
    assert [row["key"] for row in read_rows(path)] == ["a", "b", "c"]


def test_damage_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"key": "a"}\nnonsense\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:2"):
        RowLog(path)
    with pytest.raises(UserError, match=r"rows\.jsonl:2"):
        list(read_rows(path))


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    rows = [{"key": "a", "value": 0.1}, {"key": "b", "value": None}]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows


def test_keys_depend_on_content_alone() -> None:
    assert content_key("a", {"x": 1, "y": 2}) == content_key("a", {"y": 2, "x": 1})
    assert content_key("ab", "c") != content_key("a", "bc")
    assert len(content_key()) == 16
