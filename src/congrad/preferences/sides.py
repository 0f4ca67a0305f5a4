"""One row as it was published, turned into a prompt and two responses: pure functions, a row at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from congrad.preferences.conversations import (
    FILL,
    NULL,
    Cell,
    alternating,
    in_turn,
    read_cell,
    read_history,
    said,
)
from congrad.preferences.layout import Layout
from congrad.preferences.names import EMPTY_PROMPT
from congrad.preferences.render import Message, Side, is_blank, split_prompt
from congrad.preferences.written import read_texts
from congrad.sources.part import Mistake
from congrad.words import quote

OPENERS = ("user", "system", "developer")
"""Who speaks first where a response holds its conversation as a whole."""


@dataclass(frozen=True)
class Raw:
    """What a row holds; `prompt` is None where there is no such column."""

    prompt: Cell | None
    chosen: Cell
    rejected: Cell
    system: str = ""
    history: tuple[Message, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.chosen, self.rejected) if self.prompt is None else (self.prompt, self.chosen, self.rejected)

    @property
    def is_text(self) -> bool:
        return all(cell.kind == "text" for cell in self.cells)


@dataclass(frozen=True)
class Form:
    """What the rows of a source become.

    Attributes:
        conversational: messages; else text.
        lists: the prompt is a list of the user's turns, a response one of the assistant's.
        cut: a prompt is cut off the head of both responses where it is text.
    """

    conversational: bool = False
    lists: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Pair:
    """A row as trainers read it; `prompt` is None where it is what both texts begin with."""

    prompt: Side | None
    chosen: Side
    rejected: Side
    is_cut: bool = False


def read_row(row: dict[str, Any], layout: Layout) -> Raw | Mistake:
    """What the columns of a layout hold in a row, or the first mistake."""
    assert layout.chosen is not None
    assert layout.rejected is not None
    cells: list[Cell] = []
    wanted = (("prompt", layout.prompt, "user"), ("chosen", layout.chosen, "assistant"))
    for name, column, role in (*wanted, ("rejected", layout.rejected, "assistant")):
        if column is None:
            continue
        cell = read_cell(row[column], column, role)
        if isinstance(cell, Mistake):
            return cell
        if cell is NULL:
            return Mistake(f"{name} is null or missing", "is null or missing", FILL, column)
        if name == "prompt" and cell.kind == "text":
            if layout.addition is not None and (more := row[layout.addition]):
                cell = Cell("text", text=f"{cell.text}\n{more}")
            if is_blank(cell.text):
                return Mistake(EMPTY_PROMPT, f"holds an {EMPTY_PROMPT}", FILL, column)
        cells.append(cell)
    system = row[layout.system] if layout.system is not None else ""
    if not isinstance(system, str | None):
        return Mistake(
            "a system message that is not text", f"holds {quote(system)}", "write it as text", layout.system or ""
        )
    history = read_history(row[layout.history], layout.history) if layout.history is not None else []
    if isinstance(history, Mistake):
        return history
    system = system if system and system.strip() else ""
    return Raw(None if layout.prompt is None else cells[0], cells[-2], cells[-1], system, tuple(history))


def are_turns(raw: Raw) -> bool:
    """Whether a row holds the user's turns in one list and the assistant's in others of its length."""
    lists = [_texts(cell) for cell in raw.cells]
    return raw.prompt is not None and None not in lists and len({len(each) for each in lists if each}) == 1


def _texts(cell: Cell) -> tuple[str | None, ...] | None:
    if cell.kind == "texts":
        return cell.texts
    found = read_texts(cell.text) if cell.kind == "text" else None
    return None if found is None else tuple(found)


def repeats_prompt(raw: Raw) -> bool:
    """Whether both responses are texts that begin with the prompt and go on after it."""
    if raw.prompt is None or not raw.is_text:
        return False
    sides = (raw.chosen.text, raw.rejected.text)
    return all(side.startswith(raw.prompt.text) and len(side) > len(raw.prompt.text) for side in sides)


def pair_of(raw: Raw, form: Form, layout: Layout) -> Pair | Mistake:
    """The pair of a row."""
    if not form.lists and form.cut and repeats_prompt(raw):
        assert raw.prompt is not None
        start = len(raw.prompt.text)
        chosen, rejected = (Cell("text", text=cell.text[start:]) for cell in (raw.chosen, raw.rejected))
        pair = _pair_of(Raw(raw.prompt, chosen, rejected, raw.system, raw.history), form, layout)
        return pair if isinstance(pair, Mistake) else Pair(pair.prompt, pair.chosen, pair.rejected, is_cut=True)
    return _pair_of(raw, form, layout)


def _pair_of(raw: Raw, form: Form, layout: Layout) -> Pair | Mistake:
    if form.conversational:
        return _talk(raw, form, layout)
    if not raw.is_text:
        named = zip(raw.cells, (layout.prompt, layout.chosen, layout.rejected)[-len(raw.cells) :], strict=True)
        cell, column = next((cell, column) for cell, column in named if cell.kind != "text")
        what = "a conversation" if cell.kind == "messages" else "a list"
        held = quote(list(cell.messages or cell.texts))
        problem = f"holds {what}, {held}, where most rows hold text"
        return Mistake(f"{what} among texts", problem, "use one form for all", column or "")
    if raw.prompt is not None:
        return Pair(raw.prompt.text, raw.chosen.text, raw.rejected.text)
    chosen, rejected = raw.chosen.text, raw.rejected.text
    if chosen and rejected and is_blank(chosen[: split_prompt(chosen, rejected)]):
        return no_shared_prompt(layout)
    return Pair(None, chosen, rejected)


def no_shared_prompt(layout: Layout) -> Mistake:
    problem = f"columns {layout.chosen!r} and {layout.rejected!r} do not begin with the same prompt"
    fix = "name the column of prompts with input.columns.prompt, or put the prompt at the start of both"
    return Mistake("no shared prompt", f"{problem}, and no column of prompts is known", fix)


def _talk(raw: Raw, form: Form, layout: Layout) -> Pair | Mistake:
    if raw.is_text and not (form.lists or raw.system or raw.history or form.cut) and not _has_context(layout):
        fix = "use one form for all"
        return Mistake(
            "text among conversations", "holds text, where most rows hold messages", fix, layout.chosen or ""
        )
    if form.lists:
        if not are_turns(raw):
            problem = "holds no list of as many texts as the others"
            return Mistake(
                "turns that do not match", problem, "give each turn of the user's an answer", layout.prompt or ""
            )
        asked, *answered = (_texts(cell) or () for cell in raw.cells)
        prompt: list[Message] | None = None
        chosen, rejected = (in_turn(asked, own) for own in answered)
    else:
        found = _messages_of(raw, layout)
        if isinstance(found, Mistake):
            return found
        prompt, chosen, rejected = found
    whole = [bool(side) and side[0]["role"] in OPENERS for side in (chosen, rejected)]
    if any(whole) and not all(whole):
        head = _before_answer(chosen if whole[0] else rejected)
        if not head:
            problem = "holds no answer of the assistant's"
            column = layout.chosen if whole[0] else layout.rejected
            return Mistake("a response without an answer", problem, "end it with the assistant's message", column or "")
        chosen, rejected = (chosen if whole[0] else head + chosen), (rejected if whole[1] else head + rejected)
    if prompt and said(prompt) == said(chosen):  # the conversation with the chosen response, once more
        prompt = None
    is_cut = False
    goes_on = prompt is not None and prompt[-1]["role"] == "assistant"  # the responses begin with the user's answer
    if any(whole) and not (goes_on and not _is_head(prompt, chosen, rejected)):
        head = chosen[: _shared(chosen, rejected)]
        if not any(message["role"] == "user" for message in head):
            return no_shared_prompt(layout)
        if prompt is not None and not _stands_in(prompt, head):
            problem = f"is not what columns {layout.chosen!r} and {layout.rejected!r} begin with"
            fix = f"correct it, or leave it unread with input.ignore=[{layout.prompt}]"
            return Mistake("a prompt that differs from the responses' own", problem, fix, layout.prompt or "")
        is_cut = prompt is not None
        lost = prompt[:1] if prompt and prompt[0]["role"] == "system" and head[0]["role"] != "system" else []
        chosen, rejected = chosen[len(head) :], rejected[len(head) :]
        prompt = [*lost, *head]
    if prompt is None:
        return no_shared_prompt(layout)
    if len(prompt) > 1 and prompt[-1]["role"] == "assistant" and said(prompt[-1:]) == said(chosen[:1]):
        prompt = prompt[:-1]  # a conversation as a whole, of which the chosen response is the end
    if is_blank(prompt):
        return Mistake(EMPTY_PROMPT, f"holds an {EMPTY_PROMPT}", FILL, layout.prompt or layout.chosen or "")
    return _with_context(prompt, chosen, rejected, raw, layout, is_cut)


def _has_context(layout: Layout) -> bool:
    return layout.system is not None or layout.history is not None


def _messages_of(raw: Raw, layout: Layout) -> tuple[list[Message] | None, list[Message], list[Message]] | Mistake:
    if raw.prompt is None and raw.is_text:
        start = split_prompt(raw.chosen.text, raw.rejected.text)
        head = raw.chosen.text[:start]
        if is_blank(head):
            return no_shared_prompt(layout)
        tails = (raw.chosen.text[start:], raw.rejected.text[start:])
        chosen, rejected = ([{"role": "assistant", "content": tail}] for tail in tails)
        return [{"role": "user", "content": head}], chosen, rejected
    sides = []
    for cell, column in ((raw.chosen, layout.chosen), (raw.rejected, layout.rejected)):
        if cell.kind == "texts":
            return Mistake("a list for a response", "holds a list of texts", "write one text or messages", column or "")
        # in a transcript, a space stands between the speaker and what is said
        text = cell.text.strip() if raw.prompt is not None and raw.prompt.stored == "transcript" else cell.text
        sides.append(list(cell.messages) if cell.kind == "messages" else [{"role": "assistant", "content": text}])
    prompt = None
    if raw.prompt is not None and raw.prompt.kind == "texts":
        prompt = alternating(raw.prompt.texts)
    elif raw.prompt is not None:
        talk = raw.prompt.kind == "messages"
        prompt = list(raw.prompt.messages) if talk else [{"role": "user", "content": raw.prompt.text}]
    return prompt, sides[0], sides[1]


def _before_answer(messages: Sequence[Message]) -> list[Message]:
    """A conversation without what the assistant says at its end."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    return list(messages[:end]) if end < len(messages) else []


