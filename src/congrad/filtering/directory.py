"""What the directory of a filter's run is: begun as soon as its index is, finished by its manifest."""

from pathlib import Path

from congrad.stage import Kind, is_ours

RUN = Kind("run", first="index/plan.json", mark="congrad")
SCORE_COLUMN = "congrad_score"


def is_run(directory: Path) -> bool:
    """Whether a run was finished or begun here."""
    return is_ours(directory, RUN)
