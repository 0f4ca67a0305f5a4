"""Check a dataset's columns and rows before anything is computed: the first mistake becomes one line for the user."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from congrad.errors import Spot, UserError
from congrad.preferences.names import (
    CHECKED_AT_ONCE,
    EMPTY_LANGUAGE,
    EMPTY_PROMPT,
    blank,
    null,
    pair_fields,
)
from congrad.preferences.render import explicit, is_blank, wrong_key
from congrad.preferences.rows import TEXT_COLUMNS, iterate
from congrad.sources.part import Part
from congrad.words import quote

Where = Callable[[int], Spot]
IMAGE_COLUMNS = ("image", "images")  # as trainers read them


def check_pairs(part: Part) -> None:
    """Check the columns and the rows. An empty response is not a mistake: the row gets a reason later.

    Raises:
        UserError: A column is missing or misspelt, or text and conversations are mixed; a field is null, of the wrong
            type or not UTF-8; a prompt is empty; a message lacks its role or its content; chosen and rejected share no
            prompt in rows without one; a row holds an image.
    """
    dataset, where = part.dataset, part.source.where
    kinds = {column: _kind(dataset, column) for column in TEXT_COLUMNS if column in dataset.column_names}
    if set(kinds.values()) == {"text", "conversation"}:
        shape = ", ".join(f"'{column}' holds {kind}" for column, kind in kinds.items())
        fix = "remove 'prompt'" if kinds["chosen"] == kinds["rejected"] == "conversation" else "use one for all"
        raise UserError(f"{shape}, which TRL cannot train on", fix, at=part.source.name)
    check_encoding(dataset, dataset.column_names, where)
    for column, empty in pair_fields(dataset.column_names):
        if kinds[column] != "conversation":
            _check_text(dataset, column, where, empty)
    if kinds["chosen"] == "conversation":
        for number, row in enumerate(iterate(dataset)):
            for column in kinds:
                _check_conversation(row[column], column, where, number)
    if kinds.get("prompt", "conversation") == "conversation":
        for number, row in enumerate(iterate(dataset)):
            if is_blank(explicit(row)[0]) and row["chosen"] and row["rejected"]:
                if "prompt" in kinds:
                    raise blank(where(number), "prompt", EMPTY_PROMPT)
                problem = "columns 'chosen' and 'rejected' do not begin with the same prompt"
                raise UserError(
                    problem, "put the prompt in a column 'prompt', or at the start of both", at=where(number)
                )
    _check_images(dataset, where)


def check_prompts(part: Part, prompt_column: str) -> None:
    """As `check_pairs`, for a dataset of prompts: text, or a list of messages whose last one is not the assistant's."""
    dataset, where = part.dataset, part.source.where
    check_encoding(dataset, [prompt_column], where)
    if _kind(dataset, prompt_column) != "conversation":
        _check_text(dataset, prompt_column, where, EMPTY_PROMPT)
        _check_images(dataset, where)
        return
    for number, row in enumerate(iterate(dataset, [prompt_column])):
        messages = row[prompt_column]
        _check_conversation(messages, prompt_column, where, number)
        if is_blank(messages):
            raise blank(where(number), prompt_column, EMPTY_PROMPT)
        if messages[-1]["role"] == "assistant":
            fix = "remove its last message"
            raise UserError("ends with an answer", fix, at=where(number), column=prompt_column)
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


def _kind(dataset: datasets.Dataset, column: str) -> str:
    feature = dataset.features[column]
    if isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string", "string_view"):
        return "text"
    return "conversation" if isinstance(feature, datasets.List | datasets.LargeList) else "other"


def _batches(dataset: datasets.Dataset, column: str) -> Iterator[tuple[int, pa.ChunkedArray]]:
    batches = dataset.select_columns([column]).with_format("arrow").iter(batch_size=CHECKED_AT_ONCE)
    for number, batch in enumerate(batches):
        yield number * CHECKED_AT_ONCE, batch[column]


def _first(mask: pa.ChunkedArray) -> int | None:
    index: int = pc.index(mask, True).as_py()
    return None if index < 0 else index


def _check_text(dataset: datasets.Dataset, column: str, where: Where, empty: str | None) -> None:
    if _kind(dataset, column) != "text":
        _refuse_type(dataset, column, where)
    for start, values in _batches(dataset, column):
        if (missing := _first(pc.is_null(values))) is not None:
            raise null(where(start + missing), column)
        if empty and (found := _first(pc.equal(pc.utf8_trim_whitespace(values), ""))) is not None:
            raise blank(where(start + found), column, empty)


def check_encoding(dataset: datasets.Dataset, columns: Sequence[str], where: Where) -> None:
    """JSON and Parquet readers can let bytes through as text that no later step could decode.

    All columns of a batch at once: to select one takes `datasets` the longer, the more there are.
    """
    wrong: dict[str, int] = {}
    tables = dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=CHECKED_AT_ONCE)
    for number, table in enumerate(tables):
        for column, values in zip(table.column_names, table.columns, strict=True):
            try:
                values.validate(full=True)
            except pa.ArrowInvalid:
                row = next((row for row, value in enumerate(values) if not _is_utf8(value)), 0)
                wrong.setdefault(column, number * CHECKED_AT_ONCE + row)
    for column in columns:
        if column in wrong:
            fix = "convert the file: iconv -f ITS-ENCODING -t UTF-8"
            raise UserError("is not UTF-8", fix, at=where(wrong[column]), column=column)


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


def read_languages(dataset: datasets.Dataset, column: str, where: Where) -> list[str]:
    """The language of each row. Integers and class labels will do."""
    check_encoding(dataset, [column], where)
    feature = dataset.features[column]
    if not isinstance(feature, datasets.ClassLabel) and not (
        isinstance(feature, datasets.Value) and (feature.dtype == "bool" or "int" in feature.dtype)
    ):
        _check_text(dataset, column, where, EMPTY_LANGUAGE)
    languages: list[str] = []
    for start, values in _batches(dataset, column):
        if (missing := _first(pc.is_null(values))) is not None:
            raise null(where(start + missing), column)
        groups = values.to_pylist()
        languages += feature.int2str(groups) if isinstance(feature, datasets.ClassLabel) else map(str, groups)
    return languages


def _check_conversation(messages: Any, column: str, where: Where, number: int) -> None:
    if messages is None:
        raise null(where(number), column)
    if not messages:
        raise blank(where(number), column, "empty conversation")
    fix = "a message is {'role': 'user', 'content': '...'}"
    for turn, message in enumerate(messages):
        if (key := wrong_key(message)) is None:
            continue
        if not key:
            problem = f"holds {quote(message)} as message {turn}"
        elif message.get(key) is None:
            problem = f"has no {key!r} in message {turn}"
        else:
            problem = f"has the {key} {quote(message[key])} in message {turn}"
        raise UserError(problem, fix, at=where(number), column=column)
