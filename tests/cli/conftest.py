"""Call `congrad` as a person does, in this process or in one of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.files import write_jsonl


@pytest.fixture(autouse=True)
def _own_place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without --output lands in a place that goes away."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


@pytest.fixture
def pairs_file(tmp_path: Path, make_rows: Callable[..., list[dict[str, Any]]]) -> Path:
    """30 pairs in three languages."""
    return write_jsonl(tmp_path / "pairs.jsonl", make_rows(30))


@pytest.fixture
def files() -> Callable[[Path], set[str]]:
    """All files and folders beneath a directory, hidden ones among them."""
    return lambda directory: {str(path.relative_to(directory)) for path in directory.rglob("*")}
