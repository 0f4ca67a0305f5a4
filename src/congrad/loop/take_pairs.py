"""The stage `pair` of a run that starts from a preference dataset: the dataset as the next stages read it.

pairs.jsonl      the rows with all their columns, each with a `language`
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from congrad.preferences import Preferences
from congrad.preferences.load import read_preferences
from congrad.preferences.rows import BATCH
from congrad.settings.input import Input
from congrad.stage import begin, finish, write_rows

PAIRS = "pairs.jsonl"


def take_pairs(source: Input, output: Path) -> None:
    """Copies a preference dataset, or a sample of it, into `output`; returns at once where that is done.

    Raises:
        UserError: whatever is wrong with the dataset.
    """
    preferences = read_preferences(source)
    if begin(output, "pair", {"pairs": preferences.fingerprint, "limit": source.limit, "seed": source.seed}):
        return
    write_rows(output / PAIRS, rows(preferences))
    finish(output, {"pairs": len(preferences), "languages": sorted(set(preferences.languages))})


def rows(preferences: Preferences) -> Iterator[dict[str, Any]]:
    """The rows in their order, with the language that they were loaded with."""
    dataset = preferences.dataset
    for start in range(0, len(dataset), BATCH):
        columns = dataset[start : start + BATCH]
        for i in range(len(next(iter(columns.values())))):
            row = {name: column[i] for name, column in columns.items()}
            yield row | {"language": preferences.languages[start + i]}
