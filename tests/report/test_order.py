"""The order of the languages."""

import numpy as np

from congrad.report.order import similarity_order


def test_similar_languages_stand_side_by_side():
    """Languages on an arc, shuffled: the order along the arc is found again."""
    angles = np.linspace(0, 2.4, 13)
    shuffled = np.random.default_rng(4).permutation(13)
    order = similarity_order(np.cos(angles[shuffled][:, None] - angles[shuffled]))
    found = shuffled[order].tolist()
    assert found in (list(range(13)), list(range(12, -1, -1)))
    assert order.tolist().index(0) <= 6  # one of the two directions, always the same


def test_two_groups_are_not_mixed():
    cosine_LL = np.full((6, 6), -0.1)
    for group in ([0, 2, 4], [1, 3, 5]):
        cosine_LL[np.ix_(group, group)] = 0.4
    order = similarity_order(cosine_LL).tolist()
    assert {frozenset(order[:3]), frozenset(order[3:])} == {frozenset({0, 2, 4}), frozenset({1, 3, 5})}


def test_few_languages_or_no_cosine_are_no_trouble():
    assert similarity_order(np.ones((1, 1))).tolist() == [0]
    assert similarity_order(np.array([[1, -1], [-1, 1.0]])).tolist() == [0, 1]
    assert sorted(similarity_order(np.full((5, 5), np.nan)).tolist()) == [0, 1, 2, 3, 4]
