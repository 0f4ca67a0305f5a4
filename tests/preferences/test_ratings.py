"""The best and the worst response of a prompt make the pair; what has no score is in none."""

import pytest

from congrad.preferences.layout import Layout
from congrad.preferences.ratings import pairs_of_rows, rate
from congrad.sources.part import Mistake

SCORES = Layout("ratings", responses="r", scores="s")
RANKS = Layout("ratings", responses="r", ranks="s")
WITHIN = Layout("ratings", responses="r")
NAMED = Layout("ratings", responses="r", scores="quality")
TEXTS = ["a", "b", "c"]

TABLE = {
    "scores": (SCORES, {"r": TEXTS, "s": [2, 9, 1]}, ("b", "c")),
    "scores as text": (SCORES, {"r": TEXTS, "s": ["2", "N/A", "10"]}, ("c", "a")),
    "ranks": (RANKS, {"r": TEXTS, "s": [2, 1, 3]}, ("b", "c")),
    "one without a score": (SCORES, {"r": TEXTS, "s": [None, 2, 1]}, ("b", "c")),
    "of several best the first": (SCORES, {"r": TEXTS, "s": [5, 5, 1]}, ("a", "c")),
    "objects": (
        WITHIN,
        {"r": [{"response": "a", "overall_score": 1.5}, {"response": "b", "overall_score": 2}]},
        ("b", "a"),
    ),
    "objects with ranks": (WITHIN, {"r": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]}, ("a", "b")),
    "a named score": (
        NAMED,
        {"r": [{"text": "a", "quality": 3, "score": 1}, {"text": "b", "quality": 1, "score": 2}]},
        ("a", "b"),
    ),
    "all alike": (SCORES, {"r": TEXTS, "s": [5, 5, 5]}, Mistake("a tie", is_bad=False)),
}


@pytest.mark.parametrize(("layout", "row", "expected"), TABLE.values(), ids=TABLE)
def test_responses_with_scores(layout, row, expected):
    assert rate(row, layout) == expected


@pytest.mark.parametrize(
    ("layout", "row", "said"),
    [
        (SCORES, {"r": TEXTS, "s": [1, 2]}, "not a number for each of 3 responses"),
        (SCORES, {"r": None, "s": [1, 2]}, "no list of responses"),
        (WITHIN, {"r": TEXTS}, "has neither scores nor ranks; name them with input.columns.scores"),
    ],
)
def test_scores_that_do_not_match_are_a_mistake(layout, row, said):
    found = rate(row, layout)
    assert isinstance(found, Mistake)
    assert found.is_bad
    assert said in found.detail


NESTED = Layout("ratings", responses="r", scores="annotations.helpfulness.Rating")


def nested(*ratings):
    return {
        "r": [{"response": str(i), "annotations": {"helpfulness": {"Rating": own}}} for i, own in enumerate(ratings)]
    }


def test_a_score_deep_within_a_response():
    assert rate(nested("4", "N/A", "5", "2"), NESTED) == ("2", "3")
    assert rate(nested("N/A", "N/A", "5"), NESTED) == Mistake("fewer than two responses have scores", is_bad=False)
    assert rate({"r": [{"response": "a", "annotations": None}, {"response": "b"}]}, NESTED).reason.startswith("fewer")


def test_lists_that_are_stored_as_text():
    assert rate({"r": "['a', 'b']", "s": "[1.0, nan]"}, SCORES).reason == "fewer than two responses have scores"
    assert rate({"r": '["a", "b", "c"]', "s": "[1, 3, 2]"}, SCORES) == ("b", "a")
    assert rate({"r": TEXTS, "s": "[1.5 3. 2.]"}, SCORES) == ("b", "a")


@pytest.mark.parametrize(
    "value",
    ["good", float("inf"), 10**400, 10**5000, [1], {"a": 1}, "1e999", "x" * 10**6],
    ids=["word", "infinite", "huge", "too huge to print", "list", "object", "infinite text", "long"],
)
def test_a_score_that_cannot_be_read_is_a_mistake_and_not_missing(value):
    found = rate({"r": TEXTS, "s": [1, value, 2]}, SCORES)
    assert (found.reason, found.is_bad) == ("a score that is no number", True)
    assert len(found.detail) < 200


@pytest.mark.parametrize("value", [None, float("nan"), "N/A", "nan", "", " none "])
def test_a_score_that_is_missing_is_not_0(value):
    assert rate({"r": TEXTS, "s": [-1, value, -2]}, SCORES) == ("a", "c")


def test_rows_of_one_response_each():
    prompts = ["p", "q", "p", "p", "r", "s", "s", "q"]
    scores = [1, 2, 3, "2", 5, 4, 4, "bad"]
    pairs, left = pairs_of_rows(prompts, scores, 1, "score")
    assert pairs == {2: 0}
    assert {number: why.reason for number, why in left.items()} == {
        0: "the other response of a pair",
        1: "a single response",
        3: "neither the best nor the worst response of its prompt",
        4: "a single response",
        5: "a tie",
        6: "a tie",
        7: "a score that is no number",
    }
    assert pairs_of_rows(prompts[:3], scores[:3], -1, "rank")[0] == {0: 2}
