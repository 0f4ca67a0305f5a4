"""Weights of languages: by hand, against a fine grid, and what is promised beside what is gained."""

import itertools

import numpy as np
import pytest
from tests.advice.planted import draw

from congrad.advice.budget import MEASURES, Budget
from congrad.advice.language_sums import LanguageSums
from congrad.advice.weights import KINDS, language_reliability, language_weights, weigh

BUDGET = Budget(epochs=1, batch_size=8)


def test_weights_that_need_no_choice():
    sums = draw((50, 5, 15, 100), noise=0.1).sums()
    assert language_weights(sums, "pairs", BUDGET) == pytest.approx(np.array([50, 5, 15, 100]) / 170)
    assert language_weights(sums, "languages", BUDGET) == pytest.approx([0.25] * 4)
    assert language_weights(sums, "pooled", BUDGET) == pytest.approx(np.array([1, 0.25, 0.75, 1]) / 3)
    reliability_L = language_reliability(sums)
    assert reliability_L == pytest.approx(np.ones(4), abs=0.02)  # hardly any noise
    assert language_weights(sums, "reliability", BUDGET) == pytest.approx(reliability_L / reliability_L.sum())


def gain_of(sums: LanguageSums, weight_L, measure):
    """The gain of every language, spelled out: products of different buckets over lengths with all of them."""
    num_languages, num_buckets = sums.count_LC.shape
    count_L = sums.count_LC.sum(1)
    different_CC = ~np.eye(num_buckets, dtype=bool)
    inner_L, squared = np.zeros(num_languages), 0.0
    for a, b in itertools.product(range(num_languages), repeat=2):
        block_CC = sums.gram_LCLC[a, :, b]
        pairs = np.outer(sums.count_LC[a], sums.count_LC[b])[different_CC].sum()
        inner_L[a] += block_CC[different_CC].sum() / pairs * weight_L[b]
        squared += weight_L[a] * weight_L[b] * block_CC.sum() / count_L[a] / count_L[b]
    if measure == "equal_length":
        return inner_L / np.sqrt(squared)
    energy = weight_L @ (sums.energy_LC.sum(1) / count_L)
    return count_L.sum() / 8 * inner_L / np.sqrt(squared + (energy - squared) / 8)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("measure", MEASURES)
def test_chosen_weights_are_the_best_of_a_fine_grid(measure, seed):
    mean_LD = 0.7 * np.random.default_rng(seed).standard_normal((3, 12))
    sums = draw((30, 40, 20), seed=seed, mean_LD=mean_LD, noise=1.5).sums()
    unit_LL = np.stack([gain_of(sums, weight_L, measure) for weight_L in np.eye(3)])  # to find the scale of gains
    grid = [np.array([i, j, 20 - i - j]) / 20 for i in range(21) for j in range(21 - i)]
    gain_GL = np.stack([gain_of(sums, weight_L, measure) for weight_L in grid])
    mean, worst = (gain_of(sums, language_weights(sums, kind, BUDGET, measure), measure) for kind in ("mean", "worst"))
    scale = np.abs(unit_LL).max()
    assert mean.mean() > gain_GL.mean(1).max() - 0.01 * scale
    assert worst.min() > gain_GL.min(1).max() - 0.02 * scale


def test_what_weights_promise_is_what_they_gain_on_the_pairs_they_come_from():
    sums = draw((30, 40, 20)).sums()
    for found in weigh(sums, BUDGET):
        expected = [gain_of(sums, found.weight_L, measure).mean() for measure in MEASURES]
        assert found.promised == pytest.approx(expected)


def test_chosen_weights_promise_more_than_they_gain():
    """Languages without a gradient: whatever is chosen gains nothing, on average, and promises something."""
    promised, gained = [], []
    for seed in range(12):
        found = weigh(draw((20,) * 5, seed=seed, mean_LD=np.zeros((5, 30)), num_dims=30).sums(), BUDGET)
        of_kind = {each.kind: each for each in found}
        assert tuple(of_kind) == KINDS
        assert of_kind["pairs"].over_pairs.value.tolist() == [0, 0]
        promised.append(of_kind["mean"].promised[0])
        gained.append(of_kind["mean"].gain.value[0])
    error = np.std(gained) / 12**0.5
    assert abs(np.mean(gained)) < 3 * error
    assert np.mean(promised) > 2 * error


def test_reliability_beats_languages_alike_where_some_have_few_pairs():
    mean_LD = np.zeros((6, 200))
    mean_LD[:, 0] = 1
    better = []
    for seed in range(6):
        pairs = draw((2, 2, 2, 2, 120, 120), seed=seed, mean_LD=mean_LD, num_dims=200, noise=0.3)
        of_kind = {each.kind: each.gain.value[1] for each in weigh(pairs.sums(), BUDGET)}
        better.append(of_kind["reliability"] - of_kind["languages"])
    assert np.mean(better) > 0
    assert np.mean(np.array(better) > 0) > 0.7


def test_the_worst_language_gains_more_from_weights_for_it():
    mean_LD = np.zeros((4, 30))
    mean_LD[:, 0], mean_LD[0] = 1, np.eye(30)[1]
    found = weigh(draw((60,) * 4, mean_LD=mean_LD, num_dims=30).sums(), BUDGET, "equal_length")
    of_kind = {each.kind: each for each in found}
    assert of_kind["worst"].worst_over_pairs.is_clear[1]
    assert of_kind["worst"].weight_L[0] > 0.4
