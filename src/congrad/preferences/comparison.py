"""Which columns hold a comparison: two responses, and what says which of them is better."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from congrad.errors import UserError
from congrad.preferences.names import require
from congrad.preferences.sides import MARK, RESPONSE, TIE, Sides, Two, all_sides, words_of
from congrad.settings.input import Input
from congrad.words import quote

VERDICT = MARK | frozenset("choice preference verdict".split())
WEAK = frozenset("label labels".split())  # which may as well be the label of anything else
INDEX = frozenset("id idx index number".split())
ABOUT = frozenset(  # of a verdict that is in another column
    "comment confidence count date explanation margin prob probability rationale reason reasoning reasons strength "
    "time type".split()
)
LEVELS = (
    lambda words: not VERDICT.isdisjoint(words) and "overall" in words,
    lambda words: not VERDICT.isdisjoint(words) or (words[-1] in INDEX and not RESPONSE.isdisjoint(words[1:-1])),
    lambda words: not WEAK.isdisjoint(words),
)
"""What a verdict's column is called, from the surest. `safer_response_id` is one too, of another question."""


@dataclass(frozen=True)
class Comparison:
    """The columns of a comparison; one of `better`, `marks` and `scores` decides, in this order.

    Attributes:
        sides: the two responses.
        better: says which is better; its values are read by `congrad.preferences.verdicts`.
        marks: one column a side, which holds 1 or true where that side is better, and those that hold it at a tie.
        scores: one column a side; more is better.
        models: one column a side, of the model that gave the response.
    """

    sides: Sides
    better: str | None = None
    marks: tuple[str, ...] = ()
    scores: Two | None = None
    models: Two | None = None

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that decide, for a pass over all rows that need not decode the responses."""
        better = () if self.better is None else (self.better,)
        return (*better, *self.marks, *(self.scores or ()), *(self.models or ()))


def find_comparison(columns: Collection[str], settings: Input, name: str) -> Comparison | None:
    """The columns of a comparison, by the settings or by names that are in common use.

    Args:
        name: of the data, for a message.

    Returns:
        None where there is none and the settings ask for none.

    Raises:
        UserError: a column of the settings is not there; several may be meant; or a comparison was asked for and
            something lacks.
    """
    own = settings.columns
    for column, key in ((getattr(own, key), f"input.columns.{key}") for key in KEYS):
        if column is not None:
            require(list(columns), name, column, key)
    asked = settings.layout == "comparison" or any((own.first, own.second, own.better))
    pairs = all_sides(columns)
    found = _responses(pairs, own.first, own.second)
    if not found:
        if not asked:
            return None
        raise UserError(
            "no two columns of responses are found", "name them with input.columns.first and input.columns.second",
            at=name,
        )  # fmt: skip
    verdict = _verdict(columns, pairs, own.better, name, found[0])
    if verdict is None:
        if not asked:
            return None
        fix = "name it with input.columns.better"
        raise UserError("no column says which of two responses is better", fix, at=name)
    if len(found) > 1:
        both = "; ".join(" and ".join(map(quote, each.columns)) for each in found)
        fix = "name two of them with input.columns.first and input.columns.second"
        raise UserError(f"several pairs of columns may hold the responses: {both}", fix, at=name)
    return verdict


KEYS = ("first", "second", "better", "first_model", "second_model")


def _responses(pairs: Sequence[Sides], first: str | None, second: str | None) -> list[Sides]:
    if first is not None and second is not None:
        return [next((each for each in pairs if each.columns == (first, second)), Sides(first, second))]
    if first is None and second is None:
        return [each for each in pairs if each.hold_responses]
    return [each for each in pairs if first == each.first or second == each.second]


def _verdict(
    columns: Collection[str], pairs: Sequence[Sides], better: str | None, name: str, sides: Sides
) -> Comparison | None:
    raise NotImplementedError
