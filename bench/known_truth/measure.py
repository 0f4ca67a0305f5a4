"""What the advice makes of pairs whose conflicts are known, from their sketches alone.

Shapes: P pairs, D dims of a gradient, L languages, F folds, R the whole and without one bucket of prompts each (the
jackknife), E the measures of a gain, O sets of pairs to train on.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from congrad.advice.budget import MEASURES, Budget
from congrad.advice.figures import Estimate as Interval
from congrad.advice.figures import Figures
from congrad.advice.folds import deal
from congrad.advice.gain import SHARES, Reader, follow
from congrad.advice.groups import best_groups, group_gains
from congrad.advice.language_sums import Array, Estimate, LanguageSums, by_language, fold_up, gains, jackknife
from congrad.advice.languages import sums_of
from congrad.advice.measure import Gradients, measure
from congrad.advice.options import OWN, rankings
from congrad.advice.sample import draw
from congrad.consensus.buckets import assign_buckets, sum_buckets
from congrad.consensus.conflict import VERDICTS, compare_languages
from congrad.consensus.score import one_thread_an_operation
from congrad.consensus.surgery import consensus_weights
from congrad.settings.advice import Advice
from congrad.settings.consensus import Consensus

SETTINGS, CONSENSUS = Advice(), Consensus()
BUDGET = Budget(SETTINGS.epochs, SETTINGS.batch_size)
KEPT = (0.3, 0.5, 0.8)  # shares at which the two filters are compared
Figure = dict[str, Any]


@dataclass(frozen=True)
class Pairs:
    """Attributes:
    gradient_PD: of the loss at the start of training (float32), or anything with the same inner products.
    language_P, prompt_P: int64; languages from 0 on, each with a pair.
    comma_L: whether the language writes a decimal comma.
    """

    gradient_PD: Tensor
    language_P: Tensor
    prompt_P: Tensor
    comma_L: Tensor

    def some(self, own_P: Tensor) -> "Pairs":
        """Those pairs alone, and the languages that have one."""
        codes, language_P = torch.unique(self.language_P[own_P], return_inverse=True)
        _, prompt_P = torch.unique(self.prompt_P[own_P], return_inverse=True)
        return Pairs(self.gradient_PD[own_P], language_P, prompt_P, self.comma_L[codes])

    @property
    def num_languages(self) -> int:
        return len(self.comma_L)

    def sums(self) -> LanguageSums:
        drawn = draw(
            self.gradient_PD,
            factor_N=torch.ones(len(self.language_P)),
            language_N=self.language_P,
            group_N=self.prompt_P,
            settings=SETTINGS,
        )
        return sums_of(drawn, SETTINGS)


def turned(sketch_PD: Tensor, factor_P: Tensor) -> Tensor:
    """The gradients factor * sketch in their own span: P numbers each with the same inner products (float32), which are
    far fewer than the sketch's."""
    gram_PP = (sketch_PD.float() @ sketch_PD.float().T).double() * factor_P[:, None] * factor_P
    value_P, vector_PP = torch.linalg.eigh(gram_PP / gram_PP.diagonal().mean())
    return (vector_PP * value_P.clamp(min=0).sqrt()).float()


def conflicts(pairs: Pairs) -> Figure:
    """What the conflict test says of pairs of languages with different signs and with the same sign."""
    every_P, one_P = torch.ones(len(pairs.language_P), dtype=torch.bool), torch.ones(len(pairs.language_P))
    sizes = {"num_languages": pairs.num_languages, "num_dims": pairs.gradient_PD.shape[1]}
    dealt = {"num_folds": CONSENSUS.cross_fit, "seed": CONSENSUS.seed}
    buckets = assign_buckets(pairs.language_P, pairs.prompt_P, every_P, **sizes, **dealt)
    sums = sum_buckets(pairs.gradient_PD, one_P, one_P, buckets)
    gram_BB = sums.sums_BD @ sums.sums_BD.T
    compared = compare_languages(gram_BB, sums.weight_B, buckets.language_B, buckets.unit_B, pairs.num_languages)
    differ_LL = pairs.comma_L[:, None] != pairs.comma_L
    found: Figure = {}
    for name, own_LL in (("different", differ_LL), ("same", ~differ_LL)):
        own_LL = own_LL.triu(1)
        verdicts = compared.verdict_LL[own_LL]
        found[name] = {word: int((verdicts == code).sum()) for code, word in VERDICTS.items()}
        found[name]["effect"] = float(compared.effect_LL[own_LL].nanmean())
    return found


