"""The rule that makes pairs of one prompt's scored responses, by hand."""

import random
from collections.abc import Sequence
from typing import Any

from congrad.preferences.pairing import Candidate, choose, ranking_scores
from congrad.settings.selfreward import Pair


def candidates(
    scores: Sequence[float | None], *, off: Sequence[bool | None] = (), lengths: Sequence[int] = ()
) -> list[Candidate]:
    return [
        Candidate(score, lengths[i] if lengths else 10, bool(off[i]) if off else False)
        for i, score in enumerate(scores)
    ]


def pairs(found: Sequence[Candidate], key: str = "p", **settings: Any) -> tuple[list[tuple[int, int, float]], str]:
    return choose(found, Pair(**settings), key)


def test_the_best_is_paired_with_the_worst() -> None:
    assert pairs(candidates([3, 5, 1, 4])) == ([(1, 2, 4)], "paired")


def test_of_several_best_or_worst_the_first_is_taken() -> None:
    assert pairs(candidates([2, 5, 2, 5])) == ([(1, 0, 3)], "paired")


def test_ties_are_no_pairs() -> None:
    assert pairs(candidates([3, 3, 3])) == ([], "ties")
    assert pairs(candidates([0.1 + 0.2, 0.3])) == ([], "ties")  # they differ by what rounding made


def test_a_margin_of_the_minimum_is_not_enough() -> None:
    assert pairs(candidates([4, 3]), min_margin=1) == ([], "below_min_margin")
    assert pairs(candidates([4.3, 4.0]), min_margin=0.3) == ([], "below_min_margin")
    assert pairs(candidates([4, 3]), min_margin=0.99) == ([(0, 1, 1)], "paired")


def test_all_pairs_but_ties_and_small_margins() -> None:
    found = candidates([3, 5, 3, 1])
    assert pairs(found, method="all")[0] == [(0, 3, 2), (1, 0, 2), (1, 2, 2), (1, 3, 4), (2, 3, 2)]
    assert pairs(found, method="all", min_margin=2)[0] == [(1, 3, 4)]


def test_the_best_is_paired_with_a_random_one_that_is_worse() -> None:
    drawn = set()
    for number in range(60):
        found, key = candidates([5, 1, 5, 4, 3]), f"prompt {number}"
        ((better, worse, _),), _ = pairs(found, key, method="best-random", min_margin=1)
        assert (better, worse) in {(0, 1), (0, 4)}  # not 2, a tie; not 3, within the margin
        assert pairs(found, key, method="best-random", min_margin=1)[0][0][1] == worse
        assert worse == random.Random(f"0 prompt {number}").choice([1, 4])
        drawn.add(worse)
    assert drawn == {1, 4}
    other = [pairs(candidates([5, 1, 2]), str(i), method="best-random", seed=1) for i in range(20)]
    assert other != [pairs(candidates([5, 1, 2]), str(i), method="best-random") for i in range(20)]


def test_a_missing_score_is_no_score() -> None:
    assert pairs(candidates([None, 3, None, 4])) == ([(3, 1, 1)], "paired")
    assert pairs(candidates([None, 3, None]), method="all") == ([], "missing_scores")
    assert pairs(candidates([3])) == ([], "single_response")
    assert pairs(candidates([None])) == ([], "single_response")


def test_responses_in_another_language_are_dropped_penalised_or_left() -> None:
    found = candidates([5, 4, 3], off=[True, None, False])
    assert pairs(found) == ([(0, 2, 2)], "paired")
    assert pairs(found, language="drop") == ([(1, 2, 1)], "paired")
    assert pairs(found, language="penalise", language_penalty=2.5) == ([(1, 0, 1.5)], "paired")
    assert pairs(found, language="penalise", language_penalty=1.0) == ([(0, 2, 1)], "paired")
    assert pairs(candidates([5, 4], off=[True, False]), language="drop") == ([], "dropped_for_language")
    assert pairs(candidates([None, 4, 3], off=[False, True, False]), language="drop")[1] == "dropped_for_language"


def test_length_control_costs_by_standard_deviations_of_the_prompt() -> None:
    # Lengths 10 and 30: mean 20, deviation 10. The longer one pays 0.75, the shorter one gains as much.
    found = candidates([3, 4], lengths=[10, 30])
    assert ranking_scores(found, Pair(length_control=0.75)) == [3.75, 3.25]
    assert pairs(found, length_control=0.75) == ([(0, 1, 0.5)], "paired")
    assert pairs(found, length_control=0.5) == ([], "ties")
    assert pairs(found, length_control=0.25) == ([(1, 0, 0.5)], "paired")
    assert ranking_scores(candidates([3, 4], lengths=[7, 7]), Pair(length_control=1)) == [3, 4]
    # What is dropped or has no score does not count: 10 and 30 are left.
    left = candidates([3, 5, None, 4], off=[False, True, False, False], lengths=[10, 900, 800, 30])
    assert pairs(left, language="drop", length_control=0.75) == ([(0, 3, 0.5)], "paired")
