"""Pairs of responses that have scores or ranks: of a list of them, or of the answers to one message of a tree."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from congrad.preferences.conversations import ROLES
from congrad.preferences.layout import Layout
from congrad.preferences.pairing import IN_WORDS, Candidate, NoPair, choose
from congrad.words import quote

TEXTS = ("response", "answer", "completion", "text", "output", "content", "generation", "messages")
SCORES = ("overall_score", "score", "rating", "overall_rating", "reward")
RANKS = ("rank", "ranking")
"""Of a response that is an object: what it says, its score and its rank."""


def rate(row: Mapping[str, Any], layout: Layout) -> tuple[Any, Any] | NoPair:
    """The best and the worst response of a row, or why there is no pair."""
    assert layout.responses is not None
    responses = row[layout.responses]
    if not isinstance(responses, list) or not responses:
        return NoPair(
            "no responses",
            detail=f"column {layout.responses!r} holds {quote(responses)}, no list of responses; fill it",
        )
    scores = scores_of(row, responses, layout)
    if isinstance(scores, NoPair):
        return scores
    pairs, outcome = choose([Candidate(score) for score in scores])
    if not pairs:
        return IN_WORDS[outcome]
    best, worst, _ = pairs[0]
    return said(responses[best]), said(responses[worst])


def scores_of(row: Mapping[str, Any], responses: Sequence[Any], layout: Layout) -> list[float | None] | NoPair:
    """The score of each response, more being better; None where it has none."""
    for column, sign, names in ((layout.scores, 1, SCORES), (layout.ranks, -1, RANKS)):
        if column is not None and column in row:
            values = row[column]
            if not isinstance(values, list) or len(values) != len(responses):
                detail = f"column {column!r} holds {quote(values)}, not a number for each of {len(responses)} responses"
                return NoPair("scores that do not match the responses", detail=f"{detail}; correct it")
            return [signed(value, sign) for value in values]
        name = column or next(
            (each for each in names if any(isinstance(one, dict) and each in one for one in responses)), None
        )
        if name is not None and (column is not None or layout.scores is None):
            return [signed(one.get(name), sign) if isinstance(one, dict) else None for one in responses]
    detail = f"column {layout.responses!r} has neither scores nor ranks; name them with input.columns.scores"
    return NoPair("responses without scores", detail=detail)


def signed(value: Any, sign: int) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return sign * number if math.isfinite(number) else None


def said(response: Any) -> Any:
    """The text or the messages of a response."""
    if not isinstance(response, dict):
        return response
    return next((response[name] for name in TEXTS if response.get(name) is not None), response)


def pairs_of_trees(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]], str, str]]:
    """The pair of every message whose answers have ranks.

    Yields:
        The number of the better answer's row; the conversation before it; the better and the worse answer.
    """
    number_of = {key: number for number, row in enumerate(rows) if (key := name_of(row["message_id"])) is not None}
    answers: dict[Any, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if speaker(row) == "assistant" and name_of(row["parent_id"]) in number_of:
            answers[name_of(row["parent_id"])].append(number)
    for parent, numbers in answers.items():
        candidates = [Candidate(signed(rows[number]["rank"], -1)) for number in numbers]
        for best, worst, _ in choose(candidates)[0]:
            good, bad = numbers[best], numbers[worst]
            yield good, before(rows, number_of, parent), rows[good]["text"], rows[bad]["text"]


def before(rows: Sequence[Mapping[str, Any]], number_of: Mapping[Any, int], last: Any) -> list[dict[str, Any]]:
    """The conversation that a message ends."""
    path: list[dict[str, Any]] = []
    seen: set[Any] = set()
    while last in number_of and last not in seen:
        seen.add(last)
        row = rows[number_of[last]]
        path.append({"role": speaker(row), "content": row["text"]})
        last = name_of(row["parent_id"])
    return path[::-1]


def name_of(value: Any) -> str | int | None:
    """The name of a message; None where it has none."""
    return value if isinstance(value, str | int) else None


def speaker(row: Mapping[str, Any]) -> str:
    role = str(row["role"])
    return ROLES.get(role.lower(), role)
