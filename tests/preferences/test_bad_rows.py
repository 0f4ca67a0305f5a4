"""What is said of rows that cannot be used."""

from congrad.errors import Spot
from congrad.preferences.bad_rows import refusal
from congrad.sources.part import LeftOut, Mistake


def test_what_a_row_holds_is_listed_whole_whatever_stands_in_it():
    mistake = Mistake("chosen is not text", "holds ['a; b'], not text", "write it as text", "chosen")
    one, other = (LeftOut(Spot("pairs.jsonl", line), line - 1, mistake) for line in (3, 7))
    assert str(refusal([one])) == "pairs.jsonl:3: column 'chosen' holds ['a; b'], not text; write it as text"
    assert str(refusal([one, other])) == (
        "2 rows cannot be used (chosen is not text: 2): pairs.jsonl:3: column 'chosen' holds ['a; b'], not text; "
        "pairs.jsonl:7: column 'chosen' holds ['a; b'], not text; "
        "fix them, or leave them out with input.on_bad_row=drop"
    )
