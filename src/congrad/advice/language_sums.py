"""All that the advice on languages needs of the pairs: inner products of sums of gradients by language and bucket.

One pass over the sketches. The prompts are dealt to buckets, in all languages at once, and every bucket lies in one
fold; what is trained on is a sum over buckets without a fold, and what it is read on are the buckets of that fold. So
every predicted gain follows from the Gramian of the sums, and so does its error, by leaving out one bucket of prompts
after another, in the training pairs and in the held-out ones alike (the jackknife). A bootstrap would draw some buckets
twice, and the product of the two copies holds noise that no two prompts share.

What a held-out pair gains from the mean gradient of a set of pairs is what `congrad.advice.budget` says, of the first
order, at frozen weights, by both measures.

Shapes: P pairs, D sketch dims, L languages, C buckets of prompts, F folds, O sets of pairs to train on, E the measures
(`MEASURES`), R the whole and then the same without one bucket after another (1 + C).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from congrad.advice.budget import MEASURES, Budget, step_factor
from congrad.consensus.buckets import (
    MAX_BUCKET_BYTES,
    MAX_BUCKETS,
    MAX_BUCKETS_IN_ALL,
    Buckets,
    Sketches,
    sum_buckets,
)

Array = npt.NDArray[Any]
CLEAR = 2.0  # standard errors


@dataclass(frozen=True)
class LanguageSums:
    """Attributes:
    gram_LCLC: inner products of the sums of pair gradients of (language, bucket) (float64).
    count_LC: pairs in them.
    energy_LC: the pairs' squared lengths, summed.
    fold_C: the fold of every bucket.
    """

    gram_LCLC: Array
    count_LC: Array
    energy_LC: Array
    fold_C: Array

    @property
    def num_languages(self) -> int:
        return len(self.count_LC)

    @property
    def folds(self) -> Array:
        return np.unique(self.fold_C)

    def without(self, fold: int) -> "LanguageSums":
        """The same without a fold."""
        rest = np.flatnonzero(self.fold_C != fold)
        gram_LCLC = self.gram_LCLC[:, rest][:, :, :, rest]
        return LanguageSums(gram_LCLC, self.count_LC[:, rest], self.energy_LC[:, rest], self.fold_C[rest])


@dataclass(frozen=True)
class Estimate:
    """A figure, or an array of them, with its standard error. NaN where there is nothing to say.

    Attributes:
        num_buckets: of prompts, which are the independent evidence.
    """

    value: Array
    error: Array
    num_buckets: int

    @property
    def interval(self) -> Array:
        """95%, with Student's quantile (Cornish and Fisher's series); the last axis holds the two ends."""
        degrees, z = max(self.num_buckets - 1, 1), 1.959964
        t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        return np.stack([self.value - t * self.error, self.value + t * self.error], axis=-1)

    @property
    def is_clear(self) -> Array:
        """Above 0 by more than two standard errors."""
        clear: Array = self.value > np.where(np.isfinite(self.error), CLEAR * self.error, np.inf)
        return clear


def jackknife(value_R: Array) -> Estimate:
    """The figure and its standard error from the whole and from what leaves out one bucket each (first axis)."""
    without_C = value_R[1:]
    num_buckets = len(without_C)
    spread = ((without_C - without_C.mean(0)) ** 2).sum(0)
    return Estimate(value_R[0], np.sqrt((num_buckets - 1) / num_buckets * spread), num_buckets)


def sum_languages(
    sketches: Sketches,
    *,
    factor_P: Tensor,
    language_P: Tensor,
    group_P: Tensor,
    fold_P: Tensor,
    num_languages: int,
    seed: int = 0,
    num_threads: int = 1,
) -> LanguageSums:
    """Adds the gradients by language and bucket, in one pass; memory is that of the sums, 1 GiB at the very most.

    Args:
        sketches: stored sketch of pair i in row i (P x D, any float type).
        factor_P: what the sketch is multiplied by to be the gradient of the pair's loss (any sign convention, the same
            for all pairs: only products of two gradients are used). Where it is 0 or not finite, the pair has no
            gradient and takes no part.
        group_P: the same number for the pairs of one prompt, in all languages.
        fold_P: the fold of every pair, the same for all pairs of a group.
    """
    num_dims = sketches.shape[1]
    factor_P = factor_P.double()
    known_P = factor_P.isfinite() & (factor_P != 0)
    limit = min(MAX_BUCKETS, MAX_BUCKETS_IN_ALL // num_languages, MAX_BUCKET_BYTES // (4 * num_dims * num_languages))
    bucket_P, fold_C = _deal(language_P, group_P, fold_P, known_P, limit, seed)
    num_buckets = len(fold_C)
    place_P = torch.where(known_P, language_P.long() * num_buckets + bucket_P, -1)
    language_B = torch.arange(num_languages).repeat_interleave(num_buckets)
    fold_B, unit_B = torch.from_numpy(fold_C).repeat(num_languages), torch.arange(num_buckets).repeat(num_languages)
    buckets = Buckets(place_P, language_B, fold_B, unit_B)
    # Scaled alike, so that float32 is kept clear of both its ends, and scaled back in float64.
    largest = factor_P.where(known_P, 0.0).abs().max().clamp(min=1e-300)
    share_P = torch.ones_like(factor_P)
    sums = sum_buckets(sketches, share_P, factor_P / largest, buckets, num_threads)
    taken_P = known_P & sums.norm_P.isfinite()
    squared_P = (factor_P * sums.norm_P.double()) ** 2
    energy_B = torch.zeros(len(language_B), dtype=torch.float64)
    energy_B.index_add_(0, place_P[taken_P], squared_P[taken_P])
    shape = num_languages, num_buckets
    gram_BB = (sums.sums_BD @ sums.sums_BD.T).double() * largest**2
    return LanguageSums(
        gram_BB.numpy().reshape(*shape, *shape),
        sums.weight_B.numpy().reshape(shape),
        energy_B.numpy().reshape(shape),
        fold_C,
    )


def _deal(
    language_P: Tensor, group_P: Tensor, fold_P: Tensor, known_P: Tensor, limit: int, seed: int
) -> tuple[Tensor, Array]:
    """The bucket of every pair (-1: takes no part) and the fold of every bucket.

    The prompts of a fold are dealt at random, those that begin in the same language one after the other, so that
    every language lies in as many buckets as it can.
    """
    group_U, first_U, unit_P = np.unique(group_P[known_P].numpy(), return_index=True, return_inverse=True)
    fold_U = fold_P[known_P].numpy()[first_U]
    language_U = np.full(len(group_U), np.iinfo(np.int64).max)
    np.minimum.at(language_U, unit_P, language_P[known_P].numpy())
    random_U = torch.rand(len(group_U), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    order_U = np.lexsort((random_U, language_U, fold_U))
    folds, start_F, size_F = np.unique(fold_U[order_U], return_index=True, return_counts=True)
    buckets_F = np.minimum(size_F, max(limit // len(folds), 1))
    rank_U = np.empty_like(order_U)
    rank_U[order_U] = np.arange(len(order_U)) - np.repeat(start_F, size_F)
    of_U = np.searchsorted(folds, fold_U)
    bucket_U = (np.cumsum(buckets_F) - buckets_F)[of_U] + rank_U % buckets_F[of_U]
    bucket_P = torch.full_like(group_P, -1)
    bucket_P[known_P] = torch.from_numpy(bucket_U[unit_P])
    return bucket_P, np.repeat(folds, buckets_F)


@dataclass(frozen=True)
class Folded:
    """Of every fold: what is held out in it, and what is left to train on; as a whole, and without one bucket each.

    Attributes:
        inner_RFLL: inner product of the held-out sum of the first language with the training sum of the second.
        train_RFLL: inner products of the training sums.
        held_RFL, count_RFL: pairs held out, and to train on.
        energy_RFL: squared lengths of the pairs to train on, summed.
    """

    inner_RFLL: Array
    train_RFLL: Array
    held_RFL: Array
    count_RFL: Array
    energy_RFL: Array


def fold_up(sums: LanguageSums, folds: Array | None = None, *, with_error: bool = True) -> Folded:
    """Cuts the sums into held-out and training pairs of each fold.

    Args:
        folds: those to hold out, one after the other; None for all.
        with_error: False for the whole alone (R is 1).
    """
    num_buckets = len(sums.fold_C)
    weight_RC = np.ones((1, num_buckets))
    if with_error:
        weight_RC = np.concatenate([weight_RC, 1 - np.eye(num_buckets)])
    held_FC = (sums.folds if folds is None else folds)[:, None] == sums.fold_C
    held_RFC, rest_RFC = weight_RC[:, None] * held_FC, weight_RC[:, None] * ~held_FC
    half_RFLCL = np.einsum("rfd,lcmd->rflcm", rest_RFC, sums.gram_LCLC, optimize=True)
    return Folded(
        np.einsum("rfc,rflcm->rflm", held_RFC, half_RFLCL, optimize=True),
        np.einsum("rfc,rflcm->rflm", rest_RFC, half_RFLCL, optimize=True),
        held_RFC @ sums.count_LC.T,
        rest_RFC @ sums.count_LC.T,
        rest_RFC @ sums.energy_LC.T,
    )


def gains(folded: Folded, weight_FOL: Array, budget: Budget) -> Array:
    """What training on each set of pairs gains for the held-out pairs of every language, summed (E x R x F x O x L).

    Args:
        weight_FOL: the weight of the pairs of every language in every set (0: not in it). Weights of one set count
            relative to each other: they do not change how many steps an epoch has.
    """
    num_RFO = np.einsum("rfm,fom->rfo", folded.count_RFL, weight_FOL)
    in_set_FOL = (weight_FOL > 0).astype(float)
    pairs_RFO = np.einsum("rfm,fom->rfo", folded.count_RFL + folded.held_RFL, in_set_FOL)
    some_RFO = np.where(num_RFO > 0, num_RFO, 1.0)
    inner_RFOL = weight_FOL @ folded.inner_RFLL.swapaxes(2, 3) / some_RFO[..., None]
    squared_RFO = (weight_FOL @ folded.train_RFLL * weight_FOL).sum(-1) / some_RFO**2
    energy_RFO = np.einsum("rfm,fom->rfo", folded.energy_RFL, weight_FOL) / some_RFO
    lengths = {"squared_norm": squared_RFO, "mean_square": energy_RFO, "num_pairs": pairs_RFO}
    return np.stack([inner_RFOL * step_factor(measure, budget, **lengths)[..., None] for measure in MEASURES])


def by_language(gain_ERFL: Array, folded: Folded) -> Array:
    """The mean over the held-out pairs of every language, all folds together (E x R x L); NaN where there is none."""
    held_RL = folded.held_RFL.sum(1)
    mean_ERL: Array = gain_ERFL.sum(2) / np.where(held_RL > 0, held_RL, np.nan)
    return mean_ERL
