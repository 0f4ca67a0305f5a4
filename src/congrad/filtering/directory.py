"""What the directory of a filter's run is: begun as soon as its index is, finished by its manifest."""

from pathlib import Path

from congrad.stage import Kind, is_ours

RUN = Kind("run", first="index/plan.json", mark="congrad")
SCORE_COLUMN = "congrad_score"
KEPT_EXACT, DROPPED_EXACT, BAD_ROWS = "kept.parquet", "dropped.parquet", "bad_rows.jsonl"
OPTIONAL = (KEPT_EXACT, DROPPED_EXACT, BAD_ROWS)
"""Files that a run has where its data need them."""


def is_run(directory: Path) -> bool:
    """Whether a run was finished or begun here."""
    return is_ours(directory, RUN)
