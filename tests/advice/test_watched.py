"""What options do to pairs that are not trained on, beside a naive program and beside how much the figures vary."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from tests.advice.conftest import made
from tests.advice.test_gain import CONSENSUS, SETTINGS, TRAINED, Naive

from congrad.advice import watched
from congrad.advice.advise import advise
from congrad.advice.gain import SHARES
from congrad.advice.watched import WatchedPairs, sum_watched
from congrad.selection.keep import select
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus

DIMS = 30


@pytest.fixture(scope="module")
def pairs():
    found = made(3, num_languages=3, each=8, dims=DIMS, signal=1.5, flipped=0.2)
    found["factor_N"] = torch.linspace(-2e-6, -5e-6, 24)
    return found


def watch(group_N, *, seed=0, num_languages=2, signal=1.0, factor=-3e-6) -> WatchedPairs:
    gradient_ND = np.random.default_rng(seed).normal(size=(len(group_N), DIMS))
    gradient_ND[:, 0] += signal
    language_N = torch.arange(len(group_N)) % num_languages * 5  # codes need not be 0, 1
    factor_N = torch.full((len(group_N),), factor)
    return WatchedPairs(torch.from_numpy(gradient_ND).float(), factor_N, language_N, torch.as_tensor(group_N))


def advised(pairs, watch, **changes):
    return advise(**pairs | changes, consensus=CONSENSUS, settings=SETTINGS, watch=watch)


def option(advice, ranking, share):
    return next(each for each in advice.options if (each.ranking, each.share) == (ranking, share))


def naive_gain(pairs, watch, kept_of_fold, fold_N, measure):
    """Mean over the pairs of each language, one at a time."""
    gradient_PD = (pairs["sketches"].double() * pairs["factor_N"][:, None]).numpy()
    watched_ND = (watch.sketches.double() * watch.factor_N[:, None]).numpy()
    naive, gain_N = Naive(pairs), np.empty(len(watched_ND))
    for row, fold in enumerate(fold_N):
        kept = kept_of_fold[fold]
        mu_D = gradient_PD[kept].mean(0)
        trained = (naive.fold_P != fold).sum()
        mean2 = (gradient_PD[kept] ** 2).sum(1).mean()
        factor = TRAINED[measure](kept.sum() / trained, mu_D @ mu_D, mean2, len(naive.fold_P))
        gain_N[row] = watched_ND[row] @ mu_D * factor
    language_N = watch.language_N.numpy()
    return [gain_N[language_N == code].mean() for code in np.unique(language_N)]


@pytest.mark.parametrize("measure", ["budget", "equal_length"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_watched_pair_is_measured_without_the_fold_of_its_prompt(pairs, share, measure):
    group_N = [3, 3, 9, 12, 20, 21, 22, 1, 0, 7]  # of the data
    watch_pairs, naive = watch(group_N), Naive(pairs)
    found = option(advised(pairs, watch_pairs), "congrad", share).gains[measure]
    kept = [naive.kept(share, {fold}) for fold in range(5)]
    wanted = naive_gain(pairs, watch_pairs, kept, naive.fold_P[group_N], measure)
    assert [each.value for each in found.watched] == pytest.approx(wanted, rel=1e-4)
    assert found.watched_mean.value == pytest.approx(np.mean(wanted), rel=1e-4)


def test_a_prompt_that_the_data_does_not_have_is_in_some_fold(pairs):
    watch_pairs, naive = watch([1000], num_languages=1), Naive(pairs)
    found = option(advised(pairs, watch_pairs), "all", 1.0).gains["budget"].watched[0].value
    kept = [naive.fold_P != fold for fold in range(5)]
    wanted = [naive_gain(pairs, watch_pairs, kept, [fold], "budget")[0] for fold in range(5)]
    assert min(abs(found / each - 1) for each in wanted) < 1e-4


def test_watching_changes_no_other_figure(pairs):
    without = advise(**pairs, consensus=CONSENSUS, settings=SETTINGS)
    found = advised(pairs, watch(range(100, 140)))
    for one in without.options:
        other = option(found, one.ranking, one.share) if one.gains else one
        for measure in one.gains:
            for figure, same in zip(*(astuple(each.gains[measure].mean) for each in (one, other)), strict=True):
                assert figure == pytest.approx(same, rel=1e-9, abs=1e-20)
            assert one.gains[measure].watched_mean is None
            assert len(other.gains[measure].watched) == 2
    assert [(each.code, each.num_pairs, each.num_prompts) for each in found.watched] == [(0, 20, 20), (5, 20, 20)]
    shares = [each.share for each in found.options if each.ranking == "medium-influence" and each.gains]
    assert shares == list(SHARES)


def test_watched_pairs_without_a_gradient_take_no_part(pairs):
    some = watch([3, 9, 12, 20])
    factor_N = torch.cat([some.factor_N, torch.tensor([torch.nan, 0.0])])
    more = WatchedPairs(
        torch.cat([some.sketches, some.sketches[:2]]),
        factor_N,
        torch.cat([some.language_N, torch.tensor([0, 5])]),
        torch.cat([some.group_N, torch.tensor([21, 22])]),
    )
    one, other = (option(advised(pairs, each), "all", 1.0).gains["budget"] for each in (some, more))
    assert [each.value for each in other.watched] == pytest.approx([each.value for each in one.watched])


def test_medium_influence_is_that_of_a_naive_program(pairs):
    group_N = list(range(24))
    watch_pairs, naive = watch(group_N), Naive(pairs)
    gradient_PD = (pairs["sketches"].double() * pairs["factor_N"][:, None]).numpy()
    watched_ND = (watch_pairs.sketches.double() * watch_pairs.factor_N[:, None]).numpy()
    language_N, kept = watch_pairs.language_N.numpy(), []
    for fold in range(5):
        there_N = naive.fold_P != fold  # row i of the watched pairs has the prompt of pair i
        mean_D = np.mean([watched_ND[there_N & (language_N == code)].mean(0) for code in (0, 5)], axis=0)
        influence_P = np.where(naive.fold_P != fold, gradient_PD @ mean_D, np.nan)
        score_P = np.full(24, np.nan)
        for language in range(3):
            own = np.flatnonzero((naive.language_P == language) & (naive.fold_P != fold))
            place = np.array([(influence_P[own] < influence_P[pair]).sum() for pair in own])
            score_P[own] = -np.abs(place / (len(own) - 1) - 0.5)
        kept.append(select(torch.from_numpy(score_P), torch.from_numpy(naive.language_P), keep=0.5).numpy())
    wanted = naive_gain(pairs, watch_pairs, kept, naive.fold_P, "budget")
    found = option(advised(pairs, watch_pairs), "medium-influence", 0.5).gains["budget"]
    assert [each.value for each in found.watched] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_the_sampling_error_of_the_watched_pairs_is_in_their_interval(pairs, shared):
    """One set of pairs, fresh watched ones: figures vary as much as drawing their prompts makes them."""
    few = made(1, num_languages=1, each=400, dims=DIMS, signal=3.0)  # the direction is known well
    settings, value_R, width_R = Settings(num_resamples=200, batch_size=8), [], []
    for seed in range(40):
        group_N = torch.arange(80) // 2 + (0 if shared else 1000)  # two pairs of a prompt, one in each language
        found = advise(
            **few,
            consensus=Consensus(aggregator="mean"),
            settings=settings,
            aggregators=(),
            watch=watch(group_N, seed=seed, signal=0.5),
        )
        mean = found.options[0].gains["equal_length"].watched_mean
        value_R.append(mean.value)
        width_R.append((mean.high - mean.low) / (2 * 1.96))
    assert 0.75 * np.std(value_R) < np.mean(width_R) < 1.4 * np.std(value_R)


def summed(max_pairs):
    where = {"group_P": torch.arange(10), "fold_P": torch.arange(10) % 5, "num_folds": 5}
    return sum_watched(watch(torch.arange(60)), **where, max_pairs=max_pairs, seed=0, scale=1.0)


def test_many_languages_have_fewer_sums(monkeypatch):
    monkeypatch.setattr(watched, "MAX_SUM_BYTES", 4 * DIMS * 5 * 2 * 3)
    sums = summed(99)
    assert sums.mean_KD.shape == (2 * 5 * 3, DIMS)
    assert sums.share_WFS.sum((1, 2)) == pytest.approx([1, 1])


def test_of_many_watched_pairs_a_sample_is_taken():
    sums = summed(20)
    assert [each.num_pairs for each in sums.languages] == [10, 10]
