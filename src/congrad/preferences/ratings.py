"""Pairs of responses that have scores or ranks: a list of them in a row, or rows of one response each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from congrad.preferences.layout import Layout
from congrad.preferences.pairing import IN_WORDS, Candidate, choose
from congrad.preferences.written import Unreadable, read_value
from congrad.sources.part import Mistake
from congrad.words import quote

TEXTS = ("response", "answer", "completion", "text", "output", "content", "generation", "messages")
SCORES = ("overall_score", "score", "rating", "overall_rating", "reward")
RANKS = ("rank", "ranking")
"""Of a response that is an object: what it says, its score and its rank."""
MISSING = frozenset(("", "-", "n/a", "na", "nan", "none", "null", "<na>"))
"""How a score that is not there is written."""
PRINTED = frozenset("+-.0123456789aen")
"""What a number is printed with, `nan` too."""
IN_A_PAIR = Mistake("the other response of a pair", is_bad=False, is_listed=False)
BETWEEN = Mistake("neither the best nor the worst response of its prompt", is_bad=False, is_listed=False)


def rate(row: Mapping[str, Any], layout: Layout) -> tuple[Any, Any] | Mistake:
    """The best and the worst response of a row, or why there is no pair."""
    assert layout.responses is not None
    responses = listed(row[layout.responses])
    if not isinstance(responses, list) or not responses:
        return Mistake("no responses", f"holds {quote(responses)}, no list of responses", "fill it", layout.responses)
    scores = scores_of(row, responses, layout)
    if isinstance(scores, Mistake):
        return scores
    pairs, outcome = choose([Candidate(score) for score in scores])
    if not pairs:
        return IN_WORDS[outcome]
    best, worst, _ = pairs[0]
    return said(responses[best]), said(responses[worst])


def scores_of(row: Mapping[str, Any], responses: Sequence[Any], layout: Layout) -> list[float | None] | Mistake:
    """The score of each response, more being better; None where it has none."""
    for column, sign, names in ((layout.scores, 1, SCORES), (layout.ranks, -1, RANKS)):
        if column is not None and column in row:
            values = listed(row[column])
            if not isinstance(values, list) or len(values) != len(responses):
                problem = f"holds {quote(values)}, not a number for each of {len(responses)} responses"
                return Mistake("scores that do not match the responses", problem, "correct it", column)
            return numbers(values, sign, column)
        name = column or next(
            (each for each in names if any(isinstance(one, dict) and each in one for one in responses)), None
        )
        if name is not None and (column is not None or layout.scores is None):
            return numbers([within(one, name) for one in responses], sign, name)
    fix = "name them with input.columns.scores"
    return Mistake("responses without scores", "has neither scores nor ranks", fix, layout.responses or "")


def pairs_of_rows(
    prompts: Iterable[Any], scores: Iterable[Any], sign: int, column: str
) -> tuple[dict[int, int], dict[int, Mistake]]:
    """The pairs of rows that hold one response each.

    Args:
        prompts: of each row: what is the same for the responses to one prompt.
        scores: of each row.
        sign: -1 for ranks.
        column: of the scores, for a message.

    Returns:
        By the row of the better response, the row of the worse one; why each other row is in no pair, or is not where
        the pair stands.
    """
    groups: dict[Any, list[tuple[int, float | None]]] = {}
    left: dict[int, Mistake] = {}
    for number, (prompt, value) in enumerate(zip(prompts, scores, strict=True)):
        score = score_of(value, sign, column)
        if isinstance(score, Mistake):
            left[number] = score
        else:
            groups.setdefault(prompt, []).append((number, score))
    pairs: dict[int, int] = {}
    for group in groups.values():
        found, outcome = choose([Candidate(score) for _, score in group])
        if not found:
            left |= {number: IN_WORDS[outcome] for number, _ in group}
            continue
        ((best, worst, _),) = found
        pairs[group[best][0]] = group[worst][0]
        left |= {number: BETWEEN for number, _ in group if number != group[best][0]}
        left[group[worst][0]] = IN_A_PAIR
    return pairs, left


def numbers(values: Sequence[Any], sign: int, column: str) -> list[float | None] | Mistake:
    """Scores, more being better; or the first that cannot be read."""
    found: list[float | None] = []
    for value in values:
        number = score_of(value, sign, column)
        if isinstance(number, Mistake):
            return number
        found.append(number)
    return found


def score_of(value: Any, sign: int, column: str) -> float | Mistake | None:
    """A score; None where it is missing. What is there and is no number is a mistake, and not missing."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.inf
    except (ValueError, OverflowError):
        number = math.inf
    if math.isnan(number):
        return None
    if math.isinf(number):
        held = f"a number of {value.bit_length()} bits" if type(value) is int else quote(value)
        return Mistake("a score that is no number", f"{column!r} holds {held}, no number", "correct it")
    return sign * number


def within(response: Any, path: str) -> Any:
    """A field of a response: by its name, or by a path of names with dots: `annotations.helpfulness.Rating`."""
    if isinstance(response, dict) and path in response:
        return response[path]
    for name in path.split("."):
        if not isinstance(response, dict):
            return None
        response = response.get(name)
    return response


def listed(value: Any) -> Any:
    """A list that may be stored as text; all else as it is. Numpy prints numbers without commas: `[1.5 3. 2.]`."""
    if not isinstance(value, str) or not (text := value.strip()).startswith("["):
        return value
    try:
        return read_value(text)
    except Unreadable:
        words = text[1:-1].split()
        return words if text.endswith("]") and all(set(word) <= PRINTED for word in words) else value


def said(response: Any) -> Any:
    """The text or the messages of a response."""
    if not isinstance(response, dict):
        return response
    return next((response[name] for name in TEXTS if response.get(name) is not None), response)
