"""advice.json: what it holds, and how it is read.

verdict     kind, share, sentence, basis, notes, needed_pairs, groups
chosen      by measure: what `keep auto` chooses, its curve, and the gains of the whole procedure
options     every ranking and share with its gains by measure, or what is missing; all pairs first
between_languages   groups to train apart, transfer, weights, and what more pairs would gain
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field

from congrad.stage import MOST_BYTES, Amount, Record, read_json

FILE = "advice.json"
ADVISE_AGAIN = "run congrad advise on it again"
Share = Annotated[float, Ge(0), Le(1)]
Measure = Literal["budget", "equal_length"]


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
    watched_mean: Figure | None = None


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


Value = float | None
Values = Value | list[Value] | list[list[Value]]


class Spread(Record):
    value: Values
    low: Values
    high: Values


ByMeasure = dict[Measure, Spread]


class CutRead(Record):
    groups: list[list[str]]
    gain: ByMeasure
    over_together: ByMeasure
    languages: ByMeasure
    random_groups: dict[Measure, Value]


class GroupsRead(Record):
    chosen: Amount
    recommended: bool
    over_together: ByMeasure
    over_random: ByMeasure
    cuts: list[CutRead]
    merges: list[Annotated[list[Amount], Field(min_length=2, max_length=2)]]


class TransferRead(Record):
    pairs: ByMeasure
    alone: ByMeasure
    others: ByMeasure
    together: ByMeasure


class WeightingRead(Record):
    kind: str
    weights: list[float]
    promised: dict[Measure, float]
    gain: ByMeasure
    worst: ByMeasure
    over_pairs: ByMeasure
    worst_over_pairs: ByMeasure
    languages: ByMeasure


class CurveRead(Record):
    num_pairs: list[float]
    gain: ByMeasure
    own: ByMeasure
    over_now: ByMeasure


class HowManyRead(Record):
    times: list[float]
    together: CurveRead
    languages: list[CurveRead]


class LanguagesRead(Record):
    """What is said of languages, in the order of `languages`; null where there is nothing to say."""

    groups: dict[Measure, GroupsRead]
    transfer: TransferRead
    weights: list[WeightingRead]
    how_many: HowManyRead


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
    watched_pairs: list[Amount] = Field([])
    watched_left_out: Amount = 0
    verdict: VerdictRead
    chosen: dict[str, ChosenRead]
    options: list[OptionRead]
    between_languages: LanguagesRead | None = None


def read_advice(run: Path) -> dict[str, Any] | None:
    """What a run's advice.json says; None where there is none."""
    path = run / FILE
    return read_json(path, AdviceFile) if path.is_file() else None
