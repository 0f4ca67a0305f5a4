"""How the languages agree, ready to be looked at: in an order that puts like beside like, with conflicts marked.

Shapes: L languages.
"""

from dataclasses import dataclass

import numpy as np

from congrad.report.read import Array, Run
from congrad.selection.guards import MIN_PAIRS

TAIL = 0.025  # of a 95% interval, on each side


@dataclass(frozen=True)
class Couple:
    """Two languages and what is known of their gradients; NaN where nothing is."""

    first: str
    second: str
    cosine: float
    low: float
    high: float
    corrected: float
    after_surgery: float
    conflict: bool


def similarity_order(cosine_LL: Array) -> Array:
    """The languages in an order that puts similar ones side by side (L).

    Spectral seriation (Atkins et al. 1998): by the eigenvector of the second smallest eigenvalue of the Laplacian of
    the similarities. Where nothing is known of two languages, they are taken as unrelated.
    """
    num_languages = len(cosine_LL)
    if num_languages < 3:
        return np.arange(num_languages)
    similarity_LL = np.nan_to_num(cosine_LL)
    similarity_LL = (similarity_LL + similarity_LL.T) / 2
    similarity_LL = similarity_LL - similarity_LL.min()
    np.fill_diagonal(similarity_LL, 0)
    laplacian_LL = np.diag(similarity_LL.sum(1)) - similarity_LL
    vector_L = np.linalg.eigh(laplacian_LL)[1][:, 1]
    # Its sign is free: the first name of all is in the first half. Rounding keeps ties in the order of the names.
    order_L = np.argsort(np.round(vector_L, 9), kind="stable")
    return order_L[::-1] if np.flatnonzero(order_L == 0)[0] > (num_languages - 1) / 2 else order_L


def conflicts(run: Run) -> Array:
    """Where two languages conflict clear of noise (L x L, bool): the interval lies below 0, with enough pairs."""
    enough_L = run.num_pairs_L >= MIN_PAIRS
    conflict_LL: Array = (run.high_LL < 0) & enough_L[:, None] & enough_L
    np.fill_diagonal(conflict_LL, False)
    return conflict_LL


def by_chance(num_couples: int) -> int:
    """How many of so many couples would be marked as conflicts if languages had nothing to do with each other."""
    return round(TAIL * num_couples)


def couples(run: Run) -> list[Couple]:
    """All couples of languages, the lowest cosine first; those without one last."""
    conflict_LL = conflicts(run)
    found = [
        Couple(
            run.languages[i],
            run.languages[j],
            cosine=float(run.cosine_LL[i, j]),
            low=float(run.low_LL[i, j]),
            high=float(run.high_LL[i, j]),
            corrected=float(run.corrected_LL[i, j]),
            after_surgery=float(run.after_surgery_LL[i, j]),
            conflict=bool(conflict_LL[i, j]),
        )
        for i, j in zip(*np.triu_indices(len(run.languages), 1), strict=True)
    ]
    return sorted(found, key=lambda couple: (np.isnan(couple.cosine), couple.cosine))
