"""What the advice knows of the pairs: inner products of every gradient with the sums of each language and fold.

Let s_i be the gradient of pair i and V_lf the sum of those of language l in fold f. Every language gradient without
some folds is a combination of the V_lf, and so is their consensus: the score of any pair, by any aggregator, without
any folds, follows from the products <s_i, V_lf> and the Gramian of the V_lf. So does what a kept pair adds to the
held-out gain of a language. Two passes over the sketches, whatever is asked of them later.

Shapes: P pairs, D sketch dims, L languages, F folds, B = L F sums; of watched pairs W languages, S units of a fold,
K = W F S sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from congrad.consensus.accumulate import ema_weights
from congrad.consensus.buckets import Buckets, Sketches, sum_buckets
from congrad.consensus.score import products
from congrad.consensus.surgery import ROUNDING, consensus_weights
from congrad.settings.consensus import Consensus

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Scorer = Callable[[frozenset[int]], Floats]
"""The score of every pair (P), made without the folds that it is given; of the pairs in these it may be anything."""


class Gradients:
    """Some rows of a sketch matrix, each times its factor: the pairs' gradients (float32)."""

    def __init__(self, sketches: Sketches, row_P: Tensor, factor_P: Tensor) -> None:
        self.sketches, self.row_P, self.factor_P = sketches, row_P, factor_P.float()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.row_P), self.sketches.shape[1]

    def __getitem__(self, rows: slice, /) -> Tensor:
        row_C = self.row_P[rows]
        runs = torch.tensor_split(row_C, torch.nonzero(row_C.diff() != 1).flatten() + 1) if len(row_C) else ()
        parts = [self.sketches[int(run[0]) : int(run[-1]) + 1].float() for run in runs]
        return torch.cat([torch.empty(0, self.shape[1]), *parts]) * self.factor_P[rows, None]


@dataclass(frozen=True)
class Measured:
    """Attributes:
    gradients: s_i, in rows; all are finite and not zero.
    language_P, prompt_P, fold_P: int64, from 0 on; every language and every prompt has a pair.
    norm_P: |s_i|.
    product_PLF: <s_i, V_lf>.
    scorer: for an aggregator, the cosine of s_i with the consensus of the languages, cross-fitted: without the folds
        that are left out and without the pair's own.
    watch_PWFS: <s_i, a cell's part of the mean gradient of a watched language>; no W where nothing is watched.
    share_WFS: the cell's share of the watched language's pairs.
    """

    gradients: Gradients
    language_P: Whole
    prompt_P: Whole
    fold_P: Whole
    num_languages: int
    num_folds: int
    norm_P: Floats
    product_PLF: Floats
    scorer: Callable[[str], Scorer]
    watch_PWFS: Floats
    share_WFS: Floats

    def __len__(self) -> int:
        return len(self.language_P)

    @property
    def num_prompts(self) -> int:
        return int(self.prompt_P.max()) + 1

    @property
    def num_units(self) -> int:
        """That the prompts of watched pairs are dealt to; 0 where nothing is watched."""
        return int(np.prod(self.share_WFS.shape[1:]))


