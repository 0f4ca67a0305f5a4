"""The tree against trees by loops, and groups that are planted or not there."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.language_groups import exchangeable, two_blocks
from tests.advice.planted import draw

from congrad.advice.budget import MEASURES, Budget
from congrad.advice.groups import best_groups, cross_fitted, group_gains, grow
from congrad.advice.language_sums import by_language, fold_up, gains

BUDGET = Budget(epochs=3, batch_size=8)


def naive_tree(pairs, chosen_by):
    """Divisions into L to 1 groups. Every bucket is one prompt: products of two pairs of one prompt are left out."""
    gradient_PD, language_P = pairs.gradient_PD.numpy(), pairs.language_P.numpy()
    product_PP = gradient_PD @ gradient_PD.T
    group_P = pairs.group_P.numpy()
    other_PP = group_P[:, None] != group_P

    def gain(group):
        own_P = np.isin(language_P, group)
        mean_D, count = gradient_PD[own_P].mean(0), own_P.sum()
        squared, energy = mean_D @ mean_D, (gradient_PD[own_P] ** 2).sum(1).mean()
        inner = 0.0
        for a, b in itertools.product(group, group):
            among_PP = other_PP & (language_P == a)[:, None] & (language_P == b)
            inner += product_PP[among_PP].mean() * (language_P == b).sum() / count
        if chosen_by == "equal_length":
            return inner / np.sqrt(squared)
        return 3 * count / 8 * inner / np.sqrt(squared + (energy - squared) / 8)

    groups = [(language,) for language in range(pairs.num_languages)]
    found = [set(groups)]
    while len(groups) > 1:
        first, second = max(
            itertools.combinations(groups, 2), key=lambda two: gain(two[0] + two[1]) - gain(two[0]) - gain(two[1])
        )
        groups = [group for group in groups if group not in (first, second)] + [tuple(sorted(first + second))]
        found.append(set(groups))
    return found


@pytest.mark.parametrize("chosen_by", MEASURES)
@pytest.mark.parametrize("parallel", [False, True])
def test_the_tree_is_that_of_loops_over_pairs(chosen_by, parallel):
    pairs = draw((8, 9, 10, 11, 12, 13), parallel=parallel, seed=3)
    tree = grow(pairs.sums(), BUDGET, chosen_by)
    for label_L, groups in zip(tree.label_KL[::-1], naive_tree(pairs, chosen_by), strict=True):
        assert {tuple(np.flatnonzero(label_L == label).tolist()) for label in set(label_L)} == groups
        assert list(dict.fromkeys(label_L.tolist())) == list(range(len(groups)))  # in order of their first language


def test_merges_make_the_cuts():
    tree = grow(draw((9,) * 7).sums(), BUDGET, "equal_length")
    members = {language: {language} for language in range(7)}
    for number, (first, second) in enumerate(tree.merges):
        members[7 + number] = members[first] | members[second]
        merged_L = tree.label_KL[7 - 2 - number]
        (label,) = {int(merged_L[language]) for language in members[7 + number]}
        assert set(np.flatnonzero(merged_L == label)) == members[7 + number]
    assert members[12] == set(range(7))


def test_products_within_a_prompt_are_left_out():
    """Noise that translations share, of squared length 25 * 30 a pair, does not make languages agree; with the products
    of 40 prompts with themselves their means' inner product would be 750 / 40."""
    generator = np.random.default_rng(4)
    naive, found = [], []
    for seed in range(30):
        pairs = draw((40, 40), parallel=True, mean_LD=np.zeros((2, 30)), num_dims=30, seed=seed)
        shared_ND = torch.from_numpy(generator.standard_normal((40, 30)))
        pairs = replace(pairs, gradient_PD=pairs.gradient_PD + 5 * shared_ND[pairs.group_P])
        first_D, second_D = (pairs.gradient_PD[pairs.language_P == language].mean(0) for language in (0, 1))
        naive.append(float(first_D @ second_D))
        found.append(cross_fitted(pairs.sums())[0, 1])
    assert np.mean(naive) == pytest.approx(750 / 40, rel=0.15)
    assert abs(np.mean(found)) < 3


def test_gains_of_groups_are_those_of_their_languages_sets():
    folded = fold_up(draw((12, 13, 14)).sums())
    label_FL = np.array([[0, 1, 0]] * 5)
    found_ERL = group_gains(folded, label_FL, BUDGET)
    set_FOL = np.array([[[1.0, 0, 1], [0, 1, 0]]] * 5)
    gain_ERFOL = gains(folded, set_FOL, BUDGET)
    for language, number in ((0, 0), (1, 1), (2, 0)):
        expected_ERL = by_language(gain_ERFOL[:, :, :, number], folded)
        np.testing.assert_allclose(found_ERL[..., language], expected_ERL[..., language])


@pytest.mark.parametrize("sizes", [(24, 24), (1, 30, 2, 18), (2, 2, 2), (40,)])
def test_any_sizes_have_an_answer(sizes):
    for chosen_by in MEASURES:
        found = best_groups(draw(sizes, num_folds=min(5, max(sizes))).sums(), BUDGET, chosen_by)
        assert [cut.num_groups for cut in found.cuts] == list(range(1, len(sizes) + 1))
        assert found.cuts[0].over_together.value.tolist() == [0, 0]
        np.testing.assert_allclose(found.cuts[0].random_gain, found.cuts[0].gain.value)
        np.testing.assert_allclose(found.cuts[-1].random_gain, found.cuts[-1].gain.value)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("num_pairs", [5, 50])
def test_two_planted_blocks_are_found(num_pairs, parallel):
    runs = [two_blocks(6, num_pairs, parallel=parallel, seed=seed, chosen_by="budget") for seed in range(10)]
    assert np.mean(runs, axis=0).min() >= 0.9


@pytest.mark.parametrize("chosen_by", MEASURES)
@pytest.mark.parametrize("agree", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("parallel", [False, True])
def test_exchangeable_languages_are_not_divided(chosen_by, agree, parallel):
    where = {"agree": agree, "parallel": parallel, "chosen_by": chosen_by}
    assert sum(exchangeable(5, 12, **where, seed=seed) for seed in range(12)) <= 1
