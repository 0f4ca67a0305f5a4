"""Foreign text where a terminal would obey it."""

import unicodedata

import pytest

from congrad.errors import UserError
from congrad.tables import cleaned
from congrad.words import one_line, printable, printable_lines

HOSTILE = "de\x1b[2J\x1b]0;title\x07\x9b31m\r\n\u202ered\u2066\u200f\u2028\ud800\x7f"


@pytest.mark.parametrize("text", ["Straße", "हिन्दी", "می\u200cخواهم", "👩\u200d🔬", "العربية", "a  b", ""])
def test_ordinary_text_is_as_it_was(text):
    assert printable(text) == text


def test_what_a_terminal_would_obey_is_a_space():
    text = printable(HOSTILE)
    assert len(text) == len(HOSTILE)
    assert "".join(text.split()) == "de[2J]0;title31mred"
    assert {unicodedata.category(character) for character in text} <= {"Ll", "Lu", "Nd", "Ps", "Pe", "Po", "Zs"}
    assert printable_lines(f"a\x1b\n{HOSTILE}").count("\n") == 2


@pytest.mark.parametrize("make", [lambda text: str(UserError(text, text, at=text)), one_line, cleaned])
def test_every_way_to_a_terminal_is_printable(make):
    assert make(HOSTILE).isprintable()
