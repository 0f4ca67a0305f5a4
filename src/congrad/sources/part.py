"""What one file, split or saved data set gave: its rows as they were published, and those that could not be used."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from congrad.errors import Spot
from congrad.sources.source import Source

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class LeftOut:
    """A row that makes no pair, and why.

    Attributes:
        spot: names it for a person.
        row: its number (0-based) within its source.
        reason: in words that other rows of the same kind share: "empty prompt", "a tie".
        is_bad: whether it is a mistake in the data, at which `input.on_bad_row=stop` stops; a tie is none.
        detail: what is wrong with just this row, as a sentence for the list of mistakes.
        is_listed: whether `bad_rows.jsonl` names it. A row that had its part beside a pair, as the other response or as
            the question of a tree, is only counted.
    """

    spot: Spot
    row: int
    reason: str
    is_bad: bool = True
    detail: str = ""
    is_listed: bool = True


@dataclass(frozen=True)
class Part:
    """Rows of one source.

    Attributes:
        source: what they were read from, and how many rows it has, those that were left out among them.
        dataset: the rows that are left, all their columns.
        rows: the number (0-based) within the source of each row of `dataset`, ascending.
        names: what may be the name of their language, in the order in which it is looked for: the file's name without
            suffixes and shard numbers, its folders within the data from the inside out, the split, the configuration.
        left_out: rows that are not in `dataset`.
        notes: what was chosen for the user, in sentences that are said once.
    """

    source: Source
    dataset: "datasets.Dataset"
    rows: tuple[int, ...] | range
    names: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
