"""Ways of pairing the same answers, compared before one of them is trained.

A way w makes a set of pairs S_w; a pair that two ways make is one. Held out is one fold of prompts e at a time, for all
ways at once. mu_we is the mean gradient of the pairs of S_w outside e, and held-out pair j gains <s_j, mu_we> times
what a step is worth for |S_w| pairs (`congrad.advice.budget`).

On which held-out pairs that is read matters: the pairs of "best against worst" differ most, and gain most from whatever
is trained. So every way is read on the same pairs, and on those of every way in turn. A pair that both make, or that
shares an answer with one of the other's, is no closer to either for it, since its prompt is held out for all. Another
way is better only where it is so on the pairs of each, those of the configured way among them: on its own ground a way
has the advantage that it is trained for the kind of pair that is asked for. And only where it is so by both measures: a
way that makes six times the pairs takes six times the steps in an epoch, which more epochs would do as well.

All pairs of every way are trained: what a filter would keep of them is not compared.

Shapes: N pairs of all ways, P of them that are measured, W ways, L languages, F folds, D sketch dims.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from congrad.advice.advise import LEAST_PROMPTS
from congrad.advice.budget import MEASURES, Budget, Floats, Measure
from congrad.advice.figures import Figures, Gains
from congrad.advice.folds import deal
from congrad.advice.gain import Directions, Reader
from congrad.advice.measure import cells, measure
from congrad.advice.sample import draw, usable
from congrad.consensus.buckets import Sketches, sum_buckets
from congrad.consensus.score import one_thread_an_operation, products
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus


@dataclass(frozen=True)
class Pairings:
    """Attributes:
    num_pairs_W: of every way, of all pairs.
    num_prompts: of the measured pairs.
    gains: by measure, of every way, read on the held-out pairs of every way (W x W); differences are from the
        configured way on the same pairs. Empty where there are too few prompts to hold any out.
    better: the ways that are predicted clearly better than the configured one, by both measures and on the pairs of
        every way.
    """

    num_pairs_W: tuple[int, ...]
    num_prompts: int
    gains: Mapping[Measure, tuple[tuple[Gains, ...], ...]]
    better: tuple[int, ...]


def compare_pairings(
    sketches: Sketches,
    *,
    factor_N: Tensor,
    language_N: Tensor,
    group_N: Tensor,
    length_N: Floats,
    member_WN: Tensor,
    configured: int,
    settings: Settings,
) -> Pairings:
    """Predicts the held-out gain of every way.

    Args:
        sketches: of the pairs that any way makes (N x D).
        factor_N, language_N, group_N, length_N: as `advise` takes them.
        member_WN: which pairs every way makes (bool).
        configured: the way that the others are compared with.
    """
    drawn = draw(sketches, factor_N=factor_N, language_N=language_N, group_N=group_N, settings=settings)
    gradients, language_P, prompt_P = drawn.gradients, drawn.language_P, drawn.prompt_P
    num_pairs_W = tuple((member_WN & usable(factor_N)).sum(1).tolist())
    member_WP, num_folds = member_WN[:, drawn.row_P], settings.num_folds
    fold_P = deal(prompt_P, num_folds, settings.seed, language_P)
    if drawn.num_prompts < LEAST_PROMPTS * num_folds or not _has_all_folds(member_WP, fold_P, num_folds):
        return Pairings(num_pairs_W, drawn.num_prompts, {}, ())
    with one_thread_an_operation() as num_threads:
        measured = measure(
            gradients,
            language_P=language_P,
            prompt_P=prompt_P,
            fold_P=fold_P,
            num_folds=num_folds,
            consensus=Consensus(aggregator="mean"),
            num_threads=num_threads,
        )
        buckets = cells(language_P, fold_P, num_folds)
        every_P = torch.ones(drawn.num_pairs, dtype=torch.float64)
        sums_WBD = torch.stack(
            [sum_buckets(gradients, own_P.double(), every_P, buckets, num_threads).sums_BD for own_P in member_WP]
        )
        no_fold_P = torch.zeros_like(fold_P)
        (product_PJ,) = products(gradients, [sums_WBD.flatten(0, 1)[None]], no_fold_P, num_threads, lambda rows: None)
    sum_WFD = sums_WBD.unflatten(1, (-1, num_folds)).sum(1)
    product_PWLF = product_PJ.double().reshape(drawn.num_pairs, len(member_WP), -1, num_folds).numpy()
    directions = _directions(member_WP, fold_P, sum_WFD, product_PWLF.sum(2), measured.norm_P)
    budget = Budget.of(settings)
    ways, length_P = range(len(member_WP)), length_N[drawn.row_P.numpy()]

    def read_on(target: int, by: Measure) -> list[Gains]:
        own_P11 = member_WP[target].numpy()[:, None, None]
        on_own = replace(directions, product_PCK=np.where(own_P11, directions.product_PCK, np.nan))
        sums_of_own = replace(measured, product_PLF=product_PWLF[:, target])
        reader = Reader(sums_of_own, on_own, by, budget, drawn.total_pairs, drawn.scale)
        gains = [reader.gain(way, 0) for way in ways]
        return Figures(reader, gains[configured], settings.num_resamples, settings.seed, length_P).of(gains)

    gains = {by: tuple(zip(*(read_on(target, by) for target in ways), strict=True)) for by in MEASURES}
    better = tuple(
        way
        for way in ways
        if way != configured and all(each.mean.delta_low > 0 for by in MEASURES for each in gains[by][way])
    )
    return Pairings(num_pairs_W, drawn.num_prompts, gains, better)


def _has_all_folds(member_WP: Tensor, fold_P: Tensor, num_folds: int) -> bool:
    """Whether every way has a pair in each."""
    return all(len(fold_P[own_P].unique()) == num_folds for own_P in member_WP)


def _directions(member_WP: Tensor, fold_P: Tensor, sum_WFD: Tensor, product_PWF: Floats, norm_P: Floats) -> Directions:
    """Every way's mean without each fold, from its sums by fold and their products with the pairs; a way is a column
    with a single share."""
    own_FWP = member_WP & (fold_P != torch.arange(sum_WFD.shape[1])[:, None, None])
    count_FW = own_FWP.sum(-1).double().numpy()
    mean_FWD = (sum_WFD.sum(1, keepdim=True) - sum_WFD).swapaxes(0, 1).double() / torch.from_numpy(count_FW)[..., None]
    others_PW = product_PWF.sum(-1) - product_PWF[np.arange(len(fold_P)), :, fold_P.numpy()]
    return Directions(
        band_FCP=(~own_FWP).to(torch.int8).numpy(),
        count_FCK=count_FW[..., None],
        square_FCK=(own_FWP.numpy() @ norm_P**2 / count_FW)[..., None],
        squared_norm_FCK=(mean_FWD**2).sum(-1).numpy()[..., None],
        product_PCK=(others_PW / count_FW[fold_P.numpy()])[..., None],
    )
