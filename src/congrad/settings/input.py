"""Which preference pairs, and how they become tokens."""

from dataclasses import field
from typing import Annotated

from annotated_types import Ge

from congrad.settings.section import Count, PathText, Seed, refused, section

DEFAULT_LANGUAGE_COLUMN = "language"


@section("input.columns")
class Columns:
    """The names of a data set's columns."""

    language: str = DEFAULT_LANGUAGE_COLUMN
    """Column of a pair's language. In a folder of `de.jsonl`, `en.jsonl` without it: the file's name."""
    group: str | None = None
    """Column that is the same for the pairs of one prompt in all languages; null to find out by ids and lines."""


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
    split: str = "train"
    """Split to read, where there are several."""
    columns: Columns = field(default_factory=Columns)
    """The names of its columns."""
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
