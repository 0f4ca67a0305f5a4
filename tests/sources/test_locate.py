"""Why a file cannot be read, in one line."""

import errno
import os
from pathlib import Path

from congrad.sources.locate import explain


def of_datasets(number: int, *names: str) -> Exception:
    """An error of the system's, as `datasets` raises it."""
    outer = RuntimeError("An error occurred while generating the dataset")
    outer.__cause__ = OSError(number, os.strerror(number), *names)
    return outer


def test_a_cache_that_cannot_be_written_is_named_with_what_moves_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = str(tmp_path / "cache" / "parquet" / "x.lock")
    assert str(explain("a.parquet", of_datasets(errno.EROFS, path))) == (
        f"'{path}': cannot be used (Read-only file system); set HF_DATASETS_CACHE to another directory"
    )


def test_where_the_system_names_no_file_the_one_that_was_read_is_named() -> None:
    assert str(explain("a.parquet", of_datasets(errno.ENOSPC))) == (
        "a.parquet: cannot be used (No space left on device); free some space or set HF_DATASETS_CACHE to another "
        "directory"
    )


def test_a_file_that_may_not_be_read_is_no_matter_of_the_cache(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    assert str(explain(path, of_datasets(errno.EACCES, path))) == (
        f"'{path}': cannot be used (Permission denied); check its permissions or name another file"
    )


def test_what_the_library_says_itself_is_of_the_format() -> None:
    said = str(explain("a.parquet", OSError("Couldn't deserialize thrift: errno 28")))
    assert said.startswith("a.parquet: `datasets` cannot read it (")
    assert said.endswith("; check that the file has the format that its name says")