def divisions(pairs: Pairs) -> Figure:
    """By the measure that chooses: two groups, beside together and random groups, and whether they are recommended."""
    found, sums = {}, pairs.sums()
    for chosen_by in MEASURES:
        number = MEASURES.index(chosen_by)
        groups = best_groups(sums, BUDGET, chosen_by, seed=SETTINGS.seed)
        cut = groups.cuts[1]
        found[chosen_by] = {
            "rand_index": adjusted_rand(cut.label_L, pairs.comma_L.numpy()),
            "together": float(groups.cuts[0].gain.value[number]),
            "two": float(cut.gain.value[number]),
            "random": float(cut.random_gain[number]),
            "over_together": with_error(cut.over_together, number),
            "chosen": groups.chosen,
            "chosen_over_together": with_error(groups.chosen_over_together, number),
            "recommended": groups.recommended,
        }
    return found


def by_signs(pairs: Pairs) -> Figure:
    """What languages trained in two groups by their signs gain, by measure."""
    sums = pairs.sums()
    folded, label_FL = fold_up(sums), np.repeat(pairs.comma_L.long().numpy()[None], len(sums.folds), axis=0)
    gain_RE = jackknife(group_gains(folded, label_FL, BUDGET).mean(-1).T)
    return {measured_by: with_error(gain_RE, number) for number, measured_by in enumerate(MEASURES)}


def transfers(pairs: Pairs) -> Figure:
    """What the pairs of one language do for it, for others of its sign and for those of the other sign, by measure."""
    sums = pairs.sums()
    folded, num_languages = fold_up(sums), pairs.num_languages
    alone_FOL = np.repeat(np.eye(num_languages)[None], len(sums.folds), axis=0)
    gain_EROL = gains(folded, alone_FOL, BUDGET).sum(2)
    gain_REOL = (gain_EROL / folded.held_RFL.sum(1)[:, None]).swapaxes(0, 1)
    same_LL, own_LL = (pairs.comma_L[:, None] == pairs.comma_L).numpy(), np.eye(num_languages, dtype=bool)
    blocks = {"itself": own_LL, "same sign": same_LL & ~own_LL, "other sign": ~same_LL}
    return {
        measured_by: {
            name: with_error(jackknife(gain_REOL[:, number][:, block_LL].mean(-1)))
            for name, block_LL in blocks.items()
            if block_LL.any()
        }
        for number, measured_by in enumerate(MEASURES)
    }


def filters(pairs: Pairs) -> Figure:
    """What is gained from the pairs that are kept by the consensus after surgery and by the plain mean of the
    languages, and by how much more, with the interval of the paired difference; by measure and share."""
    num_pairs = len(pairs.language_P)
    one_P = torch.ones(num_pairs)
    with one_thread_an_operation():
        measured = measure(
            Gradients(pairs.gradient_PD, torch.arange(num_pairs), one_P),
            language_P=pairs.language_P,
            prompt_P=pairs.prompt_P,
            fold_P=deal(pairs.prompt_P, SETTINGS.num_folds, SETTINGS.seed, pairs.language_P),
            num_folds=SETTINGS.num_folds,
            consensus=CONSENSUS,
        )
        scorers = {each.name: each.scorer for each in rankings(measured, CONSENSUS, {}, ("mean",)) if each.scorer}
        columns = [OWN, "mean"]
        directions = follow(measured, [(scorers[name], 0) for name in columns])
    found: Figure = {}
    for measured_by in MEASURES:
        reader = Reader(measured, directions, measured_by, BUDGET, num_pairs, scale=1.0)
        everything = reader.gain(0, len(SHARES) - 1)
        figures = Figures(reader, everything, SETTINGS.num_resamples, SETTINGS.seed, np.zeros(num_pairs))
        of_all = figures.of([everything])[0]
        found[measured_by] = {"all": {"mean": of_all.mean.value, "worst": of_all.worst.value}}
        for share in KEPT:
            surgery, mean = (reader.gain(column, SHARES.index(share)) for column in range(len(columns)))
            of_surgery = replace(figures, everything=mean).of([surgery])[0]
            of_mean = figures.of([mean])[0]
            found[measured_by][str(share)] = {
                "mean": compared_with(of_surgery.mean, of_mean.mean),
                "worst": compared_with(of_surgery.worst, of_mean.worst),
            }
    return found


