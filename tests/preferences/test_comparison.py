"""Which response is better, by every kind of verdict; ties are no mistakes, and what is not known is asked."""

from dataclasses import replace

import pytest

from congrad.preferences.comparison import columns_of_verdict, compare, plain
from congrad.preferences.layout import Layout
from congrad.sources.part import Mistake

NUMBERS = Layout("comparison", first="response_0", second="response_1", better="better")
FROM_ONE = Layout("comparison", first="response1", second="response2", better="better")
LETTERS = Layout("comparison", first="ref_A", second="ref_B", better="better")
MODELS = Layout(
    "comparison", first="talk_a", second="talk_b", better="better", first_model="model_a", second_model="model_b"
)
OUTCOMES = Layout("comparison", first="response_a", second="response_b", better="winner_*")

TABLE = {
    "a number": (NUMBERS, {"better": 0}, {}, False, "first"),
    "the other number": (NUMBERS, {"better": 1}, {}, False, "second"),
    "a number that floats": (NUMBERS, {"better": 1.0}, {}, False, "second"),
    "a number as text": (NUMBERS, {"better": "1"}, {}, False, "second"),
    "the name of a column": (NUMBERS, {"better": "response_1"}, {}, False, "second"),
    "counted from one": (FROM_ONE, {"better": 1}, {}, False, "first"),
    "a scale": (FROM_ONE, {"better": -3}, {}, True, "first"),
    "the other side of a scale": (FROM_ONE, {"better": 1}, {}, True, "second"),
    "the middle of a scale": (FROM_ONE, {"better": 0}, {}, True, "tie"),
    "a letter": (LETTERS, {"better": "B"}, {}, False, "second"),
    "a small letter": (LETTERS, {"better": " a"}, {}, False, "first"),
    "a mapped number": (LETTERS, {"better": 1}, {"1": "first", "0": "second"}, False, "first"),
    "a mapped boolean": (LETTERS, {"better": False}, {"true": "first", "False": "second"}, False, "second"),
    "a mapped tie": (LETTERS, {"better": "?"}, {"?": "tie"}, False, "tie"),
    "a side": (LETTERS, {"better": "second"}, {}, False, "second"),
    "the name of a model's column": (MODELS, {"better": "model_b"}, {}, False, "second"),
    "the name of a model": (MODELS, {"better": "Vicuna"}, {}, False, "first"),
    "a tie": (MODELS, {"better": "tie"}, {}, False, "tie"),
    "both are bad": (MODELS, {"better": "tie (bothbad)"}, {}, False, "tie"),
    "both are bad, in one word": (MODELS, {"better": "both_bad"}, {}, False, "tie"),
    "one column for each outcome": (OUTCOMES, {"winner_a": 0, "winner_b": 1, "winner_tie": 0}, {}, False, "second"),
    "a column for ties": (OUTCOMES, {"winner_a": 0, "winner_b": 0, "winner_tie": 1}, {}, False, "tie"),
    "names of models in them": (
        OUTCOMES,
        {"winner_model_a": True, "winner_model_b": False, "winner_tie": False},
        {},
        False,
        "first",
    ),
}


@pytest.mark.parametrize(("layout", "said", "better", "has_sign", "expected"), TABLE.values(), ids=TABLE)
def test_verdicts(layout, said, better, has_sign, expected):
    meanings = {plain(value): meaning for value, meaning in better.items()}
    row = {layout.first: "one", layout.second: "two", "model_a": "vicuna", "model_b": "alpaca", **said}
    found = compare(row, replace(layout, meanings=meanings, has_sign=has_sign))
    wanted = {"first": ("one", "two"), "second": ("two", "one"), "tie": Mistake("a tie", is_bad=False)}
    assert found == wanted[expected]


@pytest.mark.parametrize("value", ["maybe", 7, 2.5, True, [1], None])
def test_what_is_not_known_is_asked(value):
    found = compare({"ref_A": "one", "ref_B": "two", "better": value}, LETTERS)
    assert isinstance(found, Mistake)
    assert found.is_bad
    assert "column 'better'" in found.detail
    assert value is None or "input.better=" in found.detail


def test_two_models_of_one_name_decide_nothing():
    row = {"talk_a": 1, "talk_b": 2, "model_a": "x", "model_b": "x", "better": "x"}
    found = compare(row, MODELS)
    assert isinstance(found, Mistake)
    assert found.is_bad


def test_columns_of_a_verdict():
    assert columns_of_verdict(["winner_a", "winner_tie", "x"], "winner_*") == ["winner_a", "winner_tie"]
    assert columns_of_verdict(["winner"], "winner") == ["winner"]
