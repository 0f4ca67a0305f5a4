"""When two languages conflict, and when there are too few pairs to know. What shows it reads it from languages.json.

Shapes: L languages.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

MIN_PAIRS = 20
"""Fewer scored pairs than this and a language's gradient is mostly sampling noise: with 24 pairs a language, cosines
between languages were measured at 0.01 to 0.14, and cross-fitting in 5 folds leaves 16 of 20 to score the others by."""

TAIL = 0.025  # of a 95% interval, on each side


def conflict_matrix(interval_LL2: npt.NDArray[Any], num_pairs_L: npt.NDArray[Any]) -> list[list[bool | None]]:
    """Whether two languages conflict clear of noise: the whole interval of their cosine lies below 0 (L x L).

    None where that is not known (fewer than `MIN_PAIRS` pairs of one of them, or no interval), and on the diagonal.
    """
    enough_L = num_pairs_L >= MIN_PAIRS
    high_LL = interval_LL2[..., 1]
    known_LL = enough_L[:, None] & enough_L & ~np.isnan(high_LL) & ~np.eye(len(enough_L), dtype=bool)
    return [
        [bool(high < 0) if known else None for high, known in zip(*row, strict=True)]
        for row in zip(high_LL, known_LL, strict=True)
    ]


def by_chance(num_language_pairs: int) -> str:
    """How many of the pairs would be called a conflict if languages had nothing to do with each other, in words."""
    expected = round(TAIL * num_language_pairs)
    if not expected:
        return ""
    return f"about {expected} of {num_language_pairs} language pairs would look like a conflict by chance"
