"""How much each language counts in the direction: by its pairs, alike, by what its gradient is worth, or as chosen.

A direction is sum_l u_l mu_l with mu_l the mean gradient of language l. Chosen weights look better on the pairs that
chose them than elsewhere. So each kind has two figures: what its choice promises, and what it gains on held-out prompts
when it is made without them.

    pairs         u_l as the language's pairs: the mean over all pairs, which training on them follows
    languages     every language alike
    reliability   as the share of |mu_l|^2 that is not noise (`congrad.consensus.reliability`)
    pooled        every language alike, but those of fewer than `MIN_PAIRS` pairs together as one
    mean, worst   those with the largest gain of all languages on average, and of the one that gains least

Shapes: L languages, F folds, R the whole and without one bucket each, E the measures.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from congrad.advice.budget import MEASURES, Budget, Measure, step_factor
from congrad.advice.groups import cross_fitted
from congrad.advice.language_sums import Array, Estimate, LanguageSums, by_language, fold_up, gains, jackknife
from congrad.consensus.findings import MIN_PAIRS
from congrad.consensus.reliability import reliability

Kind = Literal["pairs", "languages", "reliability", "pooled", "mean", "worst"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STEPS = 300  # of the ascent: within 1% of the best of a fine grid


@dataclass(frozen=True)
class Weighting:
    """Attributes:
    kind: one of `KINDS`.
    weight_L: of the language gradients, from all pairs; they sum to 1.
    promised: the mean gain on the pairs that the weights come from, by both measures (E).
    gain, worst: the mean over languages and the least, on held-out prompts.
    over_pairs: the paired difference of `gain` from the kind `pairs`; `worst_over_pairs` that of `worst`.
    gain_L: by language.
    """

    kind: Kind
    weight_L: Array
    promised: Array
    gain: Estimate
    worst: Estimate
    over_pairs: Estimate
    worst_over_pairs: Estimate
    gain_L: Estimate


def language_reliability(sums: LanguageSums) -> Array:
    """The share of every language's squared mean gradient that is not noise (L)."""
    full_LC = sums.count_LC > 0
    there = np.flatnonzero(full_LC)
    gram_BB = sums.gram_LCLC.reshape(full_LC.size, full_LC.size)[there][:, there]
    language_B, _ = np.nonzero(full_LC)
    weight_B = torch.from_numpy(sums.count_LC[full_LC])
    found_L = reliability(
        torch.from_numpy(gram_BB), weight_B, torch.from_numpy(language_B), num_languages=sums.num_languages
    )
    result: Array = found_L.numpy()
    return result


def weigh(sums: LanguageSums, budget: Budget, chosen_by: Measure = "budget") -> list[Weighting]:
    """Every kind of weights with its figures, in the order of `KINDS`.

    Args:
        chosen_by: the measure that the kinds `mean` and `worst` are chosen by.
    """
    folded = fold_up(sums)
    rests = [sums.without(fold) for fold in sums.folds]
    some_FL = np.maximum([rest.count_LC.sum(1) for rest in rests], 1)
    there_L = sums.count_LC.sum(1) > 0
    mean_RE, worst_RE, found = np.zeros(()), np.zeros(()), []
    for kind in KINDS:
        weight_FL = np.stack([language_weights(rest, kind, budget, chosen_by) for rest in rests]) / some_FL
        gain_REL = by_language(gains(folded, weight_FL[:, None], budget)[:, :, :, 0], folded).swapaxes(0, 1)
        own_mean_RE, own_worst_RE = np.nanmean(gain_REL, axis=-1), np.nanmin(gain_REL, axis=-1)
        if kind == "pairs":
            mean_RE, worst_RE = own_mean_RE, own_worst_RE
        weight_L = language_weights(sums, kind, budget, chosen_by)
        found.append(
            Weighting(
                kind,
                weight_L,
                np.array([_gain_L(sums, weight_L, budget, measure)[there_L].mean() for measure in MEASURES]),
                jackknife(own_mean_RE),
                jackknife(own_worst_RE),
                jackknife(own_mean_RE - mean_RE),
                jackknife(own_worst_RE - worst_RE),
                jackknife(gain_REL),
            )
        )
    return found


def language_weights(sums: LanguageSums, kind: Kind, budget: Budget, chosen_by: Measure = "budget") -> Array:
    """The weight of every language's mean gradient, from all pairs of the sums (L); they sum to 1."""
    count_L = sums.count_LC.sum(1)
    weight_L = count_L
    if kind == "languages":
        weight_L = (count_L > 0).astype(float)
    elif kind == "pooled":
        small_L = count_L < MIN_PAIRS
        weight_L = np.where(small_L, count_L / max(count_L[small_L].sum(), 1), 1.0)
    elif kind == "reliability":
        found_L = language_reliability(sums)
        weight_L = found_L if found_L.any() else count_L
    elif kind in ("mean", "worst"):
        weight_L = _ascend(sums, budget, chosen_by, worst=kind == "worst")
    result: Array = weight_L / weight_L.sum()
    return result


def _gain_L(sums: LanguageSums, weight_L: Array, budget: Budget, measure: Measure) -> Array:
    """What every language gains from a direction on the very pairs it comes from, but for products within a bucket."""
    count_L = np.maximum(sums.count_LC.sum(1), 1)
    lengths = {
        "squared_norm": (weight_L / count_L) @ np.einsum("lcmd->lm", sums.gram_LCLC) @ (weight_L / count_L),
        "mean_square": weight_L @ (sums.energy_LC.sum(1) / count_L),
        "num_pairs": sums.count_LC.sum(),
    }
    result: Array = cross_fitted(sums) @ weight_L * step_factor(measure, budget, **lengths)
    return result


def _ascend(sums: LanguageSums, budget: Budget, measure: Measure, *, worst: bool) -> Array:
    """The weights with the largest gain, on the simplex, by multiplicative steps along the slope.

    A gain is (U u)_l / sqrt(u' H u), H with the batch's noise where the measure has it. The least gain is followed by
    weighing the languages with exp(-gain), ever more sharply.
    """
    count_L = sums.count_LC.sum(1)
    there_L = count_L > 0
    some_L = np.maximum(count_L, 1)
    inner_LL = cross_fitted(sums)
    length_LL = np.einsum("lcmd->lm", sums.gram_LCLC) / (some_L[:, None] * some_L)
    if measure == "budget":
        energy_L = sums.energy_LC.sum(1) / some_L
        length_LL = length_LL + ((energy_L[:, None] + energy_L) / 2 - length_LL) / budget.batch_size
    weight_L: Array = there_L / there_L.sum()
    average_L: Array = np.zeros_like(weight_L)
    for step in range(1, STEPS + 1):
        squared = weight_L @ length_LL @ weight_L
        if squared <= 0:
            break
        gain_L = inner_LL @ weight_L / squared**0.5
        heed_L = there_L / there_L.sum()
        if worst:
            least = gain_L[there_L].min()
            sharpness = step**0.5 * 2 / max(np.abs(gain_L).max(), 1e-300)
            heed_L = np.where(there_L, np.exp(-sharpness * (gain_L - least)), 0.0)
            heed_L /= heed_L.sum()
        slope_L = heed_L @ inner_LL / squared**0.5 - (heed_L @ gain_L) * (length_LL @ weight_L) / squared
        slope_L -= weight_L @ slope_L
        steepest = np.abs(slope_L).max()
        if steepest == 0:
            break
        weight_L = weight_L * np.exp(slope_L / steepest / step**0.5)
        weight_L /= weight_L.sum()
        average_L += weight_L * (step > STEPS / 2)
    return average_L if average_L.any() else weight_L
