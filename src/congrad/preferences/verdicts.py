"""What the values of a column mean that says which of two responses is better, decided from all of them at once.

A number by itself says little: 1 may be the second response, counted from 0, or the first, counted from 1, or a yes to
the first, or a point of a scale on which less than 0 is the first. Where two readings are possible, the user is asked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from congrad.errors import UserError
from congrad.words import quote

Outcome = Literal["first", "second", "tie"]
Meanings = Mapping[str, Outcome]

SIDES: tuple[Outcome, Outcome] = ("first", "second")
FROM_0: Meanings = {"0": "first", "1": "second", "0.5": "tie"}
FROM_1: Meanings = {"1": "first", "2": "second", "1.5": "tie"}
YES: Meanings = {"1": "first", "0": "second", "0.5": "tie"}
TIE_0: Meanings = {"0": "tie", "1": "first", "2": "second"}
TIE_2: Meanings = {"0": "first", "1": "second", "2": "tie"}
TRUE: Meanings = {"true": "first", "false": "second"}
FALSE: Meanings = {"true": "second", "false": "first"}
SIGNED: Meanings = {"-1": "first", "0": "tie", "1": "second"}

MARKERS: Meanings = {
    "a": "first",
    "first": "first",
    "left": "first",
    "b": "second",
    "second": "second",
    "right": "second",
}

AROUND = frozenset(
    [
        "answer",
        "assistant",
        "best",
        "better",
        "candidate",
        "choice",
        "completion",
        "is",
        "model",
        "option",
        "output",
        "preferred",
        "response",
        "side",
        "significantly",
        "slightly",
        "strongly",
        "much",
        "the",
        "winner",
        "wins",
    ]
)
INDEX = frozenset(["id", "idx", "index", "number"])
COUNTS = INDEX | frozenset(["best", "better", "choice", "preferred", "winner"])
"""Words of a column's name whose 0 and 1 can only be the two responses, counted."""
TIES = frozenset(["both", "bothbad", "bothgood", "draw", "equal", "equally", "neither", "same", "tie", "tied", "ties"])
AROUND_TIES = frozenset(["are", "bad", "good", "is", "no", "none", "preference"])
MOST_SHOWN = 5


@dataclass(frozen=True)
class Verdicts:
    """Meanings of values, as `plain` spells them; has_sign: numbers are a scale, below 0 for the first response."""

    meanings: Meanings = field(default_factory=dict)
    has_sign: bool = False


def read_verdicts(values: Mapping[str, int], column: str, markers: tuple[str, str], name: str) -> Verdicts:
    """Decides what the values of a column mean, as far as they are numbers, booleans or words around a letter.

    Args:
        values: how often each stands in the column, as `plain` spells them; without those that `input.better` maps and
            those that name a model.
        column: its name, which may say that it counts responses.
        markers: what tells the columns of the two responses from each other: ("0", "1"), ("a", "b").
        name: of the data, for a message.

    Raises:
        UserError: the numbers may mean two things, or are on a scale without a sign.
    """
    numbers = {value for value in values if number_of(value) is not None}
    words = {value: meaning for value in values if (meaning := in_words(value)) is not None}
    if any((number_of(value) or 0) < 0 for value in numbers):
        if numbers <= SIGNED.keys() and _counts(column, INDEX):  # -1 may stand for none of them
            raise undecided(values, column, [{**FROM_0, "-1": "tie"}, SIGNED], name)
        return Verdicts(words, has_sign=True)
    readings = possible(numbers, column, markers)
    if numbers and len(readings) != 1:
        raise undecided({value: values[value] for value in numbers}, column, readings, name)
    flags = {value for value in values if value in TRUE}
    if flags:
        side = side_in(column, markers)
        if side is None:
            raise undecided({value: values[value] for value in flags}, column, [TRUE, FALSE], name)
        words |= TRUE if side == "first" else FALSE
    return Verdicts({**words, **(readings[0] if numbers else {})})


def possible(numbers: set[str], column: str, markers: tuple[str, str]) -> list[Meanings]:
    """The readings of numbers that are not below 0; none where they are on no scale that is known."""
    counts, is_label = _counts(column, COUNTS), _counts(column, frozenset(("label", "labels")))
    if not numbers:
        return []
    if (side := side_in(column, markers)) is not None and numbers <= {"0", "1"}:
        return [YES if side == "first" else FROM_0]
    if "2" not in numbers and numbers <= FROM_0.keys():
        if markers == ("0", "1") and not is_label:
            return [FROM_0]
        if numbers == {"1"}:
            return [FROM_1] if markers == ("1", "2") and not is_label else [FROM_0, YES]
        return [FROM_0] if counts and markers != ("1", "2") else [FROM_0, YES]
    if numbers <= FROM_1.keys():
        return [TIE_2, FROM_1] if markers == ("0", "1") else [FROM_1]
    if numbers <= TIE_0.keys():
        return [TIE_0, TIE_2]
    return []


def side_in(column: str, markers: tuple[str, str]) -> Outcome | None:
    """The side that a column is about by its name: `is_a_better`, `first_wins`; None where it names none or both."""
    words = words_of(column)
    named = {MARKERS[word] for word in words if word in MARKERS}
    named |= {side for side, marker in zip(SIDES, markers, strict=True) if marker in words}
    return named.pop() if len(named) == 1 else None


def in_words(value: str) -> Outcome | None:
    """What is said around a marker: `model b`, `[[a]]`, `a is slightly better`, `tie (bothbad)`; None of all else."""
    words = words_of(value) if len(value) <= 100 else []
    if not TIES.isdisjoint(words):
        return "tie" if set(words) <= TIES | AROUND_TIES | AROUND else None
    left = [word for word in words if word not in AROUND]
    return MARKERS.get(left[0]) if len(left) == 1 else None


def number_of(value: str) -> float | None:
    """A value as a number; None of what is none, or has no size."""
    try:
        number = float(value) if len(value) <= 40 else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < float("inf") else None


def words_of(name: str) -> list[str]:
    """The words and numbers of a name, in lower case."""
    return re.findall(r"[^\W\d_]+|\d+", name.lower())


def _counts(column: str, words: frozenset[str]) -> bool:
    return not words.isdisjoint(words_of(column))


def undecided(values: Mapping[str, int], column: str, readings: list[Meanings], name: str) -> UserError:
    """What is asked of the user: which of the readings it is, or what the values mean at all."""
    shown = sorted(values, key=lambda value: (number_of(value) or 0, value))
    there = ", ".join(quote(value).strip("'") for value in shown[:MOST_SHOWN])
    more = f" and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    if not readings:
        fix = f'say what each means with input.better={{"{shown[0][:40]}": "first", ...}}: first, second or tie'
        return UserError(f"holds {there}{more}, which may mean anything", fix, at=name, column=column)
    ways = " or ".join(_setting({value: each[value] for value in shown if value in each}) for each in readings)
    problem = f"holds {there}{more}, which can be read in {len(readings)} ways"
    return UserError(problem, f"say which with input.better={ways}", at=name, column=column)


def _setting(meanings: Meanings) -> str:
    return "{" + ", ".join(f'"{value}": "{meaning}"' for value, meaning in meanings.items()) + "}"
