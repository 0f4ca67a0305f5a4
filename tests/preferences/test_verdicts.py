"""What numbers, booleans and words say of two responses, from all values of their column; what is unclear is asked."""

from collections import Counter

import pytest

from congrad.errors import UserError
from congrad.preferences.verdicts import in_words, read_verdicts
from congrad.settings.input import Input

F, S, T = "first", "second", "tie"
CLEAR = {
    "an id, counted from 0": ("better_response_id", ("0", "1"), "0 1", {"0": F, "1": S}),
    "an id of one value": ("better_response_id", ("0", "1"), "1", {"1": S}),
    "a winner between letters, from 0": ("winner", ("a", "b"), "0 1", {"0": F, "1": S}),
    "from 1": ("preference", ("a", "b"), "1 2", {"1": F, "2": S}),
    "from 1, the second alone": ("preference", ("a", "b"), "2", {"2": S}),
    "from 1, by the columns' names": ("winner", ("1", "2"), "1", {"1": F}),
    "the column names a side": ("a_is_better", ("a", "b"), "0 1", {"0": S, "1": F}),
    "the column names the other side": ("second_wins", ("a", "b"), "true false", {"true": S, "false": F}),
    "halves are ties": ("winner", ("a", "b"), "0 0.5 1", {"0": F, "1": S, "0.5": T}),
}


@pytest.mark.parametrize(("column", "markers", "values", "meanings"), CLEAR.values(), ids=CLEAR)
def test_what_is_clear(column, markers, values, meanings):
    found = read_verdicts(Counter(values.split()), column, markers, "x.jsonl")
    assert {value: found.meanings[value] for value in meanings} == meanings
    assert not found.has_sign


ASKED = {
    "labels": ("labels", ("a", "b"), "0 1", '{"0": "first", "1": "second"} or {"0": "second", "1": "first"}'),
    "a label of the columns' own numbers": ("label", ("0", "1"), "0 1", '{"0": "second", "1": "first"}'),
    "a preference of 0 and 1": ("preference", ("a", "b"), "0 1", '{"0": "second", "1": "first"}'),
    "1 alone": ("winner", ("a", "b"), "1", '{"1": "second"} or {"1": "first"}'),
    "a tie at either end": (
        "winner",
        ("a", "b"),
        "0 1 2",
        '{"0": "tie", "1": "first", "2": "second"} or {"0": "first"',
    ),
    "columns from 0, values from 1": ("winner", ("0", "1"), "1 2", '{"1": "second", "2": "tie"} or {"1": "first"'),
    "columns from 1, values from 0": ("winner", ("1", "2"), "0 1", '{"0": "second", "1": "first"}'),
    "-1 of an id": ("better_response_id", ("0", "1"), "-1 0 1", '{"-1": "tie", "0": "first", "1": "second"}'),
    "a scale without a sign": ("preference", ("a", "b"), "1 2 3 4 5 6 7", "which may mean anything"),
    "a share": ("preference", ("a", "b"), "0.25 0.75", "which may mean anything"),
    "yes and no of nothing": ("winner", ("a", "b"), "true false", '{"false": "second", "true": "first"}'),
}


@pytest.mark.parametrize(("column", "markers", "values", "said"), ASKED.values(), ids=ASKED)
def test_what_is_unclear_is_asked(column, markers, values, said):
    with pytest.raises(UserError) as caught:
        read_verdicts(Counter(values.split()), column, markers, "x.jsonl")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"x.jsonl: column '{column}' holds ")
    assert "input.better={" in str(caught.value)


def test_one_number_below_zero_makes_a_scale():
    assert read_verdicts(Counter({"-3": 1, "1": 9, "2": 5}), "overall_preference", ("1", "2"), "x").has_sign
    assert read_verdicts(Counter({"-1": 1, "0": 9, "1": 5}), "preference", ("a", "b"), "x").has_sign


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *(("model_a", F), ("[[b]]", S), ("response b", S), ("a is slightly better", F), ("left", F), ("second", S)),
        *(("tie", T), ("tie (bothbad)", T), ("both_bad", T), ("both are good", T), ("no preference, equal", T)),
        *(("a is not better", None), ("a is worse", None), ("a or b", None), ("tier 1", None), ("", None)),
        *(("x" * 10**6, None), ("a " * 10**5, None), ("nan", None), ("none", None), ("[1, [2]]", None)),
    ],
)
def test_words_around_a_letter(value, meaning):
    assert in_words(value) == meaning


@pytest.mark.parametrize("value", ["nan", "inf", "9" * 5000, "1e999", "x" * 10**6, "none"])
def test_hostile_values_have_no_meaning(value):
    found = read_verdicts(Counter({value: 1, "-1": 1, "2": 1}), "preference", ("a", "b"), "x")
    assert value not in found.meanings


def test_a_meaning_is_first_second_or_tie():
    with pytest.raises(UserError) as caught:
        Input(source="x", better={"1": "firs"})
    assert str(caught.value) == "input.better says that '1' means 'firs'; write first, second or tie"
