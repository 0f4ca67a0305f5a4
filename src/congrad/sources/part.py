"""What one file, split or saved data set gave: its rows as they were published, and those that could not be used."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from congrad.errors import Spot
from congrad.sources.source import Source

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Mistake:
    """Why a cell or a row cannot be used, or makes no pair.

    Attributes:
        reason: in words that other rows of the same kind share: "empty prompt", "a tie".
        problem: what is wrong with just this row: about its column, or about the row where `column` is "".
        fix: what to do; "" where there is nothing.
        is_bad: whether it is a mistake in the data, at which `input.on_bad_row=stop` stops; a tie is none.
        is_listed: whether `bad_rows.jsonl` names the row. One that had its part beside a pair, as the other response or
            as the question of a tree, is only counted.
    """

    reason: str
    problem: str = ""
    fix: str = ""
    column: str = ""
    is_bad: bool = True
    is_listed: bool = True

    @property
    def sentence(self) -> str:
        """The problem, with its column."""
        return f"column {self.column!r} {self.problem}" if self.column else self.problem

    @property
    def detail(self) -> str:
        """The same with the fix."""
        return f"{self.sentence}; {self.fix}" if self.fix else self.sentence


@dataclass(frozen=True)
class LeftOut:
    """A row that makes no pair, and why.

    Attributes:
        spot: names it for a person.
        row: its number (0-based) within its source.
    """

    spot: Spot
    row: int
    mistake: Mistake


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
