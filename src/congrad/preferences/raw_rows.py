"""What the columns of a layout hold, row by row: a prompt and two responses, as they are or out of what rates them."""

import re
from collections.abc import Iterator
from typing import Any

import datasets

from congrad.preferences.comparison import columns_of_verdict, compare
from congrad.preferences.known_names import CANONICAL
from congrad.preferences.layout import Kind, Layout
from congrad.preferences.pairing import NoPair
from congrad.preferences.ratings import pairs_of_trees, rate
from congrad.preferences.rows import iterate
from congrad.settings.input import Input
from congrad.sources.part import Part

NEGATIVE = re.compile(r"-\d+(\.\d*)?")


def kinds_of(dataset: datasets.Dataset) -> dict[str, Kind]:
    """What the columns of a dataset hold."""
    return {column: kind_of(feature) for column, feature in dataset.features.items()}


def kind_of(feature: Any) -> Kind:
    match feature:
        case datasets.Value():
            if feature.dtype in ("string", "large_string", "string_view"):
                return "text"
            return "number" if feature.dtype.startswith(("int", "uint", "float", "bool")) else "other"
        case datasets.List() | datasets.LargeList():
            return "list" if kind_of(feature.feature) in ("text", "number") else "conversation"
        case dict():
            return "object"
    return "other"


def columns_read(layout: Layout, *, own: bool = True) -> list[str]:
    """The columns of a layout that hold text or messages; of the prompt and what comes before it alone, not `own`."""
    sides = (layout.chosen, layout.rejected) if own else ()
    named = (layout.prompt, layout.addition, *sides, layout.system, layout.history)
    return list(dict.fromkeys(name for name in named if name is not None))


def raw_rows(part: Part, layout: Layout, settings: Input) -> Iterator[tuple[int, dict[str, Any] | NoPair]]:
    """Every row's prompt and responses under the names of the layout, or why there is no pair in it."""
    if layout.name == "pairs":
        yield from enumerate(iterate(part.dataset, columns_read(layout)))
    elif layout.better is not None:
        own = [layout.first, layout.second, layout.first_model, layout.second_model, *columns_read(layout, own=False)]
        verdicts = columns_of_verdict(part.dataset.column_names, layout.better)
        has_sign = any(below_zero(part.dataset, column) for column in verdicts)
        columns = list(dict.fromkeys([*verdicts, *(column for column in own if column is not None)]))
        for number, row in enumerate(iterate(part.dataset, columns)):
            yield number, _with_sides(row, compare(row, layout, settings.better, has_sign=has_sign))
    elif layout.responses is not None:
        own = [layout.responses, layout.scores, layout.ranks, *columns_read(layout, own=False)]
        there = part.dataset.column_names  # scores and ranks may be named within the responses
        columns = [column for column in dict.fromkeys(own) if column is not None and column in there]
        for number, row in enumerate(iterate(part.dataset, columns)):
            yield number, _with_sides(row, rate(row, layout))
    else:
        rows = list(iterate(part.dataset, ["message_id", "parent_id", "text", "role", "rank"]))
        pairs = {number: pair for number, *pair in pairs_of_trees(rows)}
        for number in range(len(rows)):
            if number in pairs:
                yield number, dict(zip(CANONICAL, pairs[number], strict=True))
            else:
                yield number, NoPair("another message of its tree", is_bad=False)


def _with_sides(row: dict[str, Any], found: tuple[Any, Any] | NoPair) -> dict[str, Any] | NoPair:
    return found if isinstance(found, NoPair) else {**row, "chosen": found[0], "rejected": found[1]}


def below_zero(dataset: datasets.Dataset, column: str) -> bool:
    """Whether a column has a number below zero, as such or as text."""
    if kind_of(dataset.features[column]) not in ("number", "text"):
        return False
    return any(NEGATIVE.fullmatch(str(row[column]).strip()) for row in iterate(dataset, [column]))
