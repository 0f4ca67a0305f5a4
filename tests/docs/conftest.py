"""A place in which the documentation's commands find what they name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import _own_place
from tests.docs.pages import ROOT
from tests.files import write_jsonl

__all__ = ["_own_place"]


@pytest.fixture
def place(_own_place: None, make_rows: Callable[..., list[dict]]) -> Path:
    """The demo as seen from a checkout, and pairs of our own."""
    Path("demo").symlink_to(ROOT / "demo")
    Path("pairs").mkdir()
    write_jsonl(Path("pairs") / "all.jsonl", make_rows(30))
    return Path.cwd()
