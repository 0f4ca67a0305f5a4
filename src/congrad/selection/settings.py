"""Which pairs stay, as a rule."""

from dataclasses import dataclass
from typing import Literal

from congrad.errors import UserError

Scope = Literal["language", "global"]


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


@dataclass(frozen=True)
class Selection:
    """Which pairs stay: the best-aligned share of every language or of all, or all from a score on."""

    keep: float | None = None
    min_score: float | None = None
    scope: Literal["language", "global"] | None = None

    def __post_init__(self) -> None:
        check_rule(keep=self.keep, min_score=self.min_score, scope=self.scope)


DEFAULT_SELECTION = Selection(keep=0.5)
