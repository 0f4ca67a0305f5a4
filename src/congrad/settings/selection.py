"""Which pairs stay, as a rule."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from congrad.settings.section import refused, section

Scope = Literal["language", "global"]
DEFAULT_KEEP = 0.5


@section("selection")
class Selection:
    """Which pairs stay: the best-aligned share of every language or of all, or all from a score on."""

    keep: Annotated[float, Gt(0), Le(1)] | Literal["auto"] | None = None
    """Share of the pairs to keep, best first; auto: what congrad advise chooses; null for 0.5, unless min_score is
    set."""
    min_score: Annotated[float, Ge(-1), Le(1)] | None = None
    """Keep every pair from this score on, instead of a share."""
    scope: Scope | None = None
    """language: keep the share of every language. global: of all pairs together. null is language."""

    def __post_init__(self) -> None:
        if self.min_score is None:
            object.__setattr__(self, "keep", DEFAULT_KEEP if self.keep is None else self.keep)
        elif self.keep is not None:
            raise refused("min_score", "excludes selection.keep", "give one of them")
        elif self.scope is not None:
            raise refused("scope", "would be ignored by a minimum score", "leave it out, or set selection.keep instead")
        if self.keep == "auto" and self.scope == "global":
            raise refused("scope", "is not chosen for by selection.keep auto", "leave it out, or set a share")
