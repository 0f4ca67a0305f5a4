"""The life of a directory: begun, taken up after a kill, refused with other settings, replaced as a whole."""

import errno
import json
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.stage import (
    STAGE,
    Kind,
    RowLog,
    begin,
    check_can_be_made,
    finish,
    forget_if_empty,
    holds_work,
    is_finished,
    is_ours,
    staging,
)

RUN = Kind("run", first="index/plan.json", mark="congrad")
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


def test_the_first_difference_is_named_in_the_order_of_the_settings(tmp_path: Path) -> None:
    """What is a fingerprint is not printed."""
    begin(tmp_path / "x", "pair", {"pairs": "0" * 64, "limit": 3, "deep": {"b": 1, "a": [1]}})
    for changes, said in (
        ({"pairs": "1" * 64, "limit": 4}, "other content of pairs"),
        ({"limit": None, "deep": {}}, "limit 3, now null"),
        ({"deep": {"b": 1, "a": [1, "ä"]}}, 'deep.a [1], now [1, "ä"]'),
        ({"new": True}, "new null, now true"),
    ):
        with pytest.raises(UserError) as raised:
            begin(tmp_path / "x", "pair", {"pairs": "0" * 64, "limit": 3, "deep": {"b": 1, "a": [1]}} | changes)
        assert str(raised.value) == (
            f"{tmp_path / 'x'} was begun with {said}; restore the old setting, or choose another output directory"
        )


def test_what_a_kill_left_in_the_first_moments_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / f".stage.json.{'12ab' * 4}").write_text("{")
    (tmp_path / f".probe.{'34cd' * 4}").touch()
    (tmp_path / ".gitignore").write_text("*")
    assert not begin(tmp_path, "generate", SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "stage.json"]


def test_a_stage_without_a_row_begins_with_other_settings(tmp_path: Path) -> None:
    begin(tmp_path, "generate", {"seed": 0})
    with RowLog(tmp_path / "rows.jsonl") as log:
        (tmp_path / "rows.jsonl").write_bytes(b'{"key": "a')  # killed in its first row
        assert not holds_work(tmp_path / "rows.jsonl")
        forget_if_empty(tmp_path, "judge", "rows.jsonl")
        assert (tmp_path / "stage.json").exists(), "another stage's"
        forget_if_empty(tmp_path, "generate", "rows.jsonl", "server.log")
        assert not list(tmp_path.iterdir())
    begin(tmp_path, "generate", {"seed": 1})
    with RowLog(tmp_path / "rows.jsonl") as log:
        log.append([{"key": "a"}])
    forget_if_empty(tmp_path, "generate", "rows.jsonl")
    with pytest.raises(UserError, match="was begun with seed 1, now 2"):
        begin(tmp_path, "generate", {"seed": 2})


def test_rows_that_nothing_began_are_not_taken_over(tmp_path: Path) -> None:
    """Whose settings they were made with is not known."""
    begin(tmp_path, "generate", SETTINGS)
    finish(tmp_path, {})
    (tmp_path / "stage.json").unlink()
    assert not is_ours(tmp_path, STAGE)
    with pytest.raises(UserError, match="is not a congrad generate stage"):
        begin(tmp_path, "generate", SETTINGS)


def test_the_check_of_a_place_leaves_it_as_it_was(tmp_path: Path) -> None:
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


def test_files_take_their_places_together(tmp_path: Path) -> None:
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
def test_an_error_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
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


def test_a_kill_while_files_take_their_places_leaves_a_directory_of_ours(tmp_path: Path) -> None:
    """The manifest is moved last, so that it is there or still among the new files."""
    (tmp_path / "kept.jsonl").write_text("2")
    (tmp_path / ".new").mkdir()
    with pytest.raises(UserError, match="is not empty"):
        check_can_be_made(tmp_path, RUN)
    (tmp_path / ".new" / "manifest.json").write_text('{"congrad": 1}')
    check_can_be_made(tmp_path, RUN)
    with staging(tmp_path, RUN) as new:
        assert not list(new.iterdir())
        (new / "kept.jsonl").write_text("3")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"kept.jsonl": "3"}
