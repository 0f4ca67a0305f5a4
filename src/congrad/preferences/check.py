"""Check prompts before anything is computed: the first mistake becomes one line for the user."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from congrad.errors import Spot, UserError
from congrad.preferences.conversations import FILL, wrong_message
from congrad.preferences.names import (
    CHECKED_AT_ONCE,
    EMPTY_LANGUAGE,
    EMPTY_PROMPT,
    blank,
    null,
)
from congrad.preferences.raw_rows import kind_of
from congrad.preferences.render import is_blank
from congrad.preferences.rows import iterate
from congrad.sources.part import Mistake, Part
from congrad.words import quote

Where = Callable[[int], Spot]
IMAGE_COLUMNS = ("image", "images")  # as trainers read them
# As a language of its own, "undetermined" would have a gradient that averages over texts that have nothing in common.
IN_DOUBT = Mistake(
    "language in doubt",
    "is in a language that is in doubt",
    "name it in a column, or leave such rows out with input.on_bad_row=drop",
)


def check_prompts(part: Part, prompt_column: str) -> None:
    """Check prompts: text, or lists of messages whose last one is not the assistant's. An image is refused too.

    Raises:
        UserError: the first mistake.
    """
    dataset, where = part.dataset, part.source.where
    for number, mistake in not_utf8(dataset.select_columns([prompt_column])):
        raise UserError(mistake.problem, mistake.fix, at=where(number), column=prompt_column)
    if kind_of(dataset.features[prompt_column]) in ("conversation", "list"):
        _check_conversations(dataset, prompt_column, where)
    else:
        _check_text(dataset, prompt_column, where)
    _check_images(dataset, where)


def _check_images(dataset: datasets.Dataset, where: Where) -> None:
    """Refuses a row that holds an image: its text would be taken for all that the answers are about."""
    for column in (name for name in IMAGE_COLUMNS if name in dataset.column_names):
        for start, values in _batches(dataset, column):
            held = pc.is_valid(values)
            if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
                held = pc.greater(pc.list_value_length(values), 0)
            elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                held = pc.greater(pc.binary_length(values), 0)
            if (found := _first(held)) is not None:
                fix = "remove the row, or the column where the text says all"
                raise UserError("holds an image, and text alone is read", fix, at=where(start + found), column=column)


def _batches(dataset: datasets.Dataset, column: str) -> Iterator[tuple[int, pa.ChunkedArray]]:
    batches = dataset.select_columns([column]).with_format("arrow").iter(batch_size=CHECKED_AT_ONCE)
    for number, batch in enumerate(batches):
        yield number * CHECKED_AT_ONCE, batch[column]


def _first(mask: pa.ChunkedArray) -> int | None:
    index: int = pc.index(mask, True).as_py()
    return None if index < 0 else index


def _check_text(dataset: datasets.Dataset, column: str, where: Where) -> None:
    if kind_of(dataset.features[column]) != "text":
        _refuse_type(dataset, column, where)
    for start, values in _batches(dataset, column):
        if (missing := _first(pc.is_null(values))) is not None:
            raise null(where(start + missing), column)
        if (found := _first(pc.equal(pc.utf8_trim_whitespace(values), ""))) is not None:
            raise blank(where(start + found), column, EMPTY_PROMPT)


def not_utf8(dataset: datasets.Dataset) -> Iterator[tuple[int, Mistake]]:
    """The rows whose text is not UTF-8, by column: JSON and Parquet readers let through what no later step can decode.

    All columns of a batch at once: to select one takes `datasets` the longer, the more there are.
    """
    fix = "convert the file: iconv -f ITS-ENCODING -t UTF-8"
    for number, table in enumerate(dataset.with_format("arrow").iter(batch_size=CHECKED_AT_ONCE)):
        for column, values in zip(table.column_names, table.columns, strict=True):
            try:
                values.validate(full=True)
            except pa.ArrowInvalid:
                for row in [row for row, value in enumerate(values) if not _is_utf8(value)] or [0]:
                    yield number * CHECKED_AT_ONCE + row, Mistake("not UTF-8", "is not UTF-8", fix, column)


def _is_utf8(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_type(dataset: datasets.Dataset, column: str, where: Where) -> None:
    """Raise for the first value that is not text; a column that no row fills counts as null."""
    for number, row in enumerate(iterate(dataset, [column])):
        if row[column] is None:
            raise null(where(number), column)
        if not isinstance(row[column], str):
            problem = f"holds {quote(row[column])}, not text"
            raise UserError(problem, "write it as text", at=where(number), column=column)
    raise AssertionError(f"column {column} holds text, but its type is {dataset.features[column]}")


def read_languages(dataset: datasets.Dataset, column: str) -> list[str | None]:
    """The language of each row; None where there is no text. Integers and class labels will do, and are text then."""
    feature = dataset.features[column]
    if isinstance(feature, datasets.ClassLabel):
        numbers = [number for _, values in _batches(dataset, column) for number in values.to_pylist()]
        return [None if number is None else feature.int2str(number) for number in numbers]
    whole = isinstance(feature, datasets.Value) and (feature.dtype == "bool" or "int" in feature.dtype)
    values = [row[column] for row in iterate(dataset, [column])]
    if whole:
        return [None if value is None else str(value) for value in values]
    return [value if isinstance(value, str) and value.strip() else None for value in values]


def without_language(
    dataset: datasets.Dataset, column: str | None, languages: Sequence[str | None]
) -> dict[int, Mistake]:
    """The rows (by number) that name no language, and what they hold instead.

    Args:
        column: of the languages; None where they were looked for in the texts.
    """
    positions = [position for position, language in enumerate(languages) if language is None]
    if column is None or not positions:
        return dict.fromkeys(positions, IN_DOUBT)
    values = dataset.select_columns([column]).select(positions)[column]
    return {position: _no_language(value, column) for position, value in zip(positions, values, strict=True)}


def _no_language(value: Any, column: str) -> Mistake:
    if value is None:
        return Mistake("language is null or missing", "is null or missing", FILL, column)
    if isinstance(value, str) and not value.strip():
        return Mistake(EMPTY_LANGUAGE, f"holds an {EMPTY_LANGUAGE}", FILL, column)
    return Mistake("language is no text", f"holds {quote(value)}, not text", "write it as text", column)


def _check_conversations(dataset: datasets.Dataset, column: str, where: Where) -> None:
    for number, row in enumerate(iterate(dataset, [column])):
        messages = row[column]
        if messages is None:
            raise null(where(number), column)
        if not messages:
            raise blank(where(number), column, "empty conversation")
        for turn, message in enumerate(messages):
            if (wrong := wrong_message(message, turn, column)) is not None:
                raise UserError(wrong.problem, wrong.fix, at=where(number), column=column)
        if is_blank(messages):
            raise blank(where(number), column, EMPTY_PROMPT)
        if messages[-1]["role"] == "assistant":
            raise UserError("ends with an answer", "remove its last message", at=where(number), column=column)