def cells(language_P: Tensor, fold_P: Tensor, num_folds: int) -> Buckets:
    """A bucket for each language and fold, language by language."""
    number_B = torch.arange((int(language_P.max()) + 1) * num_folds)
    fold_B = number_B % num_folds
    return Buckets(language_P * num_folds + fold_P, number_B // num_folds, fold_B, unit_B=fold_B)


def measure(
    gradients: Gradients,
    *,
    language_P: Tensor,
    prompt_P: Tensor,
    fold_P: Tensor,
    num_folds: int,
    consensus: Consensus,
    watch_KD: Tensor | None = None,
    share_WFS: Floats | None = None,
    num_threads: int = 1,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Measured:
    """Passes over all gradients: sums, then products with them. With the EMA, a third for its own sums.

    Args:
        watch_KD, share_WFS: what `watched.sum_watched` finds.
    """
    num_pairs, num_dims = gradients.shape
    num_languages = int(language_P.max()) + 1
    buckets = cells(language_P, fold_P, num_folds)
    language_B, fold_B = buckets.language_B, buckets.fold_B
    every_P = torch.ones(num_pairs, dtype=torch.float64)

    def summed(share_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sums = sum_buckets(gradients, share_P, every_P, buckets, num_threads, on_rows)
        return sums.sums_BD, sums.weight_B, sums.norm_P

    sums_BD, count_B, norm_P = summed(every_P)
    accumulated_BD, weight_B = sums_BD, count_B
    if consensus.accumulate == "ema":
        assert consensus.ema_decay is not None
        assert consensus.ema_batch is not None
        is_pair_P = torch.ones(num_pairs, dtype=torch.bool)
        share_P = ema_weights(language_P, is_pair_P, decay=consensus.ema_decay, batch=consensus.ema_batch)
        accumulated_BD, weight_B, _ = summed(share_P)
    watch_KD = torch.empty(0, num_dims) if watch_KD is None else watch_KD
    share_WFS = np.empty((0, num_folds, 0)) if share_WFS is None else share_WFS
    with_ema = [] if accumulated_BD is sums_BD else [accumulated_BD]
    directions_JD = torch.cat([sums_BD, watch_KD, *with_ema])
    no_fold_P = torch.zeros(num_pairs, dtype=torch.int64)
    (product_PJ,) = products(gradients, [directions_JD[None]], no_fold_P, num_threads, on_rows)
    product_PJ = product_PJ.double()
    num_sums, num_watched = len(sums_BD), len(watch_KD)
    product_PB = product_PJ[:, :num_sums]
    consensus_PB = product_PJ[:, num_sums + num_watched :] if with_ema else product_PB
    gram_BB = (accumulated_BD @ accumulated_BD.T).double()
    total_L = torch.zeros(num_languages, dtype=torch.float64).index_add_(0, language_B, weight_B)

    def scorer(aggregator: str) -> Scorer:
        @cache
        def unit_without(left_out: frozenset[int]) -> Tensor:
            """The consensus as a combination of the sums, of unit length (B); NaN where there is none."""
            kept_B = torch.tensor([int(fold) not in left_out for fold in fold_B])
            kept_LB = (torch.arange(num_languages)[:, None] == language_B) & kept_B
            left_L = (kept_LB * weight_B).sum(1)
            part_LB = kept_LB * torch.where(left_L > 0, total_L / left_L, 0.0)[:, None]
            gram_LL = part_LB @ gram_BB @ part_LB.T
            weight_L = consensus_weights(gram_LL, aggregator, num_orders=consensus.num_orders, seed=consensus.seed)
            part_B = weight_L @ part_LB
            length = (part_B @ gram_BB @ part_B).clamp(min=0).sqrt()
            is_there = length > ROUNDING * (weight_L.abs() @ gram_LL.diagonal().clamp(min=0).sqrt())
            return part_B / length if is_there else torch.full_like(part_B, torch.nan)

        def score(left_out: frozenset[int]) -> Floats:
            score_P = torch.full((num_pairs,), torch.nan, dtype=torch.float64)
            for fold in set(range(num_folds)) - left_out:
                own_P = fold_P == fold
                score_P[own_P] = consensus_PB[own_P] @ unit_without(left_out | {fold}) / norm_P[own_P]
            return score_P.numpy()

        return score

    return Measured(
        gradients=gradients,
        language_P=language_P.numpy(),
        prompt_P=prompt_P.numpy(),
        fold_P=fold_P.numpy(),
        num_languages=num_languages,
        num_folds=num_folds,
        norm_P=norm_P.double().numpy(),
        product_PLF=product_PB.reshape(num_pairs, num_languages, num_folds).numpy(),
        scorer=scorer,
        watch_PWFS=product_PJ[:, num_sums : num_sums + num_watched].reshape(num_pairs, *share_WFS.shape).numpy(),
        share_WFS=share_WFS,
    )