def _shared(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """As `split_prompt`, of messages whose other keys may differ."""
    one, other = said(chosen), said(rejected)
    shortest = min(len(one), len(other))
    return next((i for i in range(shortest) if one[i] != other[i]), shortest - 1)


def _is_head(prompt: Sequence[Message] | None, chosen: Sequence[Message], rejected: Sequence[Message]) -> bool:
    """Whether both responses begin with the messages of the prompt."""
    start = said(prompt or ())
    return said(chosen[: len(start)]) == said(rejected[: len(start)]) == start


def _stands_in(prompt: Sequence[Message], head: Sequence[Message]) -> bool:
    """Whether a prompt is what both responses begin with, or one of the user's messages there."""
    one, other = said(prompt), said(head)
    if len(one) == 1:
        return one[0] in other
    spoken = [each for each in one if each[0] != "system"]
    return [each for each in other if each[0] != "system"][: len(spoken)] == spoken


def _with_context(
    prompt: list[Message], chosen: list[Message], rejected: list[Message], raw: Raw, layout: Layout, is_cut: bool
) -> Pair | Mistake:
    """Puts earlier turns, and the system message before them, in front of the prompt, unless they are there."""
    first = prompt[:1] if prompt[0]["role"] == "system" else []
    rest = prompt[len(first) :]
    history = list(raw.history)
    if history and history[0]["role"] == "system":
        first, history = first or history[:1], history[1:]
    if history and said(rest)[: len(history)] != said(history):
        rest = history + rest
    if raw.system:
        own = [{"role": "system", "content": raw.system}]
        if first and said(first) != said(own):
            fix = f"remove one, or leave it unread with input.ignore=[{layout.system}]"
            return Mistake(
                "two system messages", "holds another system message than the prompt", fix, layout.system or ""
            )
        first = own
    return Pair(first + rest, chosen, rejected, is_cut)
