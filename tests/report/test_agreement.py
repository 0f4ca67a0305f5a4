"""The order of the languages and the mark of a conflict."""

from dataclasses import replace

import numpy as np

from congrad.report.agreement import conflicts, couples, similarity_order
from congrad.report.read import read_run


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


def test_a_conflict_has_its_interval_below_zero_and_enough_pairs(run_directory, tmp_path):
    run = read_run(run_directory(tmp_path / "run", conflict=(2, 5)))
    assert np.argwhere(conflicts(run)).tolist() == [[2, 5], [5, 2]]
    first, *others = couples(run)
    assert (first.first, first.second, first.cosine, first.low, first.high) == ("el", "fr", -0.4, -0.6, -0.2)
    assert first.conflict
    assert not any(couple.conflict for couple in others)
    assert len(others) == 13 * 12 / 2 - 1
    cosines = [couple.cosine for couple in others]
    assert cosines == sorted(cosines)
    few = run.num_pairs_L.copy()
    few[5] = 19
    assert not conflicts(replace(run, num_pairs_L=few)).any()
    assert not conflicts(replace(run, high_LL=np.full_like(run.high_LL, np.nan))).any()
