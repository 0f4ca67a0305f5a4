"""What rows are read from, and where each of them stands."""

from dataclasses import dataclass

from congrad.errors import Spot
from congrad.sources.locate import locate

BATCH = 1000  # rows decoded at a time


@dataclass(frozen=True)
class Source:
    """A file, a saved dataset or a hub dataset, and how many rows of the input came from it."""

    name: str
    num_rows: int

    def where(self, row: int) -> Spot:
        """Name row `row` (0-based, within this source) for a person: `de.jsonl:12`, or `de.parquet, row 11`."""
        return locate(self.name, row)
