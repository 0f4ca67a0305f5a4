"""Rows that make no pair: collected with their places, then listed in one error or left out, as the user says."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from congrad.errors import UserError
from congrad.settings.input import Input
from congrad.sources.locate import locate_rows
from congrad.sources.part import LeftOut, Mistake, Part

MOST_LISTED = 10


def left_out(part: Part, mistakes: Mapping[int, Mistake]) -> tuple[LeftOut, ...]:
    """What is said of rows of a part's dataset (by their number there)."""
    rows = [part.rows[position] for position in mistakes]
    spots = locate_rows(part.source.name, rows)
    return tuple(map(LeftOut, spots, rows, mistakes.values()))


def settle(parts: Sequence[Part], settings: Input) -> None:
    """Stops at bad rows, unless they are to be left out.

    Raises:
        UserError: one row with its place, reason and fix; or the first ten, and how many there are for each reason.
    """
    bad = [each for part in parts for each in part.left_out if each.mistake.is_bad]
    if bad and settings.on_bad_row == "stop":
        raise refusal(bad)


def refusal(bad: Sequence[LeftOut]) -> UserError:
    """The error that names bad rows."""
    if len(bad) == 1:
        only = bad[0].mistake
        return UserError(only.sentence or only.reason, only.fix, at=bad[0].spot)
    listed = "; ".join(f"{each.spot}: {each.mistake.sentence or each.mistake.reason}" for each in bad[:MOST_LISTED])
    more = ", ..." if len(bad) > MOST_LISTED else ""
    problem = f"{len(bad):,} rows cannot be used ({in_words(bad)}): {listed}{more}"
    return UserError(problem, "fix them, or leave them out with input.on_bad_row=drop")


def in_words(left: Iterable[LeftOut]) -> str:
    """How many rows there are for each reason, the most frequent first."""
    counts = Counter(each.mistake.reason for each in left)
    return ", ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())
