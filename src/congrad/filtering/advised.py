"""advice.json: what it holds, and how it is read.

verdict     kind, share, sentence, basis, notes, needed_pairs, groups
chosen      by measure: what `keep auto` chooses, its curve, and the gains of the whole procedure
options     every ranking and share with its gains by measure, or what is missing; all pairs first
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field

from congrad.stage import MOST_BYTES, Amount, Record, read_json

FILE = "advice.json"
ADVISE_AGAIN = "run congrad advise on it again"
Share = Annotated[float, Ge(0), Le(1)]


class Figure(Record):
    value: float
    low: float
    high: float
    delta: float
    delta_low: float
    delta_high: float


class GainsRead(Record):
    mean: Figure
    worst: Figure
    worst_language: Amount
    languages: list[Figure]
    without_length: float | None
    watched: list[Figure] = Field([])


class OptionRead(Record):
    ranking: str
    title: str
    share: Share | None
    num_pairs: Amount
    missing: str | None
    gains: dict[str, GainsRead]


class PointRead(Record):
    share: Share
    gain: float
    delta: float
    standard_error: float


class ChosenRead(Record):
    share: Share
    best: Share
    curve: list[PointRead]
    share_by_fold: list[Share]
    gains: GainsRead


class VerdictRead(Record):
    kind: Literal["filter", "groups", "no-difference", "keep-all", "too-few"]
    share: Share
    sentence: str
    basis: str
    notes: list[str]
    needed_pairs: Amount | None
    groups: list[list[str]]


class AdviceFile(Record):
    """advice.json; the figures of languages are in the order of `languages`."""

    most_bytes, fix = MOST_BYTES, ADVISE_AGAIN
    epochs: float
    batch_size: Amount
    steps: Amount | None = None
    num_pairs: Amount
    total_pairs: Amount
    num_prompts: Amount
    languages: list[str]
    watched: list[str] = Field([])
    verdict: VerdictRead
    chosen: dict[str, ChosenRead]
    options: list[OptionRead]


def read_advice(run: Path) -> dict[str, Any] | None:
    """What a run's advice.json says; None where there is none."""
    path = run / FILE
    return read_json(path, AdviceFile) if path.is_file() else None
