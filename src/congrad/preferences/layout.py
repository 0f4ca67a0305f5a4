"""Which columns of a data set are which: set by name, or found by the names that are in common use.

Every published form is one of three layouts. Pairs: a preferred and another response. Comparisons: two responses and a
column that says which is better. Ratings: a prompt's responses with scores or ranks. `datasets` is not needed here.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from congrad.errors import UserError
from congrad.preferences import known_names as known
from congrad.preferences.names import require
from congrad.preferences.verdicts import Outcome
from congrad.settings.input import Columns, Input
from congrad.words import quote

Kind = Literal["text", "conversation", "object", "list", "number", "other"]
"""What a column holds: conversations are lists of messages, lists are of texts."""
Name = Literal["pairs", "comparison", "ratings"]


@dataclass(frozen=True)
class Layout:
    """The columns of a source that are read, by what they hold; None where there is none.

    Attributes:
        name: how the rows make pairs.
        addition: text that follows the prompt on a line of its own: the `input` of an `instruction`.
        better: which of two responses is better: a column, or several of which each is true for one outcome.
        first_score, second_score: of the two responses, more being better; where there is no `better`.
        note: what was found by its name, or "".
        meanings: of values of `better`, as `comparison.plain` spells them: those that are set, and those that were
            decided from all of them.
        has_sign: the numbers of `better` are a scale, below 0 for the first response.
    """

    name: Name = "pairs"
    prompt: str | None = None
    addition: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    system: str | None = None
    history: str | None = None
    language: str | None = None
    first: str | None = None
    second: str | None = None
    better: str | None = None
    first_model: str | None = None
    second_model: str | None = None
    first_score: str | None = None
    second_score: str | None = None
    responses: str | None = None
    scores: str | None = None
    ranks: str | None = None
    note: str = ""
    meanings: Mapping[str, Outcome] = field(default_factory=dict)
    has_sign: bool = False


def find_layout(columns: Mapping[str, Kind], name: str, settings: Input) -> Layout:
    """The layout of a source's columns.

    Args:
        columns: what each holds.
        name: of the source, for a message.

    Raises:
        UserError: a column is missing or misspelt; two columns could be one and the same; rows hold one response and a
            label.
    """
    for key, value in named(settings.columns):
        if value in settings.ignore:
            raise UserError(f"is {quote(value)}, which input.ignore leaves unread", "name it once", key=key)
        if key not in FLEXIBLE:
            require(columns, name, value, key)
    left = {column: kind for column, kind in columns.items() if column not in settings.ignore}
    given = settings.columns
    kind = settings.layout if settings.layout != "auto" else _kind_of_layout(left, given)
    layout = {"pairs": _pairs, "comparison": _comparison, "ratings": _ratings}[kind](left, name, given)
    layout = _with_prompt(layout, left, name, given)
    layout = replace(
        layout,
        system=given.system or _one(left, known.SYSTEM, name, "system", layout),
        history=given.history or _one(left, known.HISTORY, name, "history", layout),
        language=given.language,
    )
    return replace(layout, note=_note(layout, given))


FLEXIBLE = (
    "input.columns.language",
    "input.columns.group",
    "input.columns.scores",
    "input.columns.ranks",
    "input.columns.better",
)
"""Settings that may name a field of a response, or are checked elsewhere."""


def named(columns: Columns) -> Iterator[tuple[str, str]]:
    """The settings of columns that name one."""
    for each in fields(Columns):
        if (value := getattr(columns, each.name)) is not None:
            yield f"input.columns.{each.name}", value


def _kind_of_layout(columns: Mapping[str, Kind], given: Columns) -> Name:
    """Of what the columns are; pairs where it is unsure, whose message then says what is missing."""
    if given.chosen or given.rejected:
        return "pairs"
    if given.responses or given.scores or given.ranks:
        return "ratings"
    if given.first or given.second or given.better:
        return "comparison"
    if set(known.CANONICAL[1:]) <= set(columns) or known.found_pairs(list(columns), known.sides()):
        return "pairs"
    compared = known.found_pairs(list(columns), known.compared())
    if compared and (_verdicts(columns) or _scored(columns, *compared[0])):
        return "comparison"
    if set(known.TREE) <= set(columns) or _rated(columns):
        return "ratings"
    return "pairs"


def _rated(columns: Mapping[str, Kind]) -> list[str]:
    return [name for name in known.found_names(list(columns), known.RATED) if columns[name] not in ("number", "text")]


def _single(columns: Mapping[str, Kind]) -> list[str]:
    """The columns of one response a row, which has its score beside it."""
    return [name for name in known.found_names(list(columns), known.LABELLED[0]) if columns[name] == "text"]


def _pairs(columns: Mapping[str, Kind], name: str, given: Columns) -> Layout:
    if given.chosen and given.rejected:
        return Layout("pairs", chosen=given.chosen, rejected=given.rejected)
    found = known.found_pairs(list(columns), known.sides())
    if given.chosen or given.rejected:
        found = [each for each in found if given.chosen in (None, each[0]) and given.rejected in (None, each[1])]
        found = found or [(given.chosen or "chosen", given.rejected or "rejected")]
    elif (canonical := ("chosen", "rejected")) in found or "chosen" in columns or "rejected" in columns:
        found = [canonical]
    if len(found) > 1:
        raise _undecided("chosen", [one for one, _ in found], name)
    if not found:
        _refuse_labelled(columns, name)
    chosen, rejected = found[0] if found else ("chosen", "rejected")
    other = "" if found else ", or say with input.layout that these are comparisons or ratings"
    require(columns, name, chosen, f"input.columns.chosen{other}")
    require(columns, name, rejected, "input.columns.rejected")
    return Layout("pairs", chosen=chosen, rejected=rejected)


def _refuse_labelled(columns: Mapping[str, Kind], name: str) -> None:
    responses, labels = (known.found_names(list(columns), names) for names in known.LABELLED)
    if responses and labels and not known.found_pairs(list(columns), known.compared()):
        problem = f"one response a row ({quote(responses[0])}) with a label ({quote(labels[0])}) is no pair"
        raise UserError(problem, "give two responses to each prompt", at=name)


def _comparison(columns: Mapping[str, Kind], name: str, given: Columns) -> Layout:
    found = known.found_pairs(list(columns), known.compared())
    first, second = given.first, given.second
    if first is None or second is None:
        found = [each for each in found if first in (None, each[0]) and second in (None, each[1])]
        if len(found) > 1:
            raise _undecided("first", [one for one, _ in found], name)
        if not found:
            key = "input.columns.first" if first is None else "input.columns.second"
            if first is None and second is None:
                key = "input.columns.first and input.columns.second"
            raise UserError("no two columns of responses are known by their names", f"set {key}", at=name)
        first, second = found[0]
    better = given.better
    if better is None:
        verdicts = _verdicts(columns)
        if len(verdicts) > 1:
            raise _undecided("better", verdicts, name)
        scored = _scored(columns, first, second)
        if not verdicts and scored is not None:
            return Layout("comparison", first=first, second=second, first_score=scored[0], second_score=scored[1])
        if not verdicts:
            problem = f"no column is known by its name to say which of {quote(first)} and {quote(second)} is better"
            raise UserError(problem, "set input.columns.better", at=name)
        better = verdicts[0]
    models = [each for each in (("model_a", "model_b"), ("model_1", "model_2")) if set(each) <= set(columns)]
    one, other = models[0] if models else (None, None)
    return Layout(
        "comparison",
        first=first,
        second=second,
        better=better,
        first_model=given.first_model or one,
        second_model=given.second_model or other,
    )


def _verdicts(columns: Mapping[str, Kind]) -> list[str]:
    """The columns that say which of two responses is better."""
    found = known.found_names(list(columns), known.BETTER)
    found += [pattern for pattern, names in known.WINNERS if set(names) <= set(columns)]
    return found


def _scored(columns: Mapping[str, Kind], first: str, second: str) -> tuple[str, str] | None:
    """Two columns of scores, named as the responses are: `score_A` and `score_B` of `human_ref_A` and `human_ref_B`."""
    there = known.found_pairs(list(columns), known.scored())
    ends = [(one, other) for one, other in there if first.endswith(one[-1]) and second.endswith(other[-1])]
    return ends[0] if len(ends) == 1 else None


def _ratings(columns: Mapping[str, Kind], name: str, given: Columns) -> Layout:
    if given.responses is None and set(known.TREE) <= set(columns):
        return Layout("ratings", scores=given.scores, ranks=given.ranks)
    responses = given.responses
    if responses is None:
        found = _rated(columns) or _single(columns)
        if len(found) > 1:
            raise _undecided("responses", found, name)
        if not found:
            fix = "set input.columns.responses and input.columns.scores or input.columns.ranks"
            raise UserError("no column of responses is known by its name", fix, at=name)
        responses = found[0]
    scores, ranks = given.scores, given.ranks
    if scores is None and ranks is None:  # where the responses are objects, scores may be within them
        beside = {each for each, kind in columns.items() if "list" in (kind, columns.get(responses))} - {responses}
        if responses in _single(columns):
            beside |= {each for each, kind in columns.items() if kind == "number"}
        values, places = (
            [each for each in known.found_names(list(columns), names) if each in beside] for names in RATED_BY
        )
        if len(values) + len(places) > 1:
            raise _undecided("scores" if values else "ranks", [*values, *places], name)
        scores, ranks = next(iter(values), None), next(iter(places), None)
    return Layout("ratings", responses=responses, scores=scores, ranks=ranks)


RATED_BY = (known.SCORES, known.RANKS)


def _with_prompt(layout: Layout, columns: Mapping[str, Kind], name: str, given: Columns) -> Layout:
    """Finds the prompt: the set one, else `prompt`, else the one that a known name says."""
    if given.prompt is not None:
        return replace(layout, prompt=given.prompt)
    if "prompt" in columns:
        return replace(layout, prompt="prompt")
    used = {value for value in vars(layout).values() if isinstance(value, str)}
    found = [each for each in known.found_names(list(columns), ("prompt", *known.PROMPTS)) if each not in used]
    if {"instruction", "input"} == set(found) and columns["input"] == columns["instruction"] == "text":
        return replace(layout, prompt="instruction", addition="input")
    if len(found) > 1:
        raise _undecided("prompt", found, name)
    if found:
        return replace(layout, prompt=found[0])
    if columns.get("history") == "text" and given.history is None:
        return replace(layout, prompt="history")
    if known.WHOLE in columns and known.WHOLE not in used and columns.get(layout.chosen or "") != "conversation":
        return replace(layout, prompt=known.WHOLE)
    if layout.name == "pairs":
        lower = {column.lower(): column for column in columns}
        near = difflib.get_close_matches("prompt", lower, n=1, cutoff=0.85)
        if near:  # TRL would look for a prompt that the responses share
            raise UserError(f"no column 'prompt', but {quote(lower[near[0]])}", "rename it", at=name)
    return layout


def _one(columns: Mapping[str, Kind], wanted: Sequence[str], name: str, what: str, layout: Layout) -> str | None:
    found = [each for each in known.found_names(list(columns), wanted) if each != layout.prompt]
    if len(found) > 1:
        raise _undecided(what, found, name)
    return found[0] if found else None


def _undecided(what: str, found: Sequence[str], name: str) -> UserError:
    problem = f"{' and '.join(map(quote, found))} could each be the column of {WORDS[what]}"
    return UserError(problem, f"set input.columns.{what} to one of them", at=name)


WORDS = {
    "prompt": "the prompt",
    "chosen": "the response that was preferred",
    "first": "the first response",
    "better": "the verdict",
    "responses": "the responses",
    "scores": "the scores",
    "ranks": "the ranks",
    "system": "the system message",
    "history": "the earlier turns",
}


def _note(layout: Layout, given: Columns) -> str:
    """What was found by its name, where a name is not what it stands for: "prompt from `instruction`"."""
    found = []
    for each in fields(Columns):
        value = getattr(layout, each.name, None)
        if value is None or value == each.name or value == getattr(given, each.name):
            continue
        more = f" and `{layout.addition}`" if each.name == "prompt" and layout.addition else ""
        found.append(f"{each.name} from `{value}`{more}")
    if layout.first_score is not None:
        found.append(f"the better one by `{layout.first_score}` and `{layout.second_score}`")
    return ", ".join(found)


def kind_of_value(value: Any) -> Kind | None:
    """What a field holds, to know its column's kind before its type is known; None of nothing."""
    match value:
        case None:
            return None
        case str():
            return "text"
        case bool() | int() | float():
            return "number"
        case dict():
            return "object"
        case list() if value and all(isinstance(each, str) for each in value):
            return "list"
        case list():
            return "conversation"
    return "other"
