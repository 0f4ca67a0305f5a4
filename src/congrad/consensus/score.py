"""The score of a pair: the cosine of its gradient with the direction the languages agree on, found without its help.

A pair's own gradient is part of its language's mean and, through it, of the consensus: scored against that, every pair
looks aligned. So the pairs are cut into folds, and each fold is scored against the consensus of the others' gradients:
surgery on the language gradients without the fold. So does a pair whose prompt, translated, is in another language's
mean: a prompt is in one fold in all languages. Two passes over the sketches: bucket sums, then cosines.

Shapes: P pairs, D sketch dims, L languages, B buckets, F folds, J directions of a fold, C rows of a chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from congrad.consensus.accumulate import ema_weights, mean_weights
from congrad.consensus.buckets import (
    Buckets,
    BucketSums,
    Sketches,
    assign_buckets,
    language_gradients,
    one_at_a_time,
    sum_buckets,
)
from congrad.consensus.languages import Agreement, agreement
from congrad.consensus.reliability import reliability
from congrad.consensus.surgery import ROUNDING, consensus_weights, cosines_after_surgery
from congrad.errors import UserError
from congrad.settings.consensus import Consensus

NON_FINITE = "non-finite gradient"
ZERO_GRADIENT = "zero gradient under this loss"
NO_CONSENSUS = "the languages have no common direction"

HALF_ORDERS = 16  # of the consensus of half of the prompts, which no pair is kept by
CHUNK_ELEMENTS = 2**22  # 16 MiB in float32: enough rows of each fold for a matrix product, little enough for the cache


@dataclass(frozen=True)
class Scores:
    """Attributes:
    score_P: alignment, cos(g_i, consensus without the pair's fold) (float32); NaN where there is none.
    cosine_PL: cos(g_i, G_l without the pair's fold) (float32); NaN where either is zero.
    reason_P: why a pair has no score, "" where it has one.
    num_pairs_L: pairs that took part.
    agreement: cosines between the languages, of all pairs.
    weight_L: weights of the languages in the consensus of all pairs (float64).
    after_surgery_LL: cosines between the de-conflicted language gradients (float64), see `cosines_after_surgery`.
    half_score_P2: the score against the consensus of either half of the prompts outside the pair's fold (float32): how
        far it depends on which prompts there were. NaN without folds.
    """

    score_P: Tensor
    cosine_PL: Tensor
    reason_P: list[str]
    num_pairs_L: Tensor
    agreement: Agreement
    weight_L: Tensor
    after_surgery_LL: Tensor
    half_score_P2: Tensor


def score_pairs(
    sketches: Sketches,
    *,
    scale_P: Tensor,
    weight_P: Tensor,
    language_P: Tensor,
    num_languages: int,
    group_P: Tensor | None = None,
    consensus: Consensus | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Score every pair against the consensus of the languages.

    Deterministic on the CPU: the same input and seed give the same bytes. Memory is bounded whatever the number of
    pairs: 1 GiB of bucket sums at the very most, and per-pair vectors.

    Args:
        sketches: stored sketch s_i of pair i in row i (P x D, any float type).
        scale_P: r_i; the sketch of the pair's unscaled difference is r_i s_i.
        weight_P: c_i of `loss.pair_weights`; the pair's gradient is c_i times that difference.
        language_P: the pair's language, 0 to num_languages - 1.
        group_P: the same number for the pairs of one prompt, in whatever language, which then share a fold; None if all
            prompts differ.
        consensus: None for the defaults.
        on_progress: called with how many pairs are done, and of how many; a pair counts half after the first pass.

    Raises:
        UserError: there is no pair.
    """
    num_pairs, num_dims = sketches.shape
    if num_pairs == 0:
        raise UserError("there is no pair to score")
    language_P = language_P.long()
    group_P = torch.arange(num_pairs) if group_P is None else group_P.long()
    assert len(scale_P) == len(weight_P) == len(language_P) == len(group_P) == num_pairs
    assert int(language_P.min()) >= 0
    assert int(language_P.max()) < num_languages
    factor_P = weight_P.double() * scale_P.double()
    settings = consensus or Consensus()
    known_P = factor_P.isfinite()
    read = 0

    def on_rows(rows: int) -> None:
        nonlocal read
        read += rows
        on_progress(read // 2, num_pairs)

    with one_thread_an_operation() as num_threads:
        share_P = _shares(settings, language_P, known_P)
        total_L = torch.zeros(num_languages, dtype=torch.float64).index_add_(0, language_P, share_P)
        sizes = {"num_languages": num_languages, "num_dims": num_dims, "num_folds": max(settings.cross_fit, 1)}
        buckets = assign_buckets(language_P, group_P, known_P, **sizes, seed=settings.seed)
        # Scaling all gradients alike changes no result, and keeps float32 clear of both its ends.
        largest = factor_P.where(known_P, 0.0).abs().max()
        sums = sum_buckets(sketches, share_P, factor_P / largest.where(largest > 0, 1.0), buckets, num_threads, on_rows)
        every_B = torch.ones_like(buckets.fold_B, dtype=torch.bool)
        kept_FB = [buckets.fold_B != fold for fold in range(settings.cross_fit)] or [every_B]

        def directions(kept_B: Tensor, settings: Consensus) -> Tensor:
            gradient_LD = language_gradients(sums, buckets.language_B, kept_B, total_L)
            return _directions(gradient_LD, _shrinkage(settings, sums, buckets, kept_B, num_languages), settings)

        directions_FJD = torch.stack([directions(kept_B, settings) for kept_B in kept_FB])
        fewer = replace(settings, num_orders=min(settings.num_orders, HALF_ORDERS))
        halves_FHD = torch.stack(
            [torch.stack([directions(half_B, fewer)[-1] for half_B in _halves(buckets, kept_B)]) for kept_B in kept_FB]
        )
        fold_P = torch.cat([buckets.fold_B, torch.zeros(1, dtype=torch.int64)])[buckets.bucket_P]  # bucket -1: fold 0
        product_PJ, half_P2 = products(sketches, (directions_FJD, halves_FHD), fold_P, num_threads, on_rows)

        finite_P = known_P & sums.norm_P.isfinite()
        zero_P = finite_P & ((factor_P == 0) | (sums.norm_P == 0))
        turned_P = (factor_P.sign().float() / sums.norm_P).where(finite_P & ~zero_P, torch.nan)
        cosine_PJ = product_PJ * turned_P[:, None]
        half_P2 *= turned_P.where(torch.tensor(settings.cross_fit > 0), torch.nan)[:, None]
        shrinkage_L = _shrinkage(settings, sums, buckets, every_B, num_languages)
        gradient_LD = language_gradients(sums, buckets.language_B, every_B, total_L) * shrinkage_L[:, None]
        gram_LL = gradient_LD @ gradient_LD.T
        gram_BB = sums.sums_BD @ sums.sums_BD.T
        reason_P = [""] * num_pairs
        score_P = cosine_PJ[:, -1].contiguous()
        for mask_P, reason in ((score_P.isnan(), NO_CONSENSUS), (zero_P, ZERO_GRADIENT), (~finite_P, NON_FINITE)):
            for row in torch.nonzero(mask_P).flatten().tolist():
                reason_P[row] = reason
        return Scores(
            score_P=score_P,
            cosine_PL=cosine_PJ[:, :-1].contiguous(),
            reason_P=reason_P,
            num_pairs_L=torch.bincount(language_P[finite_P & ~zero_P], minlength=num_languages),
            agreement=agreement(
                gram_BB,
                sums.weight_B,
                buckets.language_B,
                buckets.unit_B,
                num_languages=num_languages,
                num_resamples=settings.num_resamples,
                seed=settings.seed,
            ),
            weight_L=consensus_weights(gram_LL, **_surgery(settings)) * shrinkage_L,
            after_surgery_LL=cosines_after_surgery(gram_LL, **_surgery(settings)),
            half_score_P2=half_P2,
        )


def _surgery(settings: Consensus) -> dict[str, Any]:
    return {"aggregator": settings.aggregator, "num_orders": settings.num_orders, "seed": settings.seed}


def _shares(settings: Consensus, language_P: Tensor, known_P: Tensor) -> Tensor:
    if settings.accumulate == "mean":
        return mean_weights(language_P, known_P)
    assert settings.ema_decay is not None
    assert settings.ema_batch is not None
    return ema_weights(language_P, known_P, decay=settings.ema_decay, batch=settings.ema_batch)


def _shrinkage(settings: Consensus, sums: BucketSums, buckets: Buckets, kept_B: Tensor, num_languages: int) -> Tensor:
    """What every language's gradient of the kept buckets is multiplied with (L, float64): its reliability, where that
    is asked for and tells the languages apart."""
    if settings.shrinkage:
        kept_BD = sums.sums_BD[kept_B]
        inputs = kept_BD @ kept_BD.T, sums.weight_B[kept_B], buckets.language_B[kept_B]
        reliability_L = reliability(*inputs, num_languages=num_languages)
        if reliability_L.any():
            return reliability_L
    return torch.ones(num_languages, dtype=torch.float64)


def _halves(buckets: Buckets, kept_B: Tensor) -> list[Tensor]:
    """The kept buckets in two halves: every other one of a language, or every other unit where languages share prompts.

    The first bucket of language l is in half l mod 2: languages of one bucket are then not all in one.
    """
    language_B, unit_B = buckets.language_B[kept_B], buckets.unit_B[kept_B]
    units, number_B = torch.unique(unit_B, return_inverse=True)
    if len(units) == len(unit_B):
        first_B = torch.searchsorted(language_B, language_B)
        number_B = torch.arange(len(language_B)) - first_B + language_B
    halves = []
    for half in range(2):
        half_B = kept_B.clone()
        half_B[kept_B] = number_B % 2 == half
        halves.append(half_B)
    return halves


def _directions(gradient_LD: Tensor, shrinkage_L: Tensor, settings: Consensus) -> Tensor:
    """Unit vectors along the language gradients and, last, their consensus (J x D, float32, J = L + 1); NaN if zero."""
    shrunk_LD = gradient_LD * shrinkage_L[:, None]
    weight_L = consensus_weights(shrunk_LD @ shrunk_LD.T, **_surgery(settings))
    consensus_D = weight_L @ shrunk_LD
    if consensus_D.norm() <= ROUNDING * (weight_L.abs() @ shrunk_LD.norm(dim=1)):
        consensus_D = torch.zeros_like(consensus_D)
    vectors_JD = torch.cat([gradient_LD, consensus_D[None]])
    unit_JD: Tensor = vectors_JD / torch.linalg.vector_norm(vectors_JD, dim=1, keepdim=True)
    return unit_JD.float()


def products(
    sketches: Sketches,
    several_FJD: Sequence[Tensor],
    fold_P: Tensor,
    num_threads: int,
    on_rows: Callable[[int], None],
) -> list[Tensor]:
    """Inner products of every sketch with the directions of its own fold, of each kind of them (P x J, float32). The
    second pass."""
    num_pairs, num_dims = sketches.shape
    found = [torch.empty(num_pairs, directions_FJD.shape[1]) for directions_FJD in several_FJD]
    rows = max(1, CHUNK_ELEMENTS // num_dims)
    read = one_at_a_time(sketches)

    def multiply(start: int) -> int:
        sketch_CD = read(slice(start, start + rows))
        fold_C = fold_P[start : start + rows]
        for fold in range(len(several_FJD[0])):
            own = torch.nonzero(fold_C == fold).flatten()
            own_CD = sketch_CD[own].float()
            for product_PJ, directions_FJD in zip(found, several_FJD, strict=True):
                product_PJ[start + own] = own_CD @ directions_FJD[fold].T
        return len(fold_C)

    with ThreadPoolExecutor(num_threads) as pool:
        for num_rows in pool.map(multiply, range(0, num_pairs, rows)):
            on_rows(num_rows)
    return found


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """PyTorch runs each operation on one thread; gives the number it had.

    Thousands of small operations that each wait for all their threads are slow on a busy machine (measured: 10 times).
    Also, results then do not depend on the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
