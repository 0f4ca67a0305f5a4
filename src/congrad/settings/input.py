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

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise refused("source", "is empty", "name a file, a folder or a hub id")
