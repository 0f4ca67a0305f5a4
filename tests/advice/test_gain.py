"""Gains equal those of a naive program that has all inner products; intervals are as wide as the figures vary."""

import numpy as np
import pytest
import torch
from tests.advice.conftest import made

from congrad.advice.advise import advise
from congrad.advice.folds import deal
from congrad.advice.gain import SHARES
from congrad.consensus.surgery import consensus_weights
from congrad.selection.keep import select
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus

CONSENSUS = Consensus(num_orders=4)
SETTINGS = Settings(epochs=2, batch_size=6, num_resamples=20)
TRAINED = {"equal_length": lambda kept, mu2, mean2, total: 1 / np.sqrt(mu2)}
TRAINED["budget"] = lambda kept, mu2, mean2, total: 2 * kept * total / 6 / np.sqrt(mu2 + (mean2 - mu2) / 6)


class Naive:
    """One fold, one share, one pair at a time, from the P x P inner products."""

    def __init__(self, pairs, aggregator="pcgrad"):
        gradient_PD = (pairs["sketches"].double() * pairs["factor_N"][:, None]).numpy()
        self.gram_PP = gradient_PD @ gradient_PD.T
        self.language_P = pairs["language_N"].numpy()
        prompts = torch.unique(pairs["group_N"], return_inverse=True)[1]
        self.fold_P = deal(prompts, SETTINGS.num_folds, SETTINGS.seed, pairs["language_N"]).numpy()
        self.aggregator = aggregator

    def score(self, pair, without):
        """The cosine with the consensus of the pairs that are in none of these folds."""
        rows = []
        for language in np.unique(self.language_P):
            own = (self.language_P == language) & ~np.isin(self.fold_P, list(without))
            rows.append(own / own.sum())
        mean_LP = np.stack(rows)
        weight_L = consensus_weights(
            torch.from_numpy(mean_LP @ self.gram_PP @ mean_LP.T), self.aggregator, num_orders=4
        ).numpy()
        part_P = weight_L @ mean_LP
        length = np.sqrt(part_P @ self.gram_PP @ part_P * self.gram_PP[pair, pair])
        return self.gram_PP[pair] @ part_P / length

    def kept(self, share, left_out):
        score_P = np.full(len(self.fold_P), np.nan)
        for pair in np.flatnonzero(~np.isin(self.fold_P, list(left_out))):
            score_P[pair] = self.score(pair, {*left_out, self.fold_P[pair]})
        return select(torch.from_numpy(score_P), torch.from_numpy(self.language_P), keep=share).numpy()

    def pair_gain(self, pair, kept, measure, left_out):
        mu_P = kept / kept.sum()
        trained = (~np.isin(self.fold_P, list(left_out))).sum()
        size = kept.sum() / trained
        factor = TRAINED[measure](
            size, mu_P @ self.gram_PP @ mu_P, self.gram_PP.diagonal()[kept].mean(), len(self.fold_P)
        )
        return self.gram_PP[pair] @ mu_P * factor

    def gain(self, share_of_fold, measure, outer=()):
        """Mean over languages; and the mean of every language."""
        gain_P = np.full(len(self.fold_P), np.nan)
        for fold in sorted(set(range(SETTINGS.num_folds)) - set(outer)):
            kept = self.kept(share_of_fold[fold], {fold, *outer})
            for pair in np.flatnonzero(self.fold_P == fold):
                gain_P[pair] = self.pair_gain(pair, kept, measure, {fold, *outer})
        by_language = [np.nanmean(gain_P[self.language_P == language]) for language in np.unique(self.language_P)]
        return np.mean(by_language), by_language


@pytest.fixture(scope="module")
def pairs():
    found = made(3, num_languages=3, each=8, dims=30, signal=1.5, flipped=0.2, parallel=False)
    found["factor_N"] = torch.linspace(-2e-6, -5e-6, 24)
    return found


@pytest.fixture(scope="module")
def advice(pairs):
    return advise(**pairs, consensus=CONSENSUS, settings=SETTINGS)


@pytest.mark.parametrize("measure", ["budget", "equal_length"])
@pytest.mark.parametrize(("ranking", "aggregator"), [("congrad", "pcgrad"), ("mean", "mean")])
@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_gains_are_those_of_a_naive_program(pairs, advice, ranking, aggregator, share, measure):
    option = next(each for each in advice.options if (each.ranking, each.share) == (ranking, share))
    mean, by_language = Naive(pairs, aggregator).gain([share] * 5, measure)
    assert option.gains[measure].mean.value == pytest.approx(mean, rel=1e-4)
    assert [each.value for each in option.gains[measure].languages] == pytest.approx(by_language, rel=1e-4)
    assert option.gains[measure].worst.value == pytest.approx(min(by_language), rel=1e-4)


