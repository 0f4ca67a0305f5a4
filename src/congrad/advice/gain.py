"""The predicted held-out gain of every ranking and share: nested cross-fitting in two more passes over the sketches.

Held out is one prompt fold e at a time. Without its pairs: rank, by scores that are themselves cross-fitted over the
remaining folds; keep the best share of every language, S; mu = mean of the kept gradients. Pair j of e gains <s_j, mu>
times the factor of the budget, and a language the mean over its pairs. To choose a share without an outer fold f, the
same is done with f left out as well, from the ranking on.

Intervals are those of the infinitesimal jackknife over prompts (Efron 2014): a prompt acts as held out, and as a part
of the mu that others are measured along. Where there is nothing but noise they are too wide (by the root of 2), never
too narrow. Which pairs are kept and how long mu is are taken as given.

Shapes: P pairs, D sketch dims, L languages, F folds, C rankings, K shares, J = C K, G prompts, R draws, W watched
languages, S units of a fold of theirs, U = F S.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from congrad.advice.budget import Budget, Floats, Measure, step_factor
from congrad.advice.measure import Measured, Scorer
from congrad.consensus.score import products
from congrad.selection.keep import kept_at_shares

SHARES = tuple(tenth / 10 for tenth in range(1, 11))
MAX_DIRECTION_BYTES = 2**30
CHUNK_ELEMENTS = 2**23  # 32 MiB in float32: rows enough for a matrix product


@dataclass(frozen=True)
class Directions:
    """What the two passes find; the last axis of all but `band_FCP` is the share.

    Attributes:
        band_FCP: the first share that keeps the pair while fold e and the column's own folds are left out, K if none.
        count_FCK, square_FCK: kept pairs, and the mean of their squared norms.
        squared_norm_FCK: |mu|^2.
        product_PCK: <s_j, mu> of the pair's own fold.
    """

    band_FCP: npt.NDArray[np.int8]
    count_FCK: Floats
    square_FCK: Floats
    squared_norm_FCK: Floats
    product_PCK: Floats


def bands(measured: Measured, scorer: Scorer, left_out: frozenset[int]) -> npt.NDArray[np.int8]:
    """The first share that keeps every pair when these folds are left out (P); K: none does."""
    score_P = scorer(left_out)
    score_P = np.where(np.isin(measured.fold_P, list(left_out)), np.nan, score_P)
    kept_KP = kept_at_shares(torch.from_numpy(score_P), torch.from_numpy(measured.language_P), SHARES)
    first_P: npt.NDArray[np.int8] = (len(SHARES) - kept_KP.sum(0)).to(torch.int8).numpy()
    return first_P


def follow(
    measured: Measured,
    columns: Sequence[tuple[Scorer, int]],
    num_threads: int = 1,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Directions:
    """The kept means of every column and share, and the products with them.

    Args:
        columns: a ranking and how far from fold e, counted in folds, another one is that is left out too; 0 for none.
    """
    num_folds, num_dims = measured.num_folds, measured.gradients.shape[1]
    most = max(1, MAX_DIRECTION_BYTES // (4 * num_folds * len(SHARES) * num_dims))
    parts = [
        _follow(measured, columns[start : start + most], num_threads, on_rows) for start in range(0, len(columns), most)
    ]
    return Directions(
        *(np.concatenate([getattr(part, name) for part in parts], axis=1) for name in Directions.__dataclass_fields__)
    )


def _follow(
    measured: Measured, columns: Sequence[tuple[Scorer, int]], num_threads: int, on_rows: Callable[[int], None]
) -> Directions:
    num_folds, num_shares = measured.num_folds, len(SHARES)
    num_pairs, num_dims = measured.gradients.shape
    band_FCP = np.stack(
        [
            [bands(measured, scorer, frozenset({fold, (fold + away) % num_folds})) for scorer, away in columns]
            for fold in range(num_folds)
        ]
    )
    square_P = measured.norm_P**2
    count_FCK, square_FCK = np.zeros((2, num_folds, len(columns), num_shares))
    for fold, column in np.ndindex(num_folds, len(columns)):
        band_P = band_FCP[fold, column]
        count_FCK[fold, column] = np.bincount(band_P, minlength=num_shares + 1)[:num_shares].cumsum()
        square_FCK[fold, column] = np.bincount(band_P, square_P, minlength=num_shares + 1)[:num_shares].cumsum()
    with np.errstate(invalid="ignore"):  # a ranking without scores keeps nothing
        square_FCK /= count_FCK
    mean_FCKD = torch.zeros(num_folds, len(columns), num_shares, num_dims)
    band_FC1P = torch.from_numpy(band_FCP)[:, :, None]
    rows = max(1, CHUNK_ELEMENTS // num_dims)
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, num_pairs, rows):
            chunk = slice(start, start + rows)
            gradient_CD = measured.gradients[chunk]

            def add(fold: int, chunk: slice = chunk, gradient_CD: Tensor = gradient_CD) -> None:
                member_CKC = band_FC1P[fold, ..., chunk] == torch.arange(num_shares)[:, None]
                mean_FCKD[fold].view(-1, num_dims).addmm_(member_CKC.flatten(0, 1).float(), gradient_CD)

            deque(pool.map(add, range(num_folds)), maxlen=0)
            on_rows(len(gradient_CD))
    for share in range(1, num_shares):
        mean_FCKD[:, :, share] += mean_FCKD[:, :, share - 1]
    mean_FCKD /= torch.from_numpy(count_FCK).clamp(min=1).float()[..., None]
    squared_norm_FCK = torch.linalg.vector_norm(mean_FCKD, dim=-1).double().numpy() ** 2
    directions_FJD = mean_FCKD.flatten(1, 2)
    fold_P = torch.from_numpy(measured.fold_P)
    (product_PJ,) = products(measured.gradients, [directions_FJD], fold_P, num_threads, on_rows)
    product_PCK = product_PJ.double().numpy().reshape(num_pairs, len(columns), num_shares)
    return Directions(band_FCP, count_FCK, square_FCK, squared_norm_FCK, product_PCK)


@dataclass(frozen=True)
class Gain:
    """Attributes:
    value_L: mean gain of the held-out pairs of every language; NaN where none is held out.
    influence_GL: what a prompt adds to that when it counts once more.
    pair_P: gain of every pair while it is held out; NaN where it takes no part.
    watched_W, watched_GW: of watched languages, in all folds.
    watched_UW: what a unit of watched prompts adds to that when it counts once more.
    """

    value_L: Floats
    influence_GL: Floats
    pair_P: Floats
    watched_W: Floats
    watched_GW: Floats
    watched_UW: Floats

    @property
    def mean(self) -> float:
        """Over the languages."""
        return float(np.nanmean(self.value_L))

    @property
    def mean_influence_G(self) -> Floats:
        there_L = ~np.isnan(self.value_L)
        influence_G: Floats = self.influence_GL[:, there_L].mean(1)
        return influence_G


@dataclass(frozen=True)
class Reader:
    """Reads gains off the directions, for one measure of what a step is worth.

    Attributes:
        total_pairs: all pairs that could be trained on, of which the measured ones may be a sample.
        scale: of the gradients to the measured ones.
    """

    measured: Measured
    directions: Directions
    measure: Measure
    budget: Budget
    total_pairs: int
    scale: float

    def weights(self, column: int, share_F: Sequence[int], away: int = 0) -> tuple[Floats, Floats]:
        """What <s_j, mu> is worth in every fold (F), and every pair's part in that (F x P)."""
        fold_F, found = np.arange(self.measured.num_folds), self.directions
        at = (fold_F, column, np.asarray(share_F))
        size_F = np.bincount(self.measured.fold_P, minlength=len(fold_F))
        trained_F = len(self.measured) - size_F - (size_F[(fold_F + away) % len(fold_F)] if away else 0)
        factor_F = step_factor(
            self.measure,
            self.budget,
            squared_norm=found.squared_norm_FCK[at],
            mean_square=found.square_FCK[at],
            num_pairs=found.count_FCK[at] / trained_F * self.total_pairs,
        )
        factor_F = factor_F * self.scale
        kept_FP = found.band_FCP[:, column] <= at[2][:, None]
        return factor_F, kept_FP * (factor_F / np.maximum(found.count_FCK[at], 1))[:, None]

    def gain(self, column: int, share: int | Sequence[int]) -> Gain:
        """Of a share, by its number in `SHARES`, or of another one for every fold that is held out."""
        share_F = np.broadcast_to(share, self.measured.num_folds)
        factor_F, weight_FP = self.weights(column, share_F.tolist())
        fold_P = self.measured.fold_P
        value_P = self.directions.product_PCK[np.arange(len(fold_P)), column, share_F[fold_P]] * factor_F[fold_P]
        return self._of(value_P, weight_FP)

    def inner_gain(self, columns: Sequence[int], share: int, outer: int) -> Gain:
        """The same with an outer fold left out of everything; its watched figures mean nothing.

        Args:
            columns: those of the ranking that leave out the fold 1, 2, ... beyond e.
        """
        num_folds, fold_P = self.measured.num_folds, self.measured.fold_P
        value_P, weight_FP = np.full(len(fold_P), np.nan), np.zeros((num_folds, len(fold_P)))
        for away, column in enumerate(columns, start=1):
            fold = (outer - away) % num_folds
            factor_F, own_FP = self.weights(column, [share] * num_folds, away)
            own_P = fold_P == fold
            value_P[own_P] = self.directions.product_PCK[own_P, column, share] * factor_F[fold]
            weight_FP[fold] = own_FP[fold]
        return self._of(value_P, weight_FP)

    def _of(self, value_P: Floats, weight_FP: Floats) -> Gain:
        measured, language_P = self.measured, self.measured.language_P
        there_P = ~np.isnan(value_P)
        size_L = np.bincount(language_P[there_P], minlength=measured.num_languages)
        with np.errstate(invalid="ignore"):  # a language without a held-out pair
            value_L = np.bincount(language_P[there_P], value_P[there_P], minlength=measured.num_languages) / size_L
        part_PL = self._parts(weight_FP, measured.product_PLF)
        held = np.flatnonzero(there_P)
        part_PL[held, language_P[held]] += value_P[held] - value_L[language_P[held]]
        watched_WFS = np.einsum("fp,pwfs->wfs", weight_FP, measured.watch_PWFS)
        watched_W = watched_WFS.sum((1, 2))
        watched_WFS -= measured.share_WFS * watched_W[:, None, None]
        return Gain(
            value_L=value_L,
            influence_GL=self._by_prompt(part_PL / np.maximum(size_L, 1)),
            pair_P=value_P,
            watched_W=watched_W,
            watched_GW=self._by_prompt(self._parts(weight_FP, measured.watch_PWFS.sum(-1))),
            watched_UW=watched_WFS.reshape(len(watched_W), measured.num_units).T,
        )

    def _parts(self, weight_FP: Floats, product_PLF: Floats) -> Floats:
        """What a pair adds as a part of mu, whose weights are 1 / |S|: the others' fall when its own rises (P x L)."""
        part_PL: Floats = np.einsum("fp,plf->pl", weight_FP, product_PLF)
        sum_FL, total_F1 = np.einsum("fp,plf->fl", weight_FP, product_PLF), weight_FP.sum(1)[:, None]
        part_PL -= weight_FP.T @ np.divide(sum_FL, total_F1, out=np.zeros_like(sum_FL), where=total_F1 > 0)
        return part_PL

    def _by_prompt(self, part_PL: Floats) -> Floats:
        influence_GL = np.zeros((self.measured.num_prompts, part_PL.shape[1]))
        np.add.at(influence_GL, self.measured.prompt_P, part_PL)
        return influence_GL


def standard_error(influence_G: Floats) -> float:
    """Of the figure that the prompts' influences belong to."""
    return float(np.sqrt((influence_G**2).sum()))
