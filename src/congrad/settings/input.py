"""Which preference pairs, and how they become tokens."""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge

from congrad.settings.section import Count, PathText, Seed, refused, section
from congrad.words import quote

DEFAULT_LANGUAGE_COLUMN = "language"
Names = str | tuple[str, ...]
"""A name or a list of names, each of which may be a glob such as `train_*`."""


@section("input.columns")
class Columns:
    """The names of a data set's columns. Null: found by the names that are in common use, which is said."""

    prompt: str | None = None
    """Column of the prompt: text, or a conversation."""
    chosen: str | None = None
    """Column of the response that was preferred."""
    rejected: str | None = None
    """Column of the other response."""
    language: str | None = None
    """Column of a pair's language."""
    system: str | None = None
    """Column of a system message, which becomes the first message of the prompt."""
    history: str | None = None
    """Column of earlier turns, which come before the prompt."""
    group: str | None = None
    """Column that is the same for the pairs of one prompt in all languages; null to find out by ids and lines."""
    first: str | None = None
    """Of a comparison: column of one response."""
    second: str | None = None
    """Of a comparison: column of the other response."""
    better: str | None = None
    """Of a comparison: column that says which of them is better; see input.better."""
    first_model: str | None = None
    """Of a comparison: column of the name of the model that gave the first response, where `better` names models."""
    second_model: str | None = None
    """Of a comparison: the same for the second response."""
    responses: str | None = None
    """Of ratings: column of a prompt's responses, a list of texts or of objects."""
    scores: str | None = None
    """Of ratings: column of the responses' scores, or the name of the score within a response; more is better."""
    ranks: str | None = None
    """Of ratings: the same for ranks; less is better."""


@section("input.bounds")
class Bounds:
    """What one data set may ask of memory and time. Ordinary data are far below; a file made to harm, or read by the
    wrong column, is refused with its place."""

    languages: Count = 500
    """Languages of all pairs together. Comparing them costs memory by their square and time by their cube."""
    columns: Count = 1000
    """Columns of a file."""
    row_bytes: Count = 2**22
    """Bytes of a row, all columns together. Tokenising takes hundreds of times its size."""
    unpacked_bytes: Count = 2**25
    """Bytes that a packed file (`.gz`, `.bz2`, `.xz`, `.zst`, Parquet) may hold, or 100 times its size where that is
    more."""
    depth: Count = 100
    """Lists and objects that lie in one another."""


@section("input")
class Input:
    """Where preference pairs come from, and how they become tokens."""

    source: PathText
    """A file or folder of JSONL, Parquet or CSV, a saved dataset, or a hub id."""
    split: Names | None = None
    """Split to read, a list of them or a glob; null: `train`, or what stands for it."""
    configuration: Names | None = None
    """Configuration of a hub dataset to read, a list of them or a glob; null: the default, or the only one."""
    files: Names | None = None
    """Files of a folder to read, as globs within it; `!` before one leaves out. Null: all data files."""
    languages: Literal["auto", "column", "name", "detect"] = "auto"
    """Where a pair's language comes from: a column; the name of its configuration, split, folder or file; or its text
    (detect). auto: the column, or else the name where it is a language."""
    merge_regions: bool = False
    """Take the regional variants of a language as one: `pt-BR` and `pt-PT` as `pt`."""
    layout: Literal["auto", "pairs", "comparison", "ratings"] = "auto"
    """pairs: chosen and rejected. comparison: two responses and which is better. ratings: responses with scores or
    ranks. auto: by the columns."""
    columns: Columns = field(default_factory=Columns)
    """The names of its columns."""
    better: dict[str, str] = field(default_factory=dict)
    """Of a comparison: what a value of the column `better` means, as first, second or tie: {"model_a": "first"}."""
    ignore: tuple[str, ...] = ()
    """Columns to leave unread although they would change what is trained on: images, tools, a system message."""
    on_bad_row: Literal["stop", "drop"] = "stop"
    """What to do with rows that cannot be used: stop and list them, or leave them out into bad_rows.jsonl."""
    chat: bool = False
    """Put plain rows through the model's chat template."""
    max_length: Annotated[int, Ge(2)] = 1024
    """Tokens of prompt and response together; longer ones lose their end."""
    limit: Count | None = None
    """Sample this many pairs, stratified by language; null for all."""
    seed: Seed = 0
    """Seed of the sample."""
    bounds: Bounds = field(default_factory=Bounds)
    """What the data may ask of memory and time."""

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise refused("source", "is empty", "name a file, a folder or a hub id")
        for value, meaning in self.better.items():
            if meaning not in ("first", "second", "tie"):
                problem = f"says that {quote(value)} means {quote(meaning)}"
                raise refused("better", problem, "write first, second or tie")
