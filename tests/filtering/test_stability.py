"""Stability of the ranking over halves of the prompts: by hand, where there is something to agree on and where not."""

from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from congrad.consensus.score import score_pairs
from congrad.filtering.stability import ranking_stability, stability_in_words
from congrad.settings.consensus import Consensus
from congrad.settings.selection import Selection


def scored(half_score_P2, languages, unscored=0):
    names = sorted(set(languages))
    rows = pa.table({"language": [*languages, *[names[0]] * unscored]})
    detail = SimpleNamespace(half_score_P2=torch.tensor(half_score_P2, dtype=torch.float32))
    language_N = torch.tensor([names.index(name) for name in rows["language"].to_pylist()])
    position_P = torch.arange(len(languages))
    return SimpleNamespace(rows=rows, detail=detail, languages=names, language_N=language_N, position_P=position_P)


def test_by_hand():
    # de: ranks 1 2 3 4 and 2 1 4 3, so r = 1 - 6 * 4 / (4 * 15) = 0.6; en: the same order, r = 1
    halves = [[0.1, 0.2], [0.2, 0.1], [0.3, 0.4], [0.4, 0.3], [0.9, 0.5], [0.8, 0.4], [0.7, 0.3], [0.6, 0.2]]
    found = ranking_stability(scored(halves, ["de"] * 4 + ["en"] * 4, unscored=1), Selection(keep=0.25))
    assert found == {
        "pairs": 8,
        "half_spearman": 0.8,
        "estimated_spearman": pytest.approx((2 * 0.8 / 1.8) ** 0.5, abs=1e-4),
        "kept_by_both": 0.5,  # of de one half keeps the fourth, the other the third; both keep the first of en
        "kept_by_chance": 0.25,
    }
    assert stability_in_words(found) == (
        "stability: two halves of the prompts rank the pairs with a Spearman of 0.80 and keep 50% of the same pairs "
        "(25% by chance); all prompts together would rank like endlessly many of them with about 0.94"
    )


def test_nothing_is_known_of_few_pairs_or_without_folds():
    few = ranking_stability(scored([[0.1, 0.2]] * 7, ["de"] * 7), Selection())
    assert set(few.values()) == {0, None}
    assert stability_in_words(few) == ""
    nan = float("nan")
    assert ranking_stability(scored([[nan, nan]] * 9, ["de"] * 9), Selection())["half_spearman"] is None


def halves_of(signal, within=0.0, seed=0, cross_fit=5):
    generator = torch.Generator().manual_seed(seed)
    sketches = torch.randn(4, 100, 50, generator=generator) + within * torch.randn(100, 50, generator=generator)
    sketches[..., 0] += signal
    return score_pairs(
        sketches.flatten(0, 1),
        scale_P=torch.ones(400),
        weight_P=-torch.ones(400),
        language_P=torch.arange(4).repeat_interleave(100),
        num_languages=4,
        group_P=torch.arange(100).repeat(4) if within else None,
        consensus=Consensus(num_orders=8, num_resamples=1, seed=seed, cross_fit=cross_fit),
    )


@pytest.mark.parametrize("within", [0.0, 0.8])
def test_halves_agree_where_there_is_a_direction_and_not_on_noise(within):
    """On noise whose translations correlate, halves that shared prompts would seem to agree."""
    clear = torch.corrcoef(halves_of(1.0, within).half_score_P2.T)[0, 1]
    noise = [torch.corrcoef(halves_of(0.0, within, seed).half_score_P2.T)[0, 1].item() for seed in range(20)]
    assert clear > 0.35
    assert abs(sum(noise) / 20) < 0.1


def test_without_folds_there_are_no_halves():
    assert halves_of(1.0, cross_fit=0).half_score_P2.isnan().all()
