"""Gains at other numbers of pairs: against loops, leaving out prompts, and drawing that many pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.advice.planted import draw

from congrad.advice.budget import Budget
from congrad.advice.how_many import how_many, times_to_tell
from congrad.advice.language_sums import Estimate
from congrad.advice.weights import weigh

BUDGET = Budget(epochs=1, batch_size=8)


@pytest.mark.parametrize("parallel", [False, True])
def test_at_the_present_number_it_is_what_all_pairs_promise(parallel):
    sums = draw((20, 30, 25), parallel=parallel).sums()
    found = how_many(sums, BUDGET)
    now = found.times_X.tolist().index(1)
    for curve in (found.together, *found.languages):
        assert curve.gain_EX.value[:, now] == pytest.approx(weigh(sums, BUDGET)[0].promised)
        assert curve.num_pairs_X[now] == 75
        assert (curve.over_now_EX.value[:, now] == 0).all()
        assert (curve.over_now_EX.error[:, now] == 0).all()


@pytest.mark.parametrize("parallel", [False, True])
def test_errors_come_from_leaving_a_prompt_out(parallel):
    """Few enough prompts that each is a bucket: the loop takes its pairs away and begins again."""
    pairs = draw((9, 9), parallel=parallel, num_folds=3)
    without_NEX = []
    for group in pairs.group_P.unique():
        kept_P = pairs.group_P != group
        fewer = replace(pairs, **{name: getattr(pairs, name)[kept_P] for name in vars(pairs)})
        without_NEX.append(how_many(fewer.sums(), BUDGET, (4.0,)).languages[1].gain_EX.value)
    count = len(without_NEX)
    expected_EX = np.std(without_NEX, axis=0) * (count - 1) ** 0.5
    found = how_many(pairs.sums(), BUDGET, (4.0,)).languages[1]
    np.testing.assert_allclose(found.gain_EX.error, expected_EX, rtol=1e-5)


@pytest.mark.parametrize("language", [None, 0, 2])
def test_as_many_pairs_as_it_says_gain_what_it_says(language):
    """From 24 pairs a language to 96: the truth is that of means of so many pairs, along which the true means gain."""
    generator = np.random.default_rng(5)
    mean_LD = generator.standard_normal((3, 40)) * 0.3 + 0.2
    size_L = np.where([language is None or number == language for number in range(3)], 96, 24)
    truth = []
    for seed in range(200):
        pairs = draw(tuple(size_L), seed=seed, mean_LD=mean_LD, num_dims=40)
        mean_D = pairs.gradient_PD.mean(0).numpy()
        squared, energy = mean_D @ mean_D, float((pairs.gradient_PD**2).sum(1).mean())
        batch = squared + (energy - squared) / 8
        inner = (mean_LD @ mean_D).mean()
        truth.append((size_L.sum() / 8 * inner / np.sqrt(batch), inner / np.sqrt(squared)))
    found = []
    for seed in range(60):
        sums = draw((24,) * 3, seed=1000 + seed, mean_LD=mean_LD, num_dims=40).sums()
        curves = how_many(sums, BUDGET, (4.0,))
        found.append((curves.together if language is None else curves.languages[language]).gain_EX.value[:, -1])
    assert np.mean(found, axis=0) == pytest.approx(np.mean(truth, axis=0), rel=0.05)


def test_translations_share_their_noise():
    """Parallel prompts whose noise is the same in all languages: their mean is as noisy as one language's."""
    pairs = draw((40,) * 4, parallel=True, mean_LD=np.full((4, 60), 0.3), num_dims=60, noise=0.0)
    noise_ND = torch.from_numpy(np.random.default_rng(6).standard_normal((40, 60)))
    sums = replace(pairs, gradient_PD=pairs.gradient_PD + noise_ND[pairs.group_P]).sums()
    found_X = how_many(sums, BUDGET, (100.0,)).together.gain_EX.value[1]
    assert found_X[1] == pytest.approx(5.4**0.5, rel=0.15)  # |mu|; hardly any noise is left
    assert found_X[0] / found_X[1] == pytest.approx((5.4 / (5.4 + 60 / 40)) ** 0.5, abs=0.02)


def test_without_a_gradient_nothing_is_promised_beyond_its_error():
    for seed in range(5):
        found = how_many(draw((20,) * 4, seed=seed, mean_LD=np.zeros((4, 50)), num_dims=50).sums(), BUDGET)
        assert np.isfinite(found.together.gain_EX.value).all()
        assert not found.together.over_now_EX.is_clear[:, -1].all()


def test_languages_that_are_missing_or_tiny_have_an_answer():
    found = how_many(draw((1, 30, 2)).sums(), BUDGET)
    for curve in (found.together, *found.languages):
        assert np.isfinite(curve.gain_EX.value).all()


def test_how_many_times_the_prompts_would_tell():
    """3 +- 3 needs the error at 1.5, half of what it is: 4 times the prompts; 3 +- 0.75 is clear with a quarter."""
    difference = Estimate(np.array([3, -3, 3, 0]), np.array([3, 3, 0.75, 1]), 20)
    assert times_to_tell(difference).tolist() == [4, 4, 0.25, np.inf]