def test_all_pairs_are_the_whole_share(advice):
    everything = advice.options[0]
    assert (everything.ranking, everything.num_pairs) == ("all", 24)
    whole = next(each for each in advice.options if (each.ranking, each.share) == ("random", 1.0))
    assert whole.gains["budget"].mean.value == pytest.approx(everything.gains["budget"].mean.value, rel=1e-5)
    assert whole.gains["budget"].mean.delta_high == pytest.approx(0, abs=1e-4 * everything.gains["budget"].mean.value)


def test_every_share_of_every_ranking_is_there_or_says_what_is_missing(advice):
    by_ranking = {each.ranking: each for each in advice.options}
    assert by_ranking["medium-influence"].missing == "needs pairs to watch: give --watch to congrad filter"
    shares = [each.share for each in advice.options if each.ranking == "congrad"]
    assert shares == list(SHARES)


@pytest.mark.parametrize("measure", ["budget", "equal_length"])
def test_what_is_chosen_without_a_fold_knows_nothing_of_it(pairs, advice, measure, monkeypatch):
    """The inner curves, as the naive program has them; and the procedure's gain, from the shares that they chose."""
    found = advice.chosen[measure]
    naive = Naive(pairs)
    mean, _ = naive.gain(found.share_F, measure)
    assert found.gains.mean.value == pytest.approx(mean, rel=1e-4)


def test_inner_gains_are_those_of_a_naive_program(pairs, monkeypatch):
    from congrad.advice import figures

    curves = []
    real = figures.choose
    monkeypatch.setattr(figures, "choose", lambda gains: curves.append([each.mean for each in gains]) or real(gains))
    advise(**pairs, consensus=CONSENSUS, settings=SETTINGS)
    naive = Naive(pairs)
    for outer in (0, 3):
        for number in (2, 9):
            mean, _ = naive.gain([SHARES[number]] * 5, "budget", outer=(outer,))
            assert curves[1 + outer][number] == pytest.approx(mean, rel=1e-4)


def test_blocks_of_directions_change_nothing(pairs, advice, monkeypatch):
    from congrad.advice import gain

    monkeypatch.setattr(gain, "MAX_DIRECTION_BYTES", 1)
    monkeypatch.setattr(gain, "CHUNK_ELEMENTS", 60)
    again = advise(**pairs, consensus=CONSENSUS, settings=SETTINGS)
    for one, other in zip(advice.options, again.options, strict=True):
        for measure in one.gains:
            assert other.gains[measure].mean.value == pytest.approx(one.gains[measure].mean.value, rel=1e-4)


def test_pairs_without_a_gradient_take_no_part(pairs, advice):
    more = {name: pairs[name] for name in ("sketches", "factor_N", "language_N", "group_N", "length_N")}
    more = {name: torch.cat([torch.as_tensor(value)[:2], torch.as_tensor(value)]) for name, value in more.items()}
    more["factor_N"] = more["factor_N"].clone()
    more["factor_N"][:2] = torch.tensor([0.0, torch.nan])
    more["group_N"] = more["group_N"].clone()
    more["length_N"] = more["length_N"].numpy()
    given = {"random": np.concatenate([[0.1, 0.2], pairs["given"]["random"]])}
    again = advise(**more, given=given, consensus=CONSENSUS, settings=SETTINGS)
    assert again.options == advice.options


@pytest.mark.parametrize("signal", [0.0, 0.6])
def test_intervals_are_as_wide_as_the_figures_vary(signal):
    """Standard errors by the jackknife beside the spread over fresh sets: about right, and never too narrow."""
    value_R, width_R = [], []
    for seed in range(60):
        found = advise(
            **made(seed, num_languages=2, each=30, signal=signal, dims=12),
            consensus=Consensus(aggregator="mean"),
            settings=Settings(num_resamples=100, batch_size=8),
            aggregators=(),
        )
        mean = found.options[0].gains["equal_length"].mean
        value_R.append(mean.value)
        width_R.append((mean.high - mean.low) / (2 * 1.96))
    assert 0.8 * np.std(value_R) < np.mean(width_R) < 2 * np.std(value_R)