def compared_with(surgery: Interval, mean: Interval) -> Figure:
    ends = surgery.delta_low, surgery.delta_high
    return {"surgery": surgery.value, "mean": mean.value, "difference": surgery.delta, "interval": ends}


def steps(pairs: Pairs) -> Figure:
    """The same of a step along the consensus itself, of all pairs, beside one along the plain mean of the languages."""
    sums = pairs.sums()
    folded = fold_up(sums)
    rests = [sums.without(fold) for fold in sums.folds]
    count_FL = np.stack([rest.count_LC.sum(1) for rest in rests])

    def gain(weight_FL: Array) -> Array:  # (R x E x L)
        weight_FOL = (weight_FL / count_FL)[:, None]
        of_sets: Array = gains(folded, weight_FOL, BUDGET)[:, :, :, 0]
        return by_language(of_sets, folded).swapaxes(0, 1)

    surgery_REL = gain(np.stack([surgery_weights(rest) for rest in rests]))
    mean_REL = gain(np.ones_like(count_FL))
    found: Figure = {}
    for number, measured_by in enumerate(MEASURES):
        found[measured_by] = {}
        for name, summed_up in (("mean", np.mean), ("worst", np.min)):
            surgery_R, mean_R = (summed_up(each[:, number], axis=-1) for each in (surgery_REL, mean_REL))
            difference = jackknife(surgery_R - mean_R)
            found[measured_by][name] = {
                "surgery": float(surgery_R[0]),
                "mean": float(mean_R[0]),
                "difference": float(difference.value),
                "interval": difference.interval.tolist(),
            }
    return found


def surgery_weights(sums: LanguageSums) -> Array:
    """Of the languages' mean gradients in the consensus (L)."""
    count_L = sums.count_LC.sum(1)
    gram_LL = torch.from_numpy(np.einsum("lcmd->lm", sums.gram_LCLC) / (count_L[:, None] * count_L))
    weight_L: Array = consensus_weights(
        gram_LL, CONSENSUS.aggregator, num_orders=CONSENSUS.num_orders, seed=CONSENSUS.seed
    ).numpy()
    return weight_L


def with_error(estimate: Estimate, at: int | None = None) -> Figure:
    value, error = estimate.value, estimate.error
    return {
        "value": float(value if at is None else value[at]),
        "error": float(error if at is None else error[at]),
    }


def adjusted_rand(one_L: npt.ArrayLike, other_L: npt.ArrayLike) -> float:
    """How alike two divisions are: 1 the same, 0 as by chance (Hubert and Arabie 1985, eq. 5). Pairs of members that
    are together in both, beside what is expected where the groups' sizes are given."""
    _, one_L = np.unique(np.asarray(one_L), return_inverse=True)
    _, other_L = np.unique(np.asarray(other_L), return_inverse=True)
    table = np.zeros((one_L.max() + 1, other_L.max() + 1))
    np.add.at(table, (one_L, other_L), 1)

    def pairs_within(counts: npt.NDArray[np.float64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, rows, columns = pairs_within(table), pairs_within(table.sum(1)), pairs_within(table.sum(0))
    expected = rows * columns / pairs_within(table.sum(keepdims=True))
    most = (rows + columns) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)
