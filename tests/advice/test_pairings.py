"""Ways of pairing, compared on pairs that are made of numbers."""

import numpy as np
import pytest
import torch

from congrad.advice.folds import deal
from congrad.advice.pairings import compare_pairings
from congrad.settings.advice import Advice as Settings

SETTINGS = Settings(epochs=2, batch_size=4, num_folds=4, num_resamples=200)
NUM_LANGUAGES, EACH, DIMS = 2, 20, 12


def made(seed, *, signal=(1.0, 1.0), num_languages=NUM_LANGUAGES, each=EACH, dims=DIMS):
    """Two pairs of every prompt: the first way makes the first, the second way the second, and a third both."""
    rng = np.random.default_rng(seed)
    num_prompts = num_languages * each
    gradient_PD = rng.normal(size=(2 * num_prompts, dims))
    first_P = np.tile([True, False], num_prompts)
    gradient_PD[:, 0] += np.where(first_P, *signal)
    return {
        "sketches": torch.from_numpy(gradient_PD).float(),
        "factor_N": torch.full((2 * num_prompts,), 1e-5),
        "language_N": torch.arange(num_languages).repeat_interleave(2 * each),
        "group_N": torch.arange(num_prompts).repeat_interleave(2),
        "length_N": rng.integers(-5, 6, 2 * num_prompts).astype(float),
        "member_WN": torch.from_numpy(np.stack([first_P, ~first_P, np.ones_like(first_P)])),
    }


def naive(pairs, way, target, measure):
    """One held-out pair at a time; the mean over languages."""
    gradient_PD = (pairs["sketches"].double() * pairs["factor_N"].double()[:, None]).numpy()
    language_P, member_WP = pairs["language_N"].numpy(), pairs["member_WN"].numpy()
    fold_P = deal(pairs["group_N"], SETTINGS.num_folds, SETTINGS.seed, pairs["language_N"]).numpy()
    gain_P = np.full(len(fold_P), np.nan)
    for pair in np.flatnonzero(member_WP[target]):
        outside_P = fold_P != fold_P[pair]
        kept_PD = gradient_PD[member_WP[way] & outside_P]
        mu_D = kept_PD.mean(0)
        length, steps = mu_D @ mu_D, 1.0
        if measure == "budget":
            length += ((kept_PD**2).sum(1).mean() - length) / SETTINGS.batch_size
            steps = SETTINGS.epochs * len(kept_PD) / outside_P.sum() * len(fold_P) / SETTINGS.batch_size
        gain_P[pair] = steps * gradient_PD[pair] @ mu_D / np.sqrt(length)
    return np.mean([np.nanmean(gain_P[language_P == language]) for language in np.unique(language_P)])


@pytest.mark.parametrize("measure", ["budget", "equal_length"])
def test_gains_equal_those_of_a_naive_loop(measure):
    pairs = made(0, signal=(1.5, 0.5))
    found = compare_pairings(**pairs, configured=0, settings=SETTINGS)
    assert found.num_pairs_W == (40, 40, 80)
    assert found.num_prompts == 40
    for way in range(3):
        for target in range(3):
            gains = found.gains[measure][way][target]
            expected = naive(pairs, way, target, measure)
            assert gains.mean.value == pytest.approx(expected, rel=1e-4)
            assert gains.mean.delta == pytest.approx(expected - naive(pairs, 0, target, measure), rel=1e-3, abs=1e-12)
    assert abs(found.gains[measure][0][1].mean.delta_high) < 1e-12, "the configured way beside itself"


def test_a_way_whose_labels_are_noise_is_seen():
    """The second way's pairs teach nothing: of the two others, the first is better on the pairs of every way."""
    found = compare_pairings(**made(1, signal=(2.0, 0.0), each=60), configured=1, settings=SETTINGS)
    assert 1 not in found.better
    pairs = made(1, signal=(3.0, 0.4), each=600, dims=200)
    assert 0 in compare_pairings(**pairs, configured=1, settings=SETTINGS).better


def test_more_steps_alone_make_no_way_better():
    """The third way has twice the pairs, of the same kind: it gains more in an epoch, for its steps."""
    found = compare_pairings(**made(2, signal=(3.0, 3.0), each=60), configured=0, settings=SETTINGS)
    assert all(gains.mean.delta_low > 0 for gains in found.gains["budget"][2])
    assert found.gains["equal_length"][2][0].mean.delta < 0.1 * found.gains["equal_length"][0][0].mean.value


def test_ways_of_one_kind_are_seldom_called_better():
    called = sum(
        bool(compare_pairings(**made(seed, each=20), configured=0, settings=SETTINGS).better) for seed in range(20)
    )
    assert called <= 2


def test_with_too_few_prompts_nothing_is_said():
    found = compare_pairings(**made(3, each=5), configured=0, settings=SETTINGS)
    assert (found.gains, found.better, found.num_prompts) == ({}, (), 10)


def test_pairs_without_a_gradient_take_no_part():
    pairs = made(4)
    pairs["factor_N"][::8] = torch.nan
    assert compare_pairings(**pairs, configured=0, settings=SETTINGS).num_pairs_W == (30, 40, 70)
