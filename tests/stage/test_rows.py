"""Rows: appended once each by their key, cut off where a kill left half a line, named by line where damaged."""

import os
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.stage import LogRow, RowLog, content_key, read_rows, write_rows


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


class Answer(LogRow):
    text: str


@pytest.mark.parametrize(
    "row", ['{"key": "b"}', '{"key": "b", "text": 7}', '{"key": ["b"], "text": "x"}', '["key"]', '"key"']
)
def test_a_log_that_holds_other_rows_is_refused_by_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"key": "a", "text": "x"}}\n{row}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:2: damaged.*; remove the line and run again"):
        RowLog(path, Answer)


def test_what_is_no_file_has_no_rows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(UserError, match="no such file"):
            list(read_rows(path))


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    rows = [{"key": "a", "value": 0.1}, {"key": "b", "value": None}]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows


def test_keys_depend_on_content_alone() -> None:
    assert content_key("a", {"x": 1, "y": 2}) == content_key("a", {"y": 2, "x": 1})
    assert content_key("ab", "c") != content_key("a", "bc")
    assert len(content_key()) == 16
