"""Which pairs the page shows with their texts: all of a few thousand; else the extremes and a random sample.

Shapes: N input rows, S rows that are shown.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from congrad.filtering.comparison import Array
from congrad.filtering.finished import ScoredRun, rows_at, stored_section
from congrad.preferences.render import explicit
from congrad.settings.input import DEFAULT_LANGUAGE_COLUMN, Input

MAX_ALL = 3000  # pairs: up to here a page shows all
SAMPLE = 1500  # about this many pairs are shown, where there are more
LONGEST = 20_000  # characters of a text; the longest answer of 1024 tokens is a quarter of it
LONGEST_OTHER = 500  # of a column that the filter does not read
ROW_BYTES, COSINE_BYTES = 24, 6  # of a row without its texts, in base64
MOST, LEAST, RANDOM = 0, 1, 2
NO_TEXT = {"prompt", "chosen", "rejected"}


@dataclass(frozen=True)
class Shown:
    """Attributes:
    position_S: of the rows in the input order, in that order.
    kind_S: most aligned of its language, least aligned, or drawn at random.
    texts: prompt, chosen, rejected and other columns of each.
    each: how many of every kind a language has at most; None where all rows are shown.
    """

    position_S: Array
    kind_S: Array
    texts: list[dict[str, Any]]
    each: int | None


def choose(run: ScoredRun, *, max_bytes: int, size_of: Callable[[dict[str, Any]], int]) -> Shown:
    """Chooses rows and reads their texts (`rows_at`).

    Args:
        max_bytes: of the rows; those of a sample stay below, and it is made smaller if need be. All are all.
        size_of: bytes of a row's texts in the page.
    """
    if len(run) <= MAX_ALL:
        positions = np.arange(len(run))
        return Shown(positions, np.full(len(run), RANDOM), _texts(run, positions), None)
    each = max(2, SAMPLE // (3 * len(run.languages)))
    position_S, kind_S, turn_S = draw(run.score_N, run.language_N, each, seed=0)
    texts = _texts(run, position_S)
    size_S = np.array([size_of(text) for text in texts]) + ROW_BYTES + COSINE_BYTES * len(run.languages)
    fits = each
    while fits > 1 and size_S[turn_S < fits].sum() > max_bytes:
        fits -= 1
    taken_S = np.flatnonzero(turn_S < fits)
    return Shown(position_S[taken_S], kind_S[taken_S], [texts[i] for i in taken_S], fits)


def draw(score_N: Array, language_N: Array, each: int, seed: int) -> tuple[Array, Array, Array]:
    """The `each` most and least aligned pairs of every language, and as many at random out of the others.

    Returns:
        Position, kind and turn of every drawn row, by position. A row's turn is its rank within kind and language: the
        rows of a turn below k are what a smaller draw of k each would be.
    """
    generator = np.random.default_rng(seed)
    drawn: list[tuple[int, int, int]] = []
    for language in np.unique(language_N):
        own = np.flatnonzero(language_N == language)
        scored = own[~np.isnan(score_N[own])]
        best_first = scored[np.argsort(-score_N[scored], kind="stable")]
        most = best_first[:each]
        least = best_first[len(most) :][::-1][:each]
        rest = np.setdiff1d(own, np.concatenate([most, least]))
        random = generator.permutation(rest)[:each]
        for kind, rows in ((MOST, most), (LEAST, least), (RANDOM, random)):
            drawn += [(row, kind, turn) for turn, row in enumerate(rows.tolist())]
    columns = np.array(sorted(drawn))
    return columns[:, 0], columns[:, 1], columns[:, 2]


def _texts(run: ScoredRun, positions: Array) -> list[dict[str, Any]]:
    language = stored_section(Input, run).columns.language or DEFAULT_LANGUAGE_COLUMN
    hidden = {*NO_TEXT, "congrad_score", language}
    return [_text(row, hidden) for row in rows_at(run, positions.tolist())]


def _text(row: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    prompt, chosen, rejected = explicit(row)
    other = {_cut(name, LONGEST_OTHER): _other(value) for name, value in row.items() if name not in hidden}
    return {"prompt": _side(prompt), "chosen": _side(chosen), "rejected": _side(rejected), "other": other}


def _side(side: Any) -> str | list[list[str]]:
    """A text, or a list of (role, text)."""
    if isinstance(side, str):
        return _cut(side, LONGEST)
    messages = []
    for message in side:
        content = message.get("content")
        calls = message.get("tool_calls")
        parts = [content if isinstance(content, str) else "" if content is None else _json(content)]
        parts += [_json(calls)] if calls else []
        messages.append([str(message.get("role")), _cut("\n".join(filter(None, parts)), LONGEST)])
    return messages


def _other(value: Any) -> str:
    return _cut(value if isinstance(value, str) else _json(value), LONGEST_OTHER)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} more characters)"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
