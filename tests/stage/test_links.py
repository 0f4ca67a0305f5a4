"""Whoever passes a directory on does not choose what is written over: links are refused, no name can be guessed."""

import os
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.files import append_to, whole_file, write_atomically
from congrad.stage import STAGE, RowLog, alone, begin, check_can_be_made, finish, staging

SECRET = b"the user's own"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of the user's that a link leads to."""
    path = tmp_path / "own"
    path.write_bytes(SECRET)
    return path


def test_a_file_s_temporary_name_is_not_known_before(tmp_path, own):
    """Of earlier versions it held the process's number, so that all of them could be prepared as links."""
    for number in (os.getpid(), os.getpid() + 1):
        (tmp_path / f".report.html.{number}").symlink_to(own)
    seen = set()
    for _ in range(2):
        with whole_file(tmp_path / "report.html") as file:
            seen.add(file.name)
            file.write(b"page")
    assert len(seen) == 2
    assert own.read_bytes() == SECRET
    assert (tmp_path / "report.html").read_bytes() == b"page"


def test_a_temporary_name_that_is_taken_is_not_opened(tmp_path, own, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)
    (tmp_path / f".report.html.{'0' * 16}").symlink_to(own)
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "report.html", b"page")
    assert own.read_bytes() == SECRET


@pytest.mark.parametrize("target", ["own", "nothing"])
def test_a_link_in_a_file_s_place_is_refused(tmp_path, own, target):
    (tmp_path / "report.html").symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=r"report.html: is a symbolic link, which is not written through; remove the"):
        write_atomically(tmp_path / "report.html", b"page")
    with pytest.raises(OSError, match="symbolic link"):
        append_to(tmp_path / "report.html")
    with pytest.raises(UserError, match="cannot write"):
        RowLog(tmp_path / "report.html")
    assert own.read_bytes() == SECRET
    assert not (tmp_path / "nothing").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match=r"rows\.jsonl: cannot write"):
        RowLog(tmp_path / "rows.jsonl")


def test_a_mode_is_the_umask_s(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
        append_to(tmp_path / "log").close()
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["raw.jsonl", "deep/inside/raw.jsonl", "folder"])
def test_a_directory_with_a_link_below_it_is_not_continued(tmp_path, own, name):
    begin(tmp_path / "run", "generate", {"a": 1})
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(own if name != "folder" else tmp_path)
    for attempt in (
        lambda: begin(tmp_path / "run", "generate", {"a": 1}),
        lambda: check_can_be_made(tmp_path / "run", STAGE),
    ):
        with pytest.raises(UserError) as raised:
            attempt()
        assert str(raised.value) == (
            f"output: {link} is a symbolic link, which is not written through; remove the link, or choose another "
            "output directory"
        )
    assert own.read_bytes() == SECRET


def test_a_link_that_the_user_names_is_the_user_s(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    begin(tmp_path / "run", "generate", {"a": 1})
    finish(tmp_path / "run", {})
    assert (tmp_path / "disk" / "manifest.json").is_file()


def test_a_staging_place_that_is_a_link_is_not_filled(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot write"), staging(tmp_path / "run", STAGE) as new:
        (new / "file").touch()
    assert not list((tmp_path / "elsewhere").iterdir())


# One process at a time


def test_a_directory_is_one_process_s(tmp_path):
    with alone(tmp_path / "run", STAGE):
        with pytest.raises(UserError) as raised, alone(tmp_path / "run", STAGE):
            pass
        assert str(raised.value) == (
            f"{tmp_path / 'run'}: another congrad is running there; wait until it ends, or choose another output "
            "directory"
        )
        (tmp_path / "run" / "stage.json").touch()
    with alone(tmp_path / "run", STAGE):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["stage.json"]


def test_what_stayed_empty_goes_again(tmp_path):
    with pytest.raises(UserError, match="wrong"), alone(tmp_path / "new" / "run", STAGE):
        raise UserError("wrong")
    assert not (tmp_path / "new").exists()


def test_a_lock_that_is_a_link_is_not_opened(tmp_path, own):
    (tmp_path / "run").mkdir()
    begin(tmp_path / "run", "generate", {})
    (tmp_path / "run" / ".lock").symlink_to(own)
    with pytest.raises(UserError, match="symbolic link"), alone(tmp_path / "run", STAGE):
        pass
    assert own.read_bytes() == SECRET


def test_a_user_s_own_dotfiles_stay(tmp_path):
    for name in (".notes.2024", ".bashrc", ".config.json.17"):
        (tmp_path / name).write_text("mine")
    left = tmp_path / ".manifest.json.0123456789abcdef"
    left.write_text("of a killed process")
    begin(tmp_path, "generate", {"a": 1})
    assert not left.exists()
    assert {path.name for path in tmp_path.glob(".*")} == {".notes.2024", ".bashrc", ".config.json.17"}
