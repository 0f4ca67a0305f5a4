"""The best and the worst response of a prompt make the pair; what has no score is in none."""

import pytest

from congrad.preferences.layout import Layout
from congrad.preferences.pairing import NoPair
from congrad.preferences.ratings import pairs_of_trees, rate

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
    "all alike": (SCORES, {"r": TEXTS, "s": [5, 5, 5]}, NoPair("a tie", is_bad=False)),
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
    assert isinstance(found, NoPair)
    assert found.is_bad
    assert said in found.detail


def message(name, parent, text, role, rank=None):
    return {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank}


def test_a_tree_gives_a_pair_for_each_message_with_ranked_answers():
    rows = [
        message("q", None, "Was?", "prompter"),
        message("1", "q", "schlecht", "assistant", 1),
        message("0", "q", "gut", "assistant", 0),
        message("qq", "0", "Und?", "prompter"),
        message("00", "qq", "besser", "assistant", 0.0),
        message("01", "qq", "schlechter", "assistant", 2.0),
        message("02", "qq", "ohne", "assistant"),
        message("lost", "nowhere", "x", "assistant", 0),
        message(["odd"], {"odd": 1}, None, None, "x"),
    ]
    first = [{"role": "user", "content": "Was?"}]
    second = [*first, {"role": "assistant", "content": "gut"}, {"role": "user", "content": "Und?"}]
    assert list(pairs_of_trees(rows)) == [(2, first, "gut", "schlecht"), (4, second, "besser", "schlechter")]


def test_messages_that_answer_each_other_end():
    rows = [message("a", "b", "x", "prompter"), message("b", "a", "y", "prompter")]
    rows += [message(str(rank), "a", "z", "assistant", rank) for rank in (0, 1)]
    ((number, before, _, _),) = pairs_of_trees(rows)
    assert number == 2
    assert len(before) == 2
