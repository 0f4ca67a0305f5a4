"""Every layout of docs/data.md is read with the settings of its command, into the pairs that were counted by hand."""

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import ROOT
from tests.preferences.published import EXPECTED, TEXTS, WRITERS

from congrad.preferences.load import read_preferences
from congrad.preferences.render import explicit
from congrad.settings.read import read
from congrad.settings.tree import FilterConfig

LINE = re.compile(r"^\| (\d+) \| .* \| `(congrad filter DATA --model MODEL[^`]*)` \|$", re.M)
COMMANDS = {int(number): command for number, command in LINE.findall((ROOT / "docs" / "data.md").read_text())}


def words(number: int, source: Path, model: str = "none") -> list[str]:
    """The words of a layout's command after `filter`."""
    found = shlex.split(COMMANDS[number])[2:]
    return [str(source) if word == "DATA" else model if word == "MODEL" else word for word in found]


def test_the_page_has_every_layout() -> None:
    assert list(COMMANDS) == list(WRITERS) == list(EXPECTED) == list(range(1, 26))


@pytest.mark.parametrize("number", WRITERS)
def test_a_layout_is_read_with_its_languages_and_pairs(tmp_path: Path, number: int) -> None:
    source = WRITERS[number](tmp_path)
    given = words(number, source)[3:]
    flags = {"input.source": ("DATA", str(source)), "model.name": ("--model", "none")}
    config = read(None, given, flags).sections(FilterConfig)
    preferences = read_preferences(config.input)
    assert Counter(preferences.languages) == EXPECTED[number]
    good = {better: (prompt, worse) for own in TEXTS.values() for prompt, better, worse in own}
    for row in preferences.dataset:
        prompt, chosen, rejected = map(text_of, explicit(row))
        asked, worse = good[chosen.split("\n")[0].removesuffix(".") + ("." if "." in chosen else "")]
        assert asked in prompt, "the prompt is before the response"
        assert asked not in chosen + rejected, "and only there"
        assert worse in rejected or number in (9, 25)


def text_of(side: Any) -> str:
    return side if isinstance(side, str) else "\n".join(message["content"] for message in side)
