"""AUROC and Spearman: worked values, and equality with counting every couple."""

import math

import numpy as np
import pytest
from bench.ranking import auroc, ranks, spearman


def test_ranks_share_the_mean_of_a_tie() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]).tolist() == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([1, 2, 3, 4], [0, 1, 0, 1], 0.75),  # of four couples, only (2, 3) is the wrong way round
        ([5, 5, 5], [0, 1, 1], 0.5),
        ([1, 2, math.nan, 4], [0, 1, 0, 1], 1.0),
    ],
)
def test_auroc_by_hand(scores: list[float], positive: list[int], expected: float) -> None:
    assert auroc(scores, positive) == expected


def test_auroc_is_the_share_of_couples_in_order() -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 8, 60).astype(float), generator.random(60) < 0.3
    couples = scores[positive][:, None] - scores[~positive][None]
    assert auroc(scores, positive) == pytest.approx(((couples > 0) + 0.5 * (couples == 0)).mean())


def test_auroc_of_one_kind_alone_is_unknown() -> None:
    assert math.isnan(auroc([1.0, 2.0], [True, True]))


def test_spearman_by_hand() -> None:
    # Differences of the ranks: 0, 1, -1, 0: 1 - 6 * 2 / (4 * 15) = 0.8
    assert spearman([10, 20, 30, 40], [1, 3, 2, 9]) == pytest.approx(0.8)
    assert spearman([1, 2, math.nan, 3], [1, 2, -5, 3]) == pytest.approx(1.0)
