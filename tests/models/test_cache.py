"""congrad's cache: the hashes that are kept in it, and that nobody else can have put anything there."""

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.models import cache as module
from congrad.models.cache import digest, open_cache

LONG = module.QUICK + 1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Congrad's own, and a clock that is a minute ahead, so that new files are old enough for it."""
    monkeypatch.setenv("CONGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module.time, "time", lambda real=time.time: real() + 60)
    return tmp_path / "cache" / "sha256"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(256)) * (LONG // 256 + 1))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The hashes


def test_a_hash_is_kept(weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sha256(weights)
    assert digest(weights) == expected
    assert [path.read_text() for path in cache.iterdir()] == [expected]
    monkeypatch.setattr(module.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert digest(weights) == expected


def test_a_young_file_is_neither_looked_up_nor_kept(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = digest(weights)
    (kept,) = cache.iterdir()
    kept.write_text("0" * 64)
    assert digest(weights) == "0" * 64
    monkeypatch.undo()
    monkeypatch.setenv("CONGRAD_CACHE", str(cache.parent))
    os.utime(weights)
    assert digest(weights) == expected
    assert list(cache.iterdir()) == [kept]


@pytest.mark.parametrize("content", [b"", b"0" * 63, b"\xff" * 64, b"0" * 65])
def test_a_broken_entry_is_ignored_and_replaced(weights: Path, cache: Path, content: bytes) -> None:
    expected = digest(weights)
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    assert digest(weights) == expected
    assert kept.read_text() == expected


def test_a_cache_that_cannot_be_written_is_done_without(weights: Path, cache: Path) -> None:
    cache.parent.write_text("not a directory")
    assert digest(weights) == sha256(weights)
    cache.parent.unlink()
    cache.mkdir(parents=True)
    digest(weights)
    (kept,) = cache.iterdir()
    kept.unlink()
    kept.mkdir()
    assert digest(weights) == sha256(weights)
    assert list(cache.iterdir()) == [kept]


# Whose it is


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_user_alone(cache: Path) -> None:
    assert mode(open_cache()) == 0o700
    cache.parent.chmod(0o755)
    assert mode(open_cache()) == 0o755, "others may read what the user lets them read"


def test_others_lose_the_right_to_write(cache: Path) -> None:
    for directory in (cache.parent, cache.parent / "models", cache):
        directory.mkdir()
        directory.chmod(0o777)
    open_cache()
    assert [mode(path) for path in (cache.parent, cache.parent / "models", cache)] == [0o755] * 3


@pytest.mark.parametrize("name", ["models", "sha256"])
def test_a_link_in_it_is_refused_and_not_followed(cache: Path, weights: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    cache.parent.mkdir()
    (cache.parent / name).symlink_to(elsewhere)
    with pytest.raises(UserError, match=rf"{name}: is a link in congrad's cache; remove it"):
        open_cache()
    assert digest(weights) == sha256(weights)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("named", [True, False])
def test_a_cache_of_another_user_is_used_only_where_it_was_named(
    cache: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    digest(weights)
    (kept,) = cache.iterdir()
    kept.write_text("0" * 64)
    someone = os.getuid() + 1
    monkeypatch.setattr(module.os, "getuid", lambda: someone)
    if not named:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
        monkeypatch.delenv("CONGRAD_CACHE")
        cache.parent.rename(cache.parent.parent / "congrad")
    assert digest(weights) == ("0" * 64 if named else sha256(weights))
    module.cache_directory().chmod(0o775)
    assert digest(weights) == sha256(weights)
    with pytest.raises(UserError, match="belongs to another user, and models would be loaded from there; remove it"):
        open_cache()
