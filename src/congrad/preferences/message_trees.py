"""Pairs out of conversations that are stored as trees: a message a row, with the message that it answers, and its rank.

The answers of the assistant to one message are the responses of one prompt, which is the conversation from the root to
that message. Only names, roles and ranks are held in memory; texts are read when a pair is made.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from congrad.preferences.conversations import ROLES
from congrad.preferences.pairing import IN_WORDS, Candidate, choose
from congrad.preferences.ratings import BETWEEN, IN_A_PAIR, score_of
from congrad.sources.part import Mistake
from congrad.words import quote

COLUMNS = ("message_id", "parent_id", "role", "rank")
FLAGS = ("deleted", "is_deleted", "spam", "is_spam")
"""Columns that take a message, and all that follows it, out."""
MOST_TURNS = 200
NOT_THERE = "an answer to a message that is not there"
NO_ANSWER = Mistake("a message that is no response", is_bad=False, is_listed=False)


@dataclass(frozen=True)
class TreePair:
    """Row numbers: of the prompt's messages from the root on, and of the better and the worse response to it."""

    path: tuple[int, ...]
    better: int
    worse: int


def pairs_of_trees(rows: Iterable[Mapping[str, Any]]) -> tuple[list[TreePair], dict[int, Mistake]]:
    """The pair of every message whose answers have ranks.

    Args:
        rows: in any order, each with `COLUMNS` and perhaps some of `FLAGS`.

    Returns:
        The pairs by the row of the better response, ascending; and why each other row is not where a pair stands.
    """
    number_of_name: dict[str | int, int] = {}
    left: dict[int, Mistake] = {}
    parents: list[Any] = []
    roles: list[str] = []
    scores: list[float | None] = []
    for number, row in enumerate(rows):
        name, parent = name_of(row["message_id"]), name_of(row["parent_id"])
        parents.append(parent)
        roles.append(speaker(row["role"]))
        score = score_of(row["rank"], -1, "rank")
        scores.append(None if isinstance(score, Mistake) else score)
        if isinstance(score, Mistake):
            left[number] = score
        elif not isinstance(name, str | int) or not isinstance(parent, str | int | None):
            wrong = quote(name if not isinstance(name, str | int) else parent)
            left[number] = Mistake("a message without a name", f"holds {wrong} for a message's name", "correct it")
        elif name in number_of_name:
            problem = f"holds {quote(name)}, as another row does"
            left[number] = Mistake("a message that is there twice", problem, "remove one", "message_id")
        elif any(row.get(flag) is True for flag in FLAGS):
            left[number] = Mistake("a message that was deleted or is spam", is_bad=False)
            number_of_name[name] = number
        else:
            number_of_name[name] = number
    answers: dict[int, list[int]] = defaultdict(list)
    for number, parent in enumerate(parents):
        if number in left:
            continue
        if roles[number] != "assistant" or parent is None:
            left[number] = NO_ANSWER
        elif parent not in number_of_name:
            problem = f"holds {quote(parent)}, which is no row's message_id"
            left[number] = Mistake(NOT_THERE, problem, "add that row", "parent_id")
        else:
            answers[number_of_name[parent]].append(number)
    taken = {number for number, why in left.items() if why is not NO_ANSWER}
    above: list[int | None] = [
        number_of_name.get(parent) if isinstance(parent, str | int) else None for parent in parents
    ]
    pairs = []
    for asked, numbers in answers.items():
        path = path_to(asked, above, parents, taken)
        if isinstance(path, Mistake):
            left |= dict.fromkeys(numbers, path)
            continue
        found, outcome = choose([Candidate(scores[number]) for number in numbers])
        if not found:
            left |= dict.fromkeys(numbers, IN_WORDS[outcome])
            continue
        ((best, worst, _),) = found
        pairs.append(TreePair(path, numbers[best], numbers[worst]))
        left |= {number: BETWEEN for number in numbers if number != numbers[best]}
        left[numbers[worst]] = IN_A_PAIR
    return sorted(pairs, key=lambda pair: pair.better), left


def path_to(
    last: int, above: Sequence[int | None], parents: Sequence[Any], taken: set[int]
) -> tuple[int, ...] | Mistake:
    """The rows from the root of a tree to one of its messages, or why there is no such conversation."""
    path: list[int] = []
    number: int | None = last
    while number is not None:
        if number in taken:
            return Mistake("an answer below a message that is left out", is_bad=False)
        path.append(number)
        if len(path) > MOST_TURNS:
            problem = f"comes after more than {MOST_TURNS} messages, or after itself"
            return Mistake("a message without a root", problem, "correct its parent_id")
        if above[number] is None and parents[number] is not None:
            problem = f"a message before it answers {quote(parents[number])}, which is no row's message_id"
            return Mistake(NOT_THERE, problem, "add that row")
        number = above[number]
    return tuple(reversed(path))


def name_of(value: Any) -> Any:
    """A message's name as it is compared: a column of numbers with gaps holds 1.0 for 1; None where there is none."""
    if value == "" or value != value:
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def speaker(role: Any) -> str:
    """Who speaks, as chat templates name it."""
    name = str(role)[:40]
    return ROLES.get(name.lower(), name)
