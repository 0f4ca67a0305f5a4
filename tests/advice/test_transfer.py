"""What one language does for another, against loops over pairs and where it is known."""

import numpy as np
import pytest
from tests.advice.planted import draw

from congrad.advice.budget import Budget
from congrad.advice.transfer import transfer

BUDGET = Budget(epochs=2, batch_size=4)


def naive(pairs, learner, teachers):
    """The mean gain of a language's pairs from others' pairs, by both measures, without the fold of each."""
    gradient_PD, language_P, fold_P = pairs.gradient_PD.numpy(), pairs.language_P.numpy(), pairs.fold_P.numpy()
    num_pairs = np.isin(language_P, teachers).sum()
    found = []
    for i in np.flatnonzero(language_P == learner):
        train_KD = gradient_PD[np.isin(language_P, teachers) & (fold_P != fold_P[i])]
        mean_D = train_KD.mean(0)
        inner, squared = gradient_PD[i] @ mean_D, mean_D @ mean_D
        batch = squared + ((train_KD**2).sum(1).mean() - squared) / BUDGET.batch_size
        found.append((2 * num_pairs / 4 * inner / np.sqrt(batch), inner / np.sqrt(squared)))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("parallel", [False, True])
def test_every_figure_is_that_of_a_loop_over_pairs(parallel):
    pairs = draw((12, 20, 16), parallel=parallel)
    found = transfer(pairs.sums(), BUDGET)
    for learner in range(3):
        others = [language for language in range(3) if language != learner]
        for teacher in range(3):
            expected_E = naive(pairs, learner, [teacher])
            np.testing.assert_allclose(found.gain_ELL.value[:, learner, teacher], expected_E, rtol=1e-5)
        np.testing.assert_allclose(found.alone_EL.value[:, learner], naive(pairs, learner, [learner]), rtol=1e-5)
        np.testing.assert_allclose(found.others_EL.value[:, learner], naive(pairs, learner, others), rtol=1e-5)
        np.testing.assert_allclose(found.together_EL.value[:, learner], naive(pairs, learner, [0, 1, 2]), rtol=1e-5)


def test_intervals_hold_the_expected_gain_and_know_what_helps_and_what_harms():
    """Languages 0 and 1 agree, 2 is against both. The truth is the average over many draws."""
    mean_LD = np.zeros((3, 40))
    mean_LD[:, 0] = [1, 1, -1]
    found = [transfer(draw((30,) * 3, mean_LD=mean_LD, num_dims=40, seed=seed).sums(), BUDGET) for seed in range(60)]
    value_NELL = np.stack([each.gain_ELL.value for each in found])
    assert (np.sign(value_NELL.mean(0)) == [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]).all()
    interval_NELL2 = np.stack([each.gain_ELL.interval for each in found])
    truth_ELL = value_NELL.mean(0)
    inside_NELL = (interval_NELL2[..., 0] < truth_ELL) & (truth_ELL < interval_NELL2[..., 1])
    assert 0.9 < inside_NELL.mean() <= 0.99


def test_a_language_of_one_pair_learns_from_others_only():
    found = transfer(draw((1, 30)).sums(), BUDGET)
    assert found.alone_EL.value[:, 0].tolist() == [0, 0]
    others_E = found.others_EL.value[:, 0] * [31 / 30, 1]  # an epoch of all is longer by a pair
    np.testing.assert_allclose(found.together_EL.value[:, 0], others_E)
    assert np.isnan(found.others_EL.error[:, 0]).all()  # one prompt says nothing of others
