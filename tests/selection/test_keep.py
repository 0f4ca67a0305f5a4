"""Which pairs are kept, by hand."""

import pytest
import torch

from congrad.errors import UserError
from congrad.selection import reasons, select
from congrad.selection.keep import num_kept

SCORES = torch.tensor([0.1, 0.5, torch.nan, 0.3, -0.2, 0.9, 0.8])
LANGUAGES = torch.tensor([0, 0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"keep": 0.5}, [1, 3, 5]),  # half of 4 scored pairs, and of 2
        ({"keep": 0.5, "scope": "language"}, [1, 3, 5]),
        ({"keep": 0.5, "scope": "global"}, [1, 5, 6]),  # half of 6
        ({"keep": 1.0}, [0, 1, 3, 4, 5, 6]),  # never the one without a score
        ({"keep": 0.01}, [1, 5]),  # one of each language at least
        ({"keep": 0.01, "scope": "global"}, [5]),
        ({"min_score": 0.1}, [0, 1, 3, 5, 6]),
        ({"min_score": -1.0}, [0, 1, 3, 4, 5, 6]),
        ({"min_score": 1.0}, []),
    ],
)
def test_rules_by_hand(rule, kept):
    assert torch.nonzero(select(SCORES, LANGUAGES, **rule)).flatten().tolist() == kept


def test_the_minimum_score_itself_is_kept():
    score_P = torch.tensor([0.25, 0.2499])
    assert select(score_P, torch.zeros(2, dtype=torch.int64), min_score=0.25).tolist() == [True, False]


def test_equal_scores_keep_the_earlier_row():
    score_P = torch.tensor([0.1, 0.3, 0.3, 0.3, 0.2])
    assert select(score_P, torch.zeros(5, dtype=torch.int64), keep=0.4).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("num_scored", "keep", "number"),
    [
        (4, 0.5, 2),
        (5, 0.5, 3),
        (3, 0.1, 1),
        (10, 0.35, 4),
        (30, 0.1, 3),
        (1, 0.3, 1),
        (0, 0.5, 0),
        (7, 1.0, 7),
        (9, 1, 9),
    ],
)
def test_shares_round_half_up_in_decimals(num_scored, keep, number):
    assert num_kept(num_scored, keep) == number


def test_a_language_without_scores_keeps_nothing():
    score_P = torch.tensor([torch.nan, torch.nan, 0.1])
    assert select(score_P, torch.tensor([0, 0, 1]), keep=0.9).tolist() == [False, False, True]


def test_reasons_by_hand():
    unscored = ["", "", "identical responses", "", "", "", ""]
    kept_P = select(SCORES, LANGUAGES, keep=0.5)
    below = "below the keep share"
    assert reasons(kept_P, unscored) == [below, "kept", "identical responses", "kept", below, "kept", below]
    kept_P = select(SCORES, LANGUAGES, min_score=0.2)
    assert reasons(kept_P, unscored, min_score=0.2)[0] == "below the minimum score"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"keep": 0.0}, "above 0 and at most 1"),
        ({"keep": 1.5}, "above 0 and at most 1"),
        ({"keep": -0.5}, "above 0 and at most 1"),
        ({"keep": float("nan")}, "a finite number, above 0 and at most 1"),
        ({"min_score": 1.5}, "-1 or more and at most 1"),
        ({"min_score": float("nan")}, "a finite number"),
        ({"keep": 0.5, "min_score": 0.1}, "excludes selection.keep"),
        ({}, "neither keep nor min_score is given"),
        ({"min_score": 0.1, "scope": "global"}, "would be ignored by a minimum score"),
        ({"keep": 0.5, "scope": "globl"}, "must be language or global"),
    ],
)
def test_bad_rules_are_refused(rule, message):
    with pytest.raises(UserError, match=message) as caught:
        select(SCORES, LANGUAGES, **rule)
    assert "\n" not in str(caught.value)
