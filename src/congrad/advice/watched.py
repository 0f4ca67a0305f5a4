"""Pairs that are watched and not trained on: other languages, a general set, labels from another source.

A watched pair is measured as a held-out one is, along the mean of pairs that were kept without the fold of its prompt:
a second label of a prompt never meets the gradient of the first. Prompts that the data does not have are dealt to any
fold. The prompts of a fold are dealt on to a few units; the gradients' sums by language and unit are all that is kept.
A gain is a sum over them, and its sampling error that of units drawn with replacement. Where a prompt is in the data
too, both are drawn as if they had nothing to do with each other.

Shapes: N watched pairs, Q of them that are measured, D sketch dims, P pairs of the data, W watched languages, F folds,
S units of a fold, K = W F S sums.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from congrad.advice.budget import Floats
from congrad.advice.folds import deal, sample
from congrad.advice.measure import Gradients
from congrad.advice.sample import usable
from congrad.consensus.buckets import Buckets, Sketches, sum_buckets

UNITS = 4  # of a fold
MAX_SUM_BYTES = 2**30


@dataclass(frozen=True)
class WatchedPairs:
    """The watched pairs; attributes as the arguments of `advise`, with numbers of prompts that are those of the data's
    where a prompt is in both."""

    sketches: Sketches
    factor_N: Tensor
    language_N: Tensor
    group_N: Tensor


@dataclass(frozen=True)
class WatchedLanguage:
    """A watched language: its code, and how many pairs and prompts are measured."""

    code: int
    num_pairs: int
    num_prompts: int


@dataclass(frozen=True)
class WatchedSums:
    """Attributes:
    mean_KD: the sum of each cell's gradients by the number of its language's pairs (float32).
    share_WFS: the cell's share of its language's pairs.
    languages: W of them.
    """

    mean_KD: Tensor
    share_WFS: Floats
    languages: tuple[WatchedLanguage, ...]


def sum_watched(
    pairs: WatchedPairs,
    *,
    group_P: Tensor,
    fold_P: Tensor,
    num_folds: int,
    max_pairs: int,
    seed: int,
    scale: float,
    num_threads: int = 1,
) -> WatchedSums:
    """One pass over the watched gradients; at least one of them must be there.

    Args:
        group_P, fold_P: the prompts of the data's measured pairs, and their folds.
        max_pairs: of more pairs, a sample is taken.
        scale: that all gradients are divided by.
    """
    row_Q = torch.nonzero(usable(pairs.factor_N)).flatten()
    if len(row_Q) > max_pairs:
        row_Q = row_Q[sample(pairs.group_N[row_Q], max_pairs, seed, pairs.language_N[row_Q])]
    code_W, language_Q = torch.unique(pairs.language_N[row_Q], return_inverse=True)
    group_Q, num_languages, num_dims = pairs.group_N[row_Q], len(code_W), pairs.sketches.shape[1]
    num_units = min(max(MAX_SUM_BYTES // (4 * num_dims * num_folds * num_languages), 1), UNITS)
    unit_Q = deal(group_Q, num_folds * num_units, seed, language_Q)
    group_U, prompt_P = torch.unique(group_P, return_inverse=True)
    fold_U = torch.empty_like(group_U).index_copy_(0, prompt_P, fold_P)
    at_Q = torch.searchsorted(group_U, group_Q).clamp(max=len(group_U) - 1)
    fold_Q = torch.where(group_U[at_Q] == group_Q, fold_U[at_Q], unit_Q % num_folds)
    cell_Q = (language_Q * num_folds + fold_Q) * num_units + unit_Q // num_folds
    cell_K = torch.arange(num_languages * num_folds * num_units)
    language_K, fold_K = cell_K // (num_folds * num_units), cell_K // num_units % num_folds
    buckets = Buckets(cell_Q, language_K, fold_K, cell_K)
    gradients = Gradients(pairs.sketches, row_Q, pairs.factor_N[row_Q].double() / scale)
    every_Q = torch.ones(len(row_Q), dtype=torch.float64)
    sums = sum_buckets(gradients, every_Q, every_Q, buckets, num_threads)
    count_W = torch.bincount(language_Q)
    share_K = sums.weight_B / count_W[language_K]
    return WatchedSums(
        mean_KD=sums.sums_BD / count_W[language_K, None].float(),
        share_WFS=np.reshape(share_K.numpy(), (num_languages, num_folds, num_units)),
        languages=tuple(
            WatchedLanguage(int(code), int(count_W[number]), len(torch.unique(group_Q[language_Q == number])))
            for number, code in enumerate(code_W)
        ),
    )
