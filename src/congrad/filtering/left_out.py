"""Rows of the input that are not among the pairs: where they are named, and how they are counted.

rows of the input = pairs (kept or dropped, scored or not) + rows left out + rows that a sample does not hold
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from congrad.filtering.directory import BAD_ROWS, RUN, SCORE_COLUMN
from congrad.filtering.exact import inexact_columns
from congrad.preferences.rows import Preferences
from congrad.sources.part import LeftOut


def listed(left_out: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """The rows of bad_rows.jsonl."""
    return [
        {
            "file": each.spot.file,
            "line": each.spot.line,
            "row": each.row,
            "reason": each.mistake.reason,
            "detail": each.mistake.detail,
            "is_bad": each.mistake.is_bad,
        }
        for each in left_out
        if each.mistake.is_listed
    ]


def input_record(preferences: Preferences, score_column: str = SCORE_COLUMN) -> dict[str, Any]:
    """What a manifest says of the whole input; a column of the score's name gives way to the score."""
    rows, left_out = sum(source.num_rows for source in preferences.sources), preferences.left_out
    return {
        "rows": rows,
        "pairs": len(preferences),
        "not_sampled": rows - len(left_out) - len(preferences),
        "left_out": dict(Counter(each.mistake.reason for each in left_out).most_common()),
        "listed": sum(each.mistake.is_listed for each in left_out),
        "inexact": [name for name in inexact_columns(preferences.dataset) if name != score_column],
        "tags": dict(preferences.tags),
        "notes": list(preferences.notes),
    }


def left_out_in_words(record: Mapping[str, Any], output: Path) -> str:
    """How many rows were left out, why, and where they are named; "" where there are none."""
    counts = record["left_out"]
    if not counts:
        return ""
    total = sum(counts.values())
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in counts.items())
    place = output / (BAD_ROWS if record["listed"] else RUN.last)
    return f"left out {total:,} of {record['rows']:,} rows ({reasons}): see {place}"
