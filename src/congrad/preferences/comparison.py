"""Which of two responses is better, by what a column says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from congrad.preferences.conversations import FILL
from congrad.preferences.layout import Layout
from congrad.preferences.pairing import IN_WORDS, Candidate, choose
from congrad.preferences.ratings import numbers
from congrad.preferences.verdicts import Outcome, in_words, number_of
from congrad.sources.part import Mistake
from congrad.words import quote

YES = ("1", "1.0", "true", "yes")


def compare(row: Mapping[str, Any], layout: Layout) -> tuple[Any, Any] | Mistake:
    """The better and the worse response of a row, or why there is none."""
    assert layout.first is not None
    assert layout.second is not None
    if layout.better is None:
        return by_scores(row, layout)
    value = verdict(row, layout.better)
    outcome = outcome_of(value, row, layout)
    if outcome is None:
        shown = layout.better.replace("*", "...")
        if value is None:
            return Mistake("no verdict", "is null or missing", FILL, shown)
        fix = f'say what it means with input.better={{"{plain(value)}": first}}'
        return Mistake("a verdict that is not known", f"holds {quote(value)}", fix, shown)
    if outcome == "tie":
        return Mistake("a tie", is_bad=False)
    good, bad = (layout.first, layout.second) if outcome == "first" else (layout.second, layout.first)
    return row[good], row[bad]


def by_scores(row: Mapping[str, Any], layout: Layout) -> tuple[Any, Any] | Mistake:
    """The same, where each response has a score in a column of its own."""
    scores = numbers([row[column] for column in (layout.first_score or "", layout.second_score or "")], 1, "the scores")
    if isinstance(scores, Mistake):
        return scores
    found, outcome = choose([Candidate(score) for score in scores])
    if not found:
        return IN_WORDS[outcome]
    sides = (row[layout.first or ""], row[layout.second or ""])
    return sides[found[0][0]], sides[found[0][1]]


def verdict(row: Mapping[str, Any], column: str) -> Any:
    """What a row says of its responses. Of several columns, one for each outcome: the name of the one that is true."""
    if "*" not in column or column in row:
        return row[column]
    start, _, end = column.partition("*")
    true = [
        name[len(start) : len(name) - len(end)]
        for name, value in row.items()
        if name.startswith(start) and name.endswith(end) and plain(value) in YES
    ]
    return true[0] if len(true) == 1 else None


def columns_of_verdict(columns: Sequence[str], column: str) -> list[str]:
    """The columns that a verdict is read from."""
    if "*" not in column or column in columns:
        return [column]
    start, _, end = column.partition("*")
    return [name for name in columns if name.startswith(start) and name.endswith(end)]


def outcome_of(value: Any, row: Mapping[str, Any], layout: Layout) -> Outcome | None:
    """What a value means; None where that is not known."""
    if value is None:
        return None
    said = plain(value)
    if (meaning := layout.meanings.get(said)) is not None:
        return meaning
    if layout.has_sign and (number := number_of(said)) is not None:
        return "first" if number < 0 else "second" if number > 0 else "tie"
    named: dict[str, set[Outcome]] = {}
    for side, column, model in (
        ("first", layout.first, layout.first_model),
        ("second", layout.second, layout.second_model),
    ):
        names = [side, column, model, None if model is None else row.get(model), distinct(column, layout)]
        for name in names:
            if name is not None:
                named.setdefault(plain(name), set()).add(side)  # type: ignore[arg-type]
    meanings = named.get(said, set())
    return next(iter(meanings)) if len(meanings) == 1 else None if meanings else in_words(said)


def distinct(column: str | None, layout: Layout) -> str:
    """What tells the name of a response's column from the other's: `0` of `response_0`, `a` of `conversation_a`."""
    one, other = layout.first or "", layout.second or ""
    shared = next(
        (i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    return (column or "")[shared:]


def plain(value: Any) -> str:
    """A value as it is compared: 1.0 is 1, True is true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and value.bit_length() > 64:  # Python prints no number of more than 4300 digits
        return f"a number of {value.bit_length()} bits"
    return str(value).strip().lower()
