"""One streaming pass over the sketches: weighted sums of pair gradients in buckets, which is all the statistics need.

The pairs of a language are dealt at random to up to 64 buckets. All pairs of one prompt share a bucket, and a bucket
lies wholly in one cross-fit fold, so buckets are independent samples of their language's gradient. Where prompts are in
several languages, all languages are dealt alike: a prompt is in the bucket of one number, and in one fold, in each of
them. The buckets' sums give the language gradients with and without a fold, the bootstrap and the test of conflict,
without another pass.

Shapes: P pairs, U prompts (of one language each, where none is in several), D sketch dims, L languages, B buckets (of
all languages), C rows of a chunk.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

MAX_BUCKETS = 64  # of one language
MAX_BUCKETS_IN_ALL = 1280  # the bucket Gramian and the bootstrap then take a second or two, however many languages
MAX_BUCKET_BYTES = 2**30
CHUNK_ELEMENTS = 2**20  # 4 MiB in float32, so that conversion, norms and sums of a chunk stay in the cache
CHUNKS_AT_ONCE = 16  # that may wait in memory until they are added


class Sketches(Protocol):
    """The sketch matrix (P x D, any float type), read by slices of rows. A tensor is one; so is an open index.

    The reader of the slices chooses them, so results do not depend on how an index is cut into shards.
    """

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class Buckets:
    """The bucket of each pair (-1: takes no part), and each bucket's language, fold and unit (int64).

    Buckets of one unit hold the pairs of the same prompts, each in its language; where no prompt is in several
    languages, every bucket is a unit of its own.
    """

    bucket_P: Tensor
    language_B: Tensor
    fold_B: Tensor
    unit_B: Tensor


@dataclass(frozen=True)
class BucketSums:
    """Every bucket's sum of weighted gradients (float32) and of weights (float64); every sketch's norm (float32)."""

    sums_BD: Tensor
    weight_B: Tensor
    norm_P: Tensor


def assign_buckets(
    language_P: Tensor,
    group_P: Tensor,
    usable_P: Tensor,
    *,
    num_languages: int,
    num_dims: int,
    num_folds: int,
    seed: int,
) -> Buckets:
    """Deal the prompts of every language to buckets, at random, and the buckets to one or more folds.

    A language has as many buckets as prompts, up to the bounds above, and a multiple of the folds where there are that
    many. The first bucket of language l is in fold l mod F: languages of one pair each are then not all held out at
    once. Pairs of one number in `group_P` share a bucket in their language, and a unit in all.
    """
    limit = min(MAX_BUCKETS, MAX_BUCKETS_IN_ALL // num_languages, MAX_BUCKET_BYTES // (4 * num_dims * num_languages))
    limit = max(limit, num_folds, 2)
    span = int(group_P.max()) + 1
    unit_U, unit_of_usable = torch.unique(language_P[usable_P] * span + group_P[usable_P], return_inverse=True)
    if len(torch.unique(unit_U % span)) < len(unit_U):
        return _assign_together(language_P, group_P, usable_P, limit, num_languages, num_folds, seed)
    order_U = torch.randperm(len(unit_U), generator=torch.Generator().manual_seed(seed))
    bucket_U = torch.empty_like(unit_U)
    languages: list[int] = []
    folds: list[int] = []
    for language in range(num_languages):
        units = order_U[unit_U[order_U] // span == language]
        size = min(limit, len(units))
        size -= size % num_folds if size > num_folds else 0
        if size:
            bucket_U[units] = len(languages) + torch.arange(len(units)) % size
        languages += [language] * size
        folds += [(language + bucket) % num_folds for bucket in range(size)]
    bucket_P = torch.full_like(language_P, -1)
    bucket_P[usable_P] = bucket_U[unit_of_usable]
    language_B, fold_B = torch.tensor(languages, dtype=torch.int64), torch.tensor(folds, dtype=torch.int64)
    return Buckets(bucket_P, language_B, fold_B, torch.arange(len(language_B)))


def _assign_together(
    language_P: Tensor,
    group_P: Tensor,
    usable_P: Tensor,
    limit: int,
    num_languages: int,
    num_folds: int,
    seed: int,
) -> Buckets:
    """The prompts of all languages dealt to the same units, at random, and the units to the folds. U: prompts.

    Prompts that are in the same languages are dealt one after the other, so that the units hold like numbers of every
    language's prompts. Unit u is in fold u mod F.
    """
    language_Q, (group_U, prompt_Q) = language_P[usable_P], torch.unique(group_P[usable_P], return_inverse=True)
    there_UL = torch.zeros(len(group_U), num_languages, dtype=torch.uint8)
    there_UL[prompt_Q, language_Q] = 1
    _, languages_U = torch.unique(there_UL, dim=0, return_inverse=True)
    order_U = torch.randperm(len(group_U), generator=torch.Generator().manual_seed(seed))
    order_U = order_U[torch.argsort(languages_U[order_U], stable=True)]
    size = min(limit, len(group_U))
    size -= size % num_folds if size > num_folds else 0
    unit_U = torch.empty_like(order_U)
    unit_U[order_U] = torch.arange(len(order_U)) % size
    found_B, bucket_Q = torch.unique(language_Q * size + unit_U[prompt_Q], return_inverse=True)
    bucket_P = torch.full_like(language_P, -1)
    bucket_P[usable_P] = bucket_Q
    unit_B = found_B % size
    return Buckets(bucket_P, found_B // size, unit_B % num_folds, unit_B)


def one_at_a_time(sketches: Sketches) -> Callable[[slice], Tensor]:
    """A reader of the rows for several threads: an open index need not bear two at once."""
    reading = Lock()

    def read(rows: slice) -> Tensor:
        with reading:
            return sketches[rows]

    return read


def sum_buckets(
    sketches: Sketches,
    share_P: Tensor,
    factor_P: Tensor,
    buckets: Buckets,
    num_threads: int = 1,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> BucketSums:
    """Add share * factor * sketch of every pair to its bucket, in input order, in float32. The first pass.

    A sketch that is not finite is left out, which its norm shows. The threads read and scale chunks, while this one
    adds them; they change no sum.
    """
    num_pairs, num_dims = sketches.shape
    num_buckets = len(buckets.language_B)
    sums_BD = torch.zeros(num_buckets, num_dims)
    norm_P = torch.empty(num_pairs)
    product_P = (share_P * factor_P).float()
    rows = max(1, CHUNK_ELEMENTS // num_dims)
    read = one_at_a_time(sketches)

    def scaled(start: int) -> tuple[Tensor, Tensor]:
        chunk = slice(start, min(start + rows, num_pairs))
        sketch_CD = read(chunk).to(torch.float32, copy=True)
        norm_P[chunk] = torch.linalg.vector_norm(sketch_CD, dim=1)
        bucket_C = buckets.bucket_P[chunk]
        taken_C = (bucket_C >= 0) & norm_P[chunk].isfinite()
        sketch_CD.mul_(product_P[chunk, None])
        return (bucket_C, sketch_CD) if taken_C.all() else (bucket_C[taken_C], sketch_CD[taken_C])

    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, num_pairs, rows * CHUNKS_AT_ONCE):
            starts = range(start, min(start + rows * CHUNKS_AT_ONCE, num_pairs), rows)
            for bucket_C, sketch_CD in pool.map(scaled, starts):
                sums_BD.index_add_(0, bucket_C, sketch_CD)
            on_rows(min(start + rows * CHUNKS_AT_ONCE, num_pairs) - start)
    taken_P = (buckets.bucket_P >= 0) & norm_P.isfinite()
    weight_B = torch.zeros(num_buckets, dtype=torch.float64)
    weight_B.index_add_(0, buckets.bucket_P[taken_P], share_P[taken_P].double())
    return BucketSums(sums_BD, weight_B, norm_P)


def language_gradients(sums: BucketSums, language_B: Tensor, kept_B: Tensor, total_L: Tensor) -> Tensor:
    """The gradient of every language (L x D, float64): the weighted mean of its kept pairs times the weight of all of
    them, `total_L`; zero where no bucket is kept.
    """
    kept_LB = (torch.arange(len(total_L))[:, None] == language_B) & kept_B
    weight_L = (kept_LB * sums.weight_B).sum(1)
    scale_L = torch.where(weight_L > 0, total_L / weight_L, 0.0)
    return (kept_LB.float() @ sums.sums_BD).double() * scale_L[:, None]
