"""Keep the best-aligned share of the pairs, or all above a score.

Shapes: P pairs.
"""

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

import torch

from congrad.errors import UserError
from congrad.settings.selection import Scope, Selection

KEPT = "kept"
BELOW_SHARE = "below the keep share"
BELOW_SCORE = "below the minimum score"


def select(
    score_P: torch.Tensor,
    language_P: torch.Tensor,
    *,
    keep: float | None = None,
    min_score: float | None = None,
    scope: Scope | None = None,
) -> torch.Tensor:
    """Which pairs to keep (P, bool). A pair without a score (NaN) never is.

    Args:
        score_P: alignment.
        language_P: the pair's language.
        keep: the share of the scored pairs to keep, best first, of every language or of all. The number is rounded half
            up, and is at least 1: rounding alone empties no language. Equal scores: the earlier row is kept.
        min_score: keep every pair with this score or more, instead.
        scope: "language" (None is this) or "global", of `keep`.

    Raises:
        UserError: the rule is none, two in one, or out of range.
    """
    if keep is None and min_score is None:
        raise UserError("neither keep nor min_score is given", "give one of them")
    Selection(keep, min_score, scope)  # checks them
    if min_score is not None:
        return score_P >= min_score
    assert keep is not None
    pool_P = torch.zeros_like(language_P) if scope == "global" else language_P
    return kept_at_shares(score_P, pool_P, [keep])[0]


def kept_at_shares(score_P: torch.Tensor, pool_P: torch.Tensor, shares: Sequence[float]) -> torch.Tensor:
    """Which pairs every share of every pool keeps (shares x P, bool); a larger share keeps what a smaller one does."""
    pool_U, unit_of_P = torch.unique(pool_P, return_inverse=True)
    scored_P = ~score_P.isnan()
    size_U = torch.bincount(unit_of_P[scored_P], minlength=len(pool_U))
    best_first = score_P.where(scored_P, -math.inf).argsort(descending=True, stable=True)
    best_first = best_first[unit_of_P[best_first].argsort(stable=True)]
    start_U = torch.bincount(unit_of_P, minlength=len(pool_U)).cumsum(0) - torch.bincount(unit_of_P)
    place_P = torch.empty_like(unit_of_P)
    place_P[best_first] = torch.arange(len(score_P)) - start_U[unit_of_P[best_first]]
    limits = [[num_kept(size, share) for size in size_U.tolist()] for share in shares]
    return (place_P < torch.tensor(limits)[:, unit_of_P]) & scored_P


def num_kept(num_scored: int, keep: float) -> int:
    """The number that a share comes to: rounded half up in decimals (0.35 of 10 is 4), at least 1 of any."""
    exact = Decimal(str(keep)) * num_scored
    return min(num_scored, max(1, math.floor(exact.quantize(Decimal(1), ROUND_HALF_UP))))


def reasons(kept_P: torch.Tensor, unscored_P: list[str], *, min_score: float | None = None) -> list[str]:
    """Why every pair is kept or dropped.

    Args:
        unscored_P: why a pair has no score, "" where it has one.
        min_score: as for `select`.
    """
    below = BELOW_SHARE if min_score is None else BELOW_SCORE
    return [unscored or (KEPT if kept else below) for kept, unscored in zip(kept_P.tolist(), unscored_P, strict=True)]
