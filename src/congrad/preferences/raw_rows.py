"""What the columns of a layout hold, row by row: a prompt and two responses, as they are or out of what rates them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import datasets

from congrad.errors import UserError
from congrad.preferences.comparison import columns_of_verdict, compare, distinct, plain
from congrad.preferences.known_names import CANONICAL, LANGUAGE
from congrad.preferences.layout import Kind, Layout
from congrad.preferences.message_trees import COLUMNS, FLAGS, pairs_of_trees, speaker
from congrad.preferences.ratings import listed, pairs_of_rows, rate
from congrad.preferences.rows import iterate
from congrad.preferences.verdicts import Outcome, Verdicts, read_verdicts
from congrad.settings.input import Input
from congrad.sources.part import Mistake, Part
from congrad.sources.source import BATCH

MOST_VALUES, OTHER = 1000, "other values"  # of a verdict, that are kept apart


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


def text_columns(layout: Layout, *, own: bool = True) -> list[str]:
    """The columns of a layout that hold text or messages; of the prompt and what comes before it alone, not `own`."""
    sides = (layout.chosen, layout.rejected) if own else ()
    named = (layout.prompt, layout.addition, *sides, layout.system, layout.history)
    return list(dict.fromkeys(name for name in named if name is not None))


def raw_rows(part: Part, layout: Layout, settings: Input) -> Iterator[tuple[int, dict[str, Any] | Mistake]]:
    """Every row's prompt and responses under the names of the layout, or why there is no pair in it."""
    if layout.name == "pairs":
        yield from enumerate(iterate(part.dataset, text_columns(layout)))
    elif layout.first is not None:
        own = [
            layout.first,
            layout.second,
            layout.first_model,
            layout.second_model,
            *text_columns(layout, own=False),
        ]
        own += [layout.first_score, layout.second_score]
        there = part.dataset.column_names
        verdicts = [] if layout.better is None else columns_of_verdict(there, layout.better)
        columns = list(dict.fromkeys([*verdicts, *(column for column in own if column is not None)]))
        for number, row in enumerate(iterate(part.dataset, columns)):
            yield number, _with_sides(row, compare(row, layout))
    elif layout.responses is not None and one_a_row(part.dataset, layout):
        yield from _of_rows(part, layout)
    elif layout.responses is not None:
        own = [layout.responses, layout.scores, layout.ranks, *text_columns(layout, own=False)]
        there = part.dataset.column_names  # scores and ranks may be named within the responses
        columns = [column for column in dict.fromkeys(own) if column is not None and column in there]
        for number, row in enumerate(iterate(part.dataset, columns)):
            yield number, _with_sides(row, rate(row, layout))
    else:
        yield from _of_trees(part)


def _with_sides(row: dict[str, Any], found: tuple[Any, Any] | Mistake) -> dict[str, Any] | Mistake:
    return found if isinstance(found, Mistake) else {**row, "chosen": found[0], "rejected": found[1]}


def one_a_row(dataset: datasets.Dataset, layout: Layout) -> bool:
    """Whether a row holds one response and its score, so that the rows of a prompt belong together."""
    column = layout.scores or layout.ranks
    if column is None or column not in dataset.column_names:
        return False
    kind = kind_of(dataset.features[column])
    if kind != "text":
        return kind == "number"
    filled = next((row[column] for row in iterate(dataset, [column]) if row[column]), "")
    return not isinstance(listed(filled), list)


def _of_rows(part: Part, layout: Layout) -> Iterator[tuple[int, dict[str, Any] | Mistake]]:
    assert layout.responses is not None
    if layout.prompt is None:
        problem = "rows of one response each are put together by their prompt, and no column is known to hold it"
        raise UserError(problem, "set input.columns.prompt", at=part.source.name)
    before = text_columns(layout, own=False)
    named = (*([] if layout.language is None else [layout.language]), *LANGUAGE)
    language = [name for name in named if name in part.dataset.column_names][:1]
    told = (
        hashlib.sha256(json.dumps(list(row.values()), default=str).encode()).digest()
        for row in iterate(part.dataset, list(dict.fromkeys([*before, *language])))
    )
    column, sign = (layout.scores, 1) if layout.scores is not None else (layout.ranks, -1)
    assert column is not None
    scores = (row[column] for row in iterate(part.dataset, [column]))
    pairs, left = pairs_of_rows(told, scores, sign, column)
    found = sorted(pairs)
    responses = part.dataset.select_columns([layout.responses])
    rows = part.dataset.select_columns(list(dict.fromkeys([*before, layout.responses])))
    for start in range(0, len(found), BATCH):
        own = found[start : start + BATCH]
        worse = responses[[pairs[number] for number in own]][layout.responses]
        table = rows[own]
        for position, number in enumerate(own):
            row = {name: values[position] for name, values in table.items()}
            yield number, _with_sides(row, (row[layout.responses], worse[position]))
    yield from left.items()


def _of_trees(part: Part) -> Iterator[tuple[int, dict[str, Any] | Mistake]]:
    flags = [name for name in FLAGS if name in part.dataset.column_names]
    pairs, left = pairs_of_trees(iterate(part.dataset, [*COLUMNS, *flags]))
    messages = part.dataset.select_columns(["text", "role"])
    for start in range(0, len(pairs), BATCH):
        own = pairs[start : start + BATCH]
        wanted = sorted({number for pair in own for number in (*pair.path, pair.better, pair.worse)})
        table = messages[wanted]
        texts = dict(zip(wanted, table["text"], strict=True))
        roles = dict(zip(wanted, table["role"], strict=True))
        for pair in own:
            prompt = [{"role": speaker(roles[number]), "content": texts[number]} for number in pair.path]
            yield pair.better, dict(zip(CANONICAL, (prompt, texts[pair.better], texts[pair.worse]), strict=True))
    yield from left.items()


def with_verdicts(parts: Sequence[Part], layouts: Sequence[Layout], settings: Input) -> list[Layout]:
    """The layouts with what the values of `better` mean, which all parts together say: one file of a scale may hold
    no number below zero.

    Raises:
        UserError: they may mean two things.
    """
    values: dict[tuple[str, str], Counter[str]] = {}
    said = {plain(value): cast("Outcome", meaning) for value, meaning in settings.better.items()}
    for part, layout in zip(parts, layouts, strict=True):
        if layout.better is not None and layout.better in part.dataset.column_names:
            found = values.setdefault((layout.better, layout.first or ""), Counter())
            models = [each for each in (layout.first_model, layout.second_model) if each is not None]
            for row in iterate(part.dataset, [layout.better, *models]):
                value = plain(row[layout.better])
                if value not in said and value not in {plain(row[model]) for model in models}:
                    found[value if len(found) < MOST_VALUES or value in found else OTHER] += 1
    decided = []
    for part, layout in zip(parts, layouts, strict=True):
        own = Verdicts()
        if (key := (layout.better or "", layout.first or "")) in values:
            markers = (distinct(layout.first, layout).lower(), distinct(layout.second, layout).lower())
            own = read_verdicts(values[key], key[0], markers, part.source.name)
        decided.append(replace(layout, meanings={**own.meanings, **said}, has_sign=own.has_sign))
    return decided
