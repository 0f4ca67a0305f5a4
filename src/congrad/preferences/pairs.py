"""Rows as they were published become pairs as trainers read them: columns `prompt`, `chosen` and `rejected`.

All rows are looked through first, to know what they have in common: text or conversations, a prompt that stands at the
head of both responses. Then each becomes a pair. Where all is as trainers read it, nothing is copied.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from congrad.errors import UserError
from congrad.preferences.bad_rows import left_out
from congrad.preferences.canonical import Writer, beside
from congrad.preferences.check import not_utf8
from congrad.preferences.conversations import READ_KEYS
from congrad.preferences.known_names import CANONICAL, NOT_READ
from congrad.preferences.layout import Layout, find_layout
from congrad.preferences.raw_rows import kind_of, kinds_of, raw_rows, text_columns, with_verdicts
from congrad.preferences.render import Message
from congrad.preferences.rows import TEMPLATE_COLUMNS
from congrad.preferences.sides import Form, Pair, Raw, are_turns, pair_of, read_row, repeats_prompt
from congrad.settings.input import Input
from congrad.sources.part import Mistake, Part
from congrad.sources.source import BATCH
from congrad.sources.stored import holds_bytes

NEARLY_ALL = 0.95  # of the rows: the others are an exception
ENOUGH_ROWS = 20  # from which an exception may be one
LEAST_REPEATED = 30  # characters of all prompts together, from which their repetition is no chance


@dataclass
class Look:
    """What the rows of a source have in common: how many of them are what.

    Attributes:
        keys: of messages, beside a role and a content that is text.
        stored: rows with messages that have to be rewritten, by how they are stored.
        mistakes: by the number of the row in the dataset.
    """

    rows: int = 0
    texts: int = 0
    native: int = 0
    turns: int = 0
    contexts: int = 0
    repeated: int = 0
    repeated_characters: int = 0
    wholes: int = 0
    mixed: int = 0
    keys: set[str] = field(default_factory=set)
    stored: Counter[str] = field(default_factory=Counter)
    mistakes: dict[int, Mistake] = field(default_factory=dict)


def find_pairs(
    parts: Sequence[Part], settings: Input, on_progress: Callable[[int], None] = lambda rows: None
) -> list[Part]:
    """The parts with pairs in the canonical columns; rows that make none are in `left_out`.

    Args:
        on_progress: called after each part with how many rows are done.

    Raises:
        UserError: columns are missing, could be one and the same, or hold what would change what is trained on.
    """
    layouts = [with_sides(find_layout(kinds_of(part.dataset), part.source.name, settings)) for part in parts]
    known = [decoded(part) for part in parts]
    for part, layout in zip(known, layouts, strict=True):
        refuse_bytes(part, layout)
        refuse_unread(part, layout, settings)
    layouts = with_verdicts(known, layouts, settings)
    looks = [look_at(part, layout, settings) for part, layout in zip(known, layouts, strict=True)]
    repeated, rows = sum(look.repeated for look in looks), sum(look.rows for look in looks)
    characters = sum(look.repeated_characters for look in looks)
    is_rule = repeated == rows or (rows >= ENOUGH_ROWS and repeated >= NEARLY_ALL * rows)
    cut = bool(repeated) and is_rule and characters >= LEAST_REPEATED
    found, num_cut, done = [], 0, 0
    for part, layout, look in zip(known, layouts, looks, strict=True):
        made, own = as_pairs(part, layout, look, settings, cut=cut)
        found.append(made)
        num_cut += own
        done += len(part.rows)
        on_progress(done)
    notes = [f"columns: {note}" for note in dict.fromkeys(layout.note for layout in layouts) if note]
    notes += in_words(looks, layouts, num_cut)
    return [replace(found[0], notes=(*found[0].notes, *notes)), *found[1:]] if found else []


def with_sides(layout: Layout) -> Layout:
    """The layout with names for what is found out of comparisons and ratings."""
    if layout.name == "pairs":
        return layout
    is_tree = layout.name == "ratings" and layout.responses is None
    return replace(layout, prompt="prompt" if is_tree else layout.prompt, chosen="chosen", rejected="rejected")


def in_words(looks: Sequence[Look], layouts: Sequence[Layout], num_cut: int) -> list[str]:
    """What was done to the rows, in sentences."""
    rows = sum(look.rows for look in looks)
    stored = sum((look.stored for look in looks), Counter())
    notes = []
    implied = (layout.name == "pairs" and layout.prompt is None for layout in layouts)
    if any(one and not form_of(look, cut=False).conversational for one, look in zip(implied, looks, strict=True)):
        words = "no column of prompts is known: the prompt is what both responses of a row begin with"
        notes.append(f"{words} (input.columns.prompt names a column)")
    if stored["text"]:
        notes.append(f"conversations that are stored as text are read as conversations, in {_rows(stored['text'])}")
    if stored["transcript"]:
        words = 'transcripts of "Human: ..." and "Assistant: ..."'
        notes.append(f"{words} are read as conversations, in {_rows(stored['transcript'])}")
    if turns := sum(look.turns for look in looks if form_of(look, cut=False).lists):
        notes.append(f"lists of texts are read as the turns of conversations, in {_rows(turns)}")
    if num_cut:
        notes.append(
            f"the prompt stands at the head of both responses in {num_cut:,} of {rows:,} rows: it is read once"
        )
    elif repeated := sum(look.repeated for look in looks):
        problem = f"both responses begin with the prompt's text in {repeated:,} of {rows:,} rows"
        notes.append(f"{problem}: nothing is cut, as it is not so in nearly all of them or too little text to tell")
    if contexts := sum(look.contexts for look in looks):
        columns = dict.fromkeys(each for layout in layouts for each in (layout.system, layout.history) if each)
        names = " and ".join(f"`{column}`" for column in columns)
        notes.append(f"messages before the prompt are made of {names}, in {_rows(contexts)}")
    return notes


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def decoded(part: Part) -> Part:
    """The part without rows whose text is not UTF-8, each for the first column of which that is so."""
    mistakes: dict[int, Mistake] = {}
    for row, mistake in not_utf8(part.dataset):
        mistakes.setdefault(row, mistake)
    return without(part, mistakes)


def without(part: Part, mistakes: Mapping[int, Mistake]) -> Part:
    """The part without some rows of its dataset, which are left out for their mistakes."""
    if not mistakes:
        return part
    ordered = dict(sorted(mistakes.items()))
    kept = [position for position in range(len(part.dataset)) if position not in ordered]
    return replace(
        part,
        dataset=part.dataset.select(kept),
        rows=tuple(part.rows[position] for position in kept),
        left_out=tuple(sorted([*part.left_out, *left_out(part, ordered)], key=lambda each: each.row)),
    )


def refuse_unread(part: Part, layout: Layout, settings: Input) -> None:
    """Refuses columns that hold what a model is shown beside text, and tools where the rows are text."""
    sides = (layout.chosen, layout.rejected) if layout.name == "pairs" else ()
    plain = all(kind_of(part.dataset.features[each]) == "text" for each in sides if each is not None)
    wanted = [*NOT_READ, *(["tools"] if sides and plain else [])]
    for column in (name for name in part.dataset.column_names if name.lower() in wanted):
        if {column, column.lower()} & set(settings.ignore):
            continue
        if (row := first_filled(part.dataset, column)) is not None:
            what = "tools" if column == "tools" else NOT_READ[column.lower()]
            problem = f"holds {what}, and text alone is read"
            fix = f"remove the row, or leave the column unread with input.ignore=[{column}]"
            raise UserError(problem, fix, at=part.source.where(part.rows[row]), column=column)


def refuse_bytes(part: Part, layout: Layout) -> None:
    """Refuses bytes within messages, tools and arguments of templates, all of which are read as text."""
    features = part.dataset.features
    read = [*text_columns(layout), layout.first, layout.second, layout.responses, *TEMPLATE_COLUMNS]
    there = [name for name in dict.fromkeys(read) if name is not None and name in features]
    nested = [name for name in there if not isinstance(features[name], Value)]
    if not nested:
        return
    tables = part.dataset.select_columns(nested).with_format("arrow").iter(batch_size=BATCH)
    for number, table in enumerate(tables):
        for column in nested:
            if any(map(holds_bytes, table[column].chunks)):
                rows = (row for row in range(len(table)) if holds_bytes(table[column].slice(row, 1).combine_chunks()))
                place = part.source.where(part.rows[number * BATCH + next(rows)])
                raise UserError("holds bytes, and text alone is read", "write it as text", at=place, column=column)


def first_filled(dataset: datasets.Dataset, column: str) -> int | None:
    """The first row in which a column holds anything."""
    for number, table in enumerate(dataset.select_columns([column]).with_format("arrow").iter(batch_size=BATCH)):
        held = pc.is_valid(table[column])
        kind = table[column].type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            held = pc.greater(pc.list_value_length(table[column]), 0)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = pc.utf8_trim_whitespace(table[column])
            held = pc.invert(pc.is_in(text, pa.array(["", "[]", "null", "None", "{}"], kind)))
            held = pc.and_(pc.is_valid(text), held)
        index: int = pc.index(held, True).as_py()
        if index >= 0:
            return number * BATCH + index
    return None


def look_at(part: Part, layout: Layout, settings: Input) -> Look:
    """Reads all rows once."""
    look = Look()
    for number, row in raw_rows(part, layout, settings):
        raw = row if isinstance(row, Mistake) else read_row(row, layout)
        if isinstance(raw, Mistake):
            look.mistakes[number] = raw
            continue
        look.rows += 1
        look.contexts += bool(raw.system or raw.history)
        for message in raw.history:
            look.keys |= extra_keys(message)
        if raw.is_text:
            look.texts += 1
            look.turns += are_turns(raw)
            if repeats_prompt(raw):
                assert raw.prompt is not None
                look.repeated += 1
                look.repeated_characters += len(raw.prompt.text)
            continue
        look.turns += are_turns(raw)
        talks = [cell for cell in raw.cells if cell.kind == "messages"]
        look.native += any(cell.stored in ("", "names") for cell in talks)
        look.mixed += len(talks) < len(raw.cells)
        for way in {cell.stored for cell in talks if cell.stored}:
            look.stored[way] += 1
        look.wholes += raw.prompt is not None and any(cell.messages[0]["role"] != "assistant" for cell in talks[-2:])
        for cell in talks:
            for message in cell.messages:
                look.keys |= extra_keys(message)
    return look


def extra_keys(message: Message) -> set[str]:
    """What a message holds, for a template, beside a role and a content that is text."""
    if len(message) == 2 and message.get("content") is not None:
        return set()
    keys = {key for key in READ_KEYS if message.get(key) is not None}
    return keys if message.get("content") is not None else {"content", *keys}


def form_of(look: Look, cut: bool) -> Form:
    """What most rows are; conversations as soon as some rows hold them otherwise than as text, or have a context."""
    lists = look.turns > 0 and look.turns >= NEARLY_ALL * look.rows
    others = look.rows - look.texts
    return Form(bool(look.contexts or look.native or lists or others > look.texts), lists, cut)


def as_pairs(part: Part, layout: Layout, look: Look, settings: Input, *, cut: bool) -> tuple[Part, int]:
    """The part with its pairs in the canonical columns, and of how many rows the prompt was cut off both responses."""
    form = form_of(look, cut)
    fits = layout.name == "pairs" and {kind_of(part.dataset.features[column]) for column in text_columns(layout)} == {
        "conversation" if form.conversational else "text"
    }
    changes = look.stored or look.wholes or look.contexts or look.mixed or form.lists or (cut and look.repeated)
    as_it_is = fits and layout.chosen == "chosen" and layout.rejected == "rejected" and not changes
    as_it_is = as_it_is and layout.prompt in ("prompt", None) and layout.addition is None
    names = CANONICAL if layout.prompt is not None or form.conversational else CANONICAL[1:]
    writer = None
    if not as_it_is:
        texts = {name: text_type(part.dataset, getattr(layout, name)) for name in names}
        writer = Writer(texts, conversational=form.conversational, plain=not look.keys)
    mistakes, num_cut = dict(look.mistakes), 0
    if as_it_is and not form.conversational and layout.prompt is not None:
        return without(part, mistakes), 0
    for number, pair in pairs(part, layout, form, settings, mistakes):
        if isinstance(pair, Mistake):
            mistakes[number] = pair
        else:
            num_cut += pair.is_cut
            if writer is not None:
                writer.add(pair)
    left = without(part, mistakes)
    return (left if writer is None else replace(left, dataset=beside(left.dataset, writer.close()))), num_cut


def text_type(dataset: datasets.Dataset, column: str | None) -> str:
    """The type of a column of text; that of long texts where it holds something else."""
    feature = dataset.features.get(column)
    return feature.dtype if kind_of(feature) == "text" else "large_string"


def pairs(
    part: Part, layout: Layout, form: Form, settings: Input, known: Mapping[int, Mistake]
) -> Iterator[tuple[int, Pair | Mistake]]:
    """The pair of every row that can be read."""
    for number, row in raw_rows(part, layout, settings):
        if number not in known:
            assert not isinstance(row, Mistake)
            raw = read_row(row, layout)
            assert isinstance(raw, Raw)
            yield number, pair_of(raw, form, layout)
