"""Keep the best-aligned share of the pairs, or all above a score.

Shapes: P pairs.
"""

import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import torch

from congrad.errors import UserError

Scope = Literal["language", "global"]

KEPT = "kept"
BELOW_SHARE = "below the keep share"
BELOW_SCORE = "below the minimum score"


def check_rule(*, keep: float | None, min_score: float | None, scope: Scope | None = None) -> None:
    """Refuse a rule that is none, two in one, or out of range.

    Raises:
        UserError: with the mend.
    """
    if keep is None and min_score is None:
        raise UserError("nothing says what to keep; give a share to keep or a minimum score")
    if keep is not None and min_score is not None:
        raise UserError("a share to keep and a minimum score exclude each other; give one")
    if keep is not None and not 0 < keep <= 1:
        raise UserError(f"the share to keep is {keep}; it must be above 0 and at most 1")
    if min_score is not None and not -1 <= min_score <= 1:
        raise UserError(f"the minimum score is {min_score}; scores are cosines, from -1 to 1")
    if min_score is not None and scope is not None:
        raise UserError("a minimum score is the same in every language; leave the scope out, or give a share to keep")
    if scope not in (None, "language", "global"):
        raise UserError(f"unknown scope {scope!r}; choose from language, global")


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
        UserError: see `check_rule`.
    """
    check_rule(keep=keep, min_score=min_score, scope=scope)
    if min_score is not None:
        return score_P >= min_score
    assert keep is not None
    kept_P = torch.zeros(len(score_P), dtype=torch.bool)
    pool_P = torch.zeros_like(language_P) if scope == "global" else language_P
    for pool in pool_P.unique().tolist():
        scored = torch.nonzero((pool_P == pool) & ~score_P.isnan()).flatten()
        best_first = scored[score_P[scored].argsort(descending=True, stable=True)]
        kept_P[best_first[: num_kept(len(scored), keep)]] = True
    return kept_P


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
