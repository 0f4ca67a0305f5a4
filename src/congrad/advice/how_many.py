"""What more pairs would gain, of all languages or of one: the predicted gain against the number of pairs.

Nothing is drawn. With U the languages' inner products without noise, N the noise in the inner products of their sums,
n_l pairs of each and n of all, the mean gradient mu has on average <mu_l, mu> = sum_m n_m U_lm / n and
|mu|^2 = (sum_lm n_l n_m U_lm + sum_lm N_lm) / n^2. With t_l times the pairs, n_l is t_l times as large, and N_lm
min(t_l, t_m) times: it is the noise of the prompts that the two share, and of all where they are one language. The gain
follows from these and n (`congrad.advice.budget`). The errors are those of leaving out prompts, in U and N alike.

It takes for granted that further pairs are like those that are there, that the average of a ratio is the ratio of the
averages, and, as all of the advice, the first order: that the gains of steps add up without end. Far beyond the number
of pairs that are there it is a direction and no figure.

Shapes: L languages, C buckets of prompts, X numbers of pairs, R the whole and without one bucket each, E the measures.
"""

from dataclasses import dataclass

import numpy as np

from congrad.advice.budget import MEASURES, Budget, step_factor
from congrad.advice.language_sums import CLEAR, Array, Estimate, LanguageSums, jackknife

TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Curve:
    """Predicted gains where the pairs of all languages, or of one, are so many times as many (X).

    Attributes:
        num_pairs_X: that are then trained on, of all languages together.
        gain_EX: the mean over languages, by both measures (E).
        own_EX: that of the language itself; of all of them the same as `gain_EX`.
        over_now_EX: the paired difference of `gain_EX` from the pairs that are there.
    """

    num_pairs_X: Array
    gain_EX: Estimate
    own_EX: Estimate
    over_now_EX: Estimate


@dataclass(frozen=True)
class HowMany:
    """Attributes:
    times_X: how many times as many pairs as there are.
    together: where all languages have so many times as many.
    languages: where one language has, and the others stay.
    """

    times_X: Array
    together: Curve
    languages: list[Curve]


def how_many(
    sums: LanguageSums, budget: Budget, times: tuple[float, ...] = TIMES, *, pairs_of_each: float = 1.0
) -> HowMany:
    """What more or fewer pairs would gain, of all languages and of each.

    Args:
        times: how many times as many pairs; 1 is put in where it is missing.
        pairs_of_each: how many pairs a measured one stands for, where they are a sample.
    """
    times_X = np.unique([*times, 1.0])
    num_languages = sums.num_languages
    every_OL = np.concatenate([np.ones((1, num_languages)), np.eye(num_languages)]) > 0
    times_OXL = np.where(every_OL[:, None], times_X[:, None], 1.0)
    gain_ROXEL, num_pairs_OX = _expected(sums, budget, times_OXL)
    there_L = sums.count_LC.sum(1) > 0
    mean_ROXE = gain_ROXEL[..., there_L].mean(-1)
    now = int(np.flatnonzero(times_X == 1)[0])

    def curve(number: int, own_RXE: Array) -> Curve:
        mean_RXE = mean_ROXE[:, number]
        return Curve(
            num_pairs_OX[number] * pairs_of_each,
            jackknife(mean_RXE.swapaxes(1, 2)),
            jackknife(own_RXE.swapaxes(1, 2)),
            jackknife((mean_RXE - mean_RXE[:, [now]]).swapaxes(1, 2)),
        )

    languages = [curve(1 + number, gain_ROXEL[:, 1 + number, ..., number]) for number in range(num_languages)]
    return HowMany(times_X, curve(0, mean_ROXE[:, 0]), languages)


def times_to_tell(difference: Estimate) -> Array:
    """How many times as many prompts it would take for a difference of this size to stand clear of its error, which
    falls with the root of their number; below 1 where it does already, infinite where there is no difference."""
    size = np.abs(difference.value)
    ratio: Array = CLEAR * difference.error / np.where(size > 0, size, 1.0)
    return np.where(size > 0, ratio**2, np.inf)


def _expected(sums: LanguageSums, budget: Budget, times_OXL: Array) -> tuple[Array, Array]:
    """The expected gain of every language (R x O x X x E x L), and the number of pairs (O x X)."""
    count_RL, inner_RLL, noise_RLL, energy_RL = _moments(sums)
    count_ROXL = count_RL[:, None, None] * times_OXL
    num_pairs_ROX = count_ROXL.sum(-1)
    share_ROXL = count_ROXL / num_pairs_ROX[..., None]
    gain_ROXL = np.einsum("rlm,roxm->roxl", inner_RLL, share_ROXL)
    signal_ROX = np.einsum("roxl,roxl->rox", share_ROXL, gain_ROXL)
    shared_OXLL = np.minimum(times_OXL[..., :, None], times_OXL[..., None, :])
    noise_ROX = np.einsum("oxlm,rlm->rox", shared_OXLL, noise_RLL) / num_pairs_ROX**2
    lengths = {
        "squared_norm": signal_ROX.clip(min=0) + noise_ROX.clip(min=0),
        "mean_square": np.einsum("roxl,rl->rox", share_ROXL, energy_RL),
        "num_pairs": num_pairs_ROX,
    }
    factors = [step_factor(measure, budget, **lengths) for measure in MEASURES]
    return np.stack([gain_ROXL * factor_ROX[..., None] for factor_ROX in factors], axis=3), num_pairs_ROX[0]


def _moments(sums: LanguageSums) -> tuple[Array, Array, Array, Array]:
    """Pairs of every language (R x L), U and N (R x L x L), and the mean squared length of a pair (R x L)."""
    count_LC = sums.count_LC
    product_RLL = _without_each(sums.gram_LCLC)
    count_RL, energy_RL = _less_each(count_LC.T), _less_each(sums.energy_LC.T)
    same_RLL = _less_each(np.einsum("lcmc->clm", sums.gram_LCLC))
    same_pairs_RLL = _less_each(np.einsum("lc,mc->clm", count_LC, count_LC))
    different_RLL = count_RL[:, :, None] * count_RL[:, None] - same_pairs_RLL
    inner_RLL = np.where(different_RLL > 0, (product_RLL - same_RLL) / different_RLL.clip(min=1), 0.0)
    return count_RL, inner_RLL, same_RLL - same_pairs_RLL * inner_RLL, energy_RL / count_RL.clip(min=1)


def _less_each(value_C: Array) -> Array:
    """The sum over buckets, and the same without one bucket after another (first axis)."""
    sums_R: Array = np.concatenate([value_C.sum(0)[None], value_C.sum(0) - value_C])
    return sums_R


def _without_each(gram_LCLC: Array) -> Array:
    """Inner products of the languages' sums, as a whole and without one bucket after another (R x L x L)."""
    product_LL = np.einsum("lcmd->lm", gram_LCLC)
    beside_CLL = np.einsum("lcmd->clm", gram_LCLC)
    own_CLL = np.einsum("lcmc->clm", gram_LCLC)
    return np.concatenate([product_LL[None], product_LL - beside_CLL - beside_CLL.swapaxes(1, 2) + own_CLL])
