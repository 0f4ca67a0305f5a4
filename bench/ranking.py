"""How well one score ranks: against labels (AUROC) and against another score (Spearman). Ties count half."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """The chance that a random positive scores above a random negative, ties half; NaN where one kind is missing.

    Rows whose score is NaN are left out.
    """
    score_N, positive_N = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    known_N = ~np.isnan(score_N)
    score_N, positive_N = score_N[known_N], positive_N[known_N]
    num_positive, num_negative = int(positive_N.sum()), int((~positive_N).sum())
    if not num_positive or not num_negative:
        return math.nan
    above = ranks(score_N)[positive_N].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation over the rows where both are known."""
    first_N, second_N = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known_N = ~(np.isnan(first_N) | np.isnan(second_N))
    return float(np.corrcoef(ranks(first_N[known_N]), ranks(second_N[known_N]))[0, 1])
