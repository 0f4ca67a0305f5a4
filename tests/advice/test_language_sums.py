"""Sums, gains and their errors against loops over pairs."""

import numpy as np
import pytest
import torch
from tests.advice.planted import draw

from congrad.advice.budget import Budget
from congrad.advice.language_sums import by_language, fold_up, gains, jackknife, sum_languages

BUDGET = Budget(epochs=2, batch_size=4)


def naive_gains(pairs, weight_FOL, kept_P=None):
    """Every held-out pair's gain, one after the other (E x O x L)."""
    kept_P = torch.ones(len(pairs.fold_P), dtype=torch.bool) if kept_P is None else kept_P
    num_folds, num_sets, num_languages = weight_FOL.shape
    gradient_PD, language_P, fold_P = pairs.gradient_PD.numpy(), pairs.language_P.numpy(), pairs.fold_P.numpy()
    found = [[[[] for _ in range(num_languages)] for _ in range(num_sets)] for _ in range(2)]
    for fold in range(num_folds):
        for number in range(num_sets):
            train = [i for i in range(len(fold_P)) if kept_P[i] and fold_P[i] != fold]
            weight = np.array([weight_FOL[fold, number, language_P[i]] for i in train])
            mean_D = weight @ gradient_PD[train] / weight.sum()
            squared = weight @ (gradient_PD[train] ** 2).sum(1) / weight.sum()
            among = [i for i in range(len(fold_P)) if kept_P[i] and weight_FOL[fold, number, language_P[i]] > 0]
            batch = np.sqrt(mean_D @ mean_D + (squared - mean_D @ mean_D) / BUDGET.batch_size)
            for i in range(len(fold_P)):
                if kept_P[i] and fold_P[i] == fold:
                    inner = gradient_PD[i] @ mean_D
                    found[1][number][language_P[i]].append(inner / np.sqrt(mean_D @ mean_D))
                    steps = BUDGET.epochs * len(among) / BUDGET.batch_size
                    found[0][number][language_P[i]].append(steps * inner / batch)
    return np.array([[[np.mean(each) for each in per_set] for per_set in budget] for budget in found])


@pytest.mark.parametrize("parallel", [False, True])
def test_gains_are_those_of_pairs_one_by_one(parallel):
    pairs = draw((10, 17, 24), parallel=parallel, num_folds=3)
    generator = np.random.default_rng(1)
    weight_FOL = generator.uniform(0.5, 2, (3, 4, 3)) * np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 1]])
    folded = fold_up(pairs.sums())
    found_EROL = np.stack(
        [by_language(gains(folded, weight_FOL, BUDGET)[:, :, :, number], folded) for number in range(4)], axis=2
    )
    np.testing.assert_allclose(found_EROL[:, 0], naive_gains(pairs, weight_FOL), rtol=1e-5, atol=1e-6)


def test_the_jackknife_leaves_prompts_out_on_both_sides():
    """Few enough prompts that every bucket is one prompt: the loop leaves all pairs of a prompt out and starts anew."""
    pairs = draw((9, 9), parallel=True, num_folds=3)
    weight_FOL = np.ones((3, 1, 2))
    folded = fold_up(pairs.sums())
    found_ERL = by_language(gains(folded, weight_FOL, BUDGET)[:, :, :, 0], folded)
    expected = np.stack([naive_gains(pairs, weight_FOL, pairs.group_P != group)[:, 0] for group in range(9)], axis=1)
    order = np.lexsort(expected[:, :, 0])
    np.testing.assert_allclose(found_ERL[:, 1:][:, np.lexsort(found_ERL[:, 1:, 0])], expected[:, order], rtol=1e-5)


def test_the_standard_error_of_a_mean_is_that_of_the_textbook():
    value_P = np.random.default_rng(2).standard_normal(30)
    without_P = (value_P.sum() - value_P) / 29
    estimate = jackknife(np.concatenate([[value_P.mean()], without_P]))
    assert estimate.error == pytest.approx(value_P.std(ddof=1) / 30**0.5)
    low, high = estimate.interval
    assert (high - low) / 2 / estimate.error == pytest.approx(2.0452, abs=1e-3)  # Student's t, 29 degrees


@pytest.mark.parametrize(("size", "degrees_t"), [(5, 2.776), (20, 2.093)])
def test_the_quantile_is_students(size, degrees_t):
    estimate = jackknife(np.arange(size + 1.0))
    assert np.diff(estimate.interval)[0] / 2 / estimate.error == pytest.approx(degrees_t, rel=0.02)


def test_prompts_stay_together_and_folds_and_languages_are_spread():
    pairs = draw((300, 7, 40, 1), num_folds=5)
    sums = pairs.sums()
    assert sums.count_LC.sum(1).tolist() == [300, 7, 40, 1]
    assert len(sums.fold_C) == 60
    assert np.bincount(sums.fold_C).tolist() == [12] * 5
    assert sums.count_LC[0].max() - sums.count_LC[0].min() <= 6  # two or three prompts of two pairs
    assert (sums.count_LC[2] > 0).sum() == 20  # as many buckets as prompts
    energy_L = [(pairs.gradient_PD[pairs.language_P == language] ** 2).sum().item() for language in range(4)]
    np.testing.assert_allclose(sums.energy_LC.sum(1), energy_L, rtol=1e-5)


def test_a_gradient_that_is_zero_or_not_finite_takes_no_part():
    pairs = draw((20, 20))
    gradient_PD = pairs.gradient_PD.clone()
    gradient_PD[3] = torch.nan
    factor_P = torch.ones(40, dtype=torch.float64)
    factor_P[5], factor_P[6] = torch.nan, 0
    options = {"num_languages": 2, "factor_P": factor_P, "group_P": pairs.group_P}
    sums = sum_languages(gradient_PD, language_P=pairs.language_P, fold_P=pairs.fold_P, **options)
    assert sums.count_LC.sum() == 37
    assert np.isfinite(sums.gram_LCLC).all()


def test_a_set_without_pairs_gains_nothing():
    folded = fold_up(draw((10, 10)).sums())
    assert (gains(folded, np.zeros((5, 1, 2)), BUDGET) == 0).all()
