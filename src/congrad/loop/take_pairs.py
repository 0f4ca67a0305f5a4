"""The stage `pair` of a run that starts from a preference dataset: the dataset as the next stages read it.

pairs.jsonl      the rows with all their columns, each with a `language`
"""

from pathlib import Path

from congrad.preferences.load import read_preferences
from congrad.preferences.rows import iterate
from congrad.settings.input import Input
from congrad.stage import begin, finish, write_rows

PAIRS = "pairs.jsonl"


def take_pairs(source: Input, output: Path) -> None:
    """Copies a preference dataset, or a sample of it, into `output`; returns at once where that is done."""
    preferences = read_preferences(source)
    if begin(output, "pair", {"pairs": preferences.fingerprint, "limit": source.limit, "seed": source.seed}):
        return
    rows = iterate(preferences.dataset, preferences.dataset.column_names)
    named = zip(rows, preferences.languages, strict=True)
    write_rows(output / PAIRS, (row | {"language": language} for row, language in named))
    finish(output, {"pairs": len(preferences), "languages": sorted(set(preferences.languages))})
