"""What is shown of the JSON that a loop's stages write."""

from typing import Annotated

from annotated_types import Gt, Lt
from pydantic import Field

from congrad.evaluation.table import Unit
from congrad.filtering.advised import GainsRead, Share
from congrad.stage import MOST_BYTES, Amount, Record

Counts = dict[str, dict[str, Amount | None]]
"""Of every language, by what is counted."""


class Manifest(Record):
    """manifest.json of any stage."""

    warnings: list[str] = Field([])


class Generated(Manifest):
    prompts: Amount
    responses: Amount
    languages: Counts


class Paired(Manifest):
    pairs: Amount
    languages: Counts | list[str]  # a dataset that was taken in has names alone


class Method(Record):
    method: str | None = None


class Chosen(Record):
    """The share that `selection.keep: auto` chose; where there are too few pairs to choose, everything."""

    share: Share = 1.0


class Filtered(Manifest):
    kept: Amount
    rows: Amount
    settings: Method = Method()
    auto: Chosen | None = None


class Pairings(Manifest):
    """pairings.json; gains are by measure, way and the way on whose pairs they are read."""

    ways: list[str]
    num_pairs: list[Amount]
    num_prompts: Amount
    gains: dict[str, list[list[GainsRead]]]
    better: list[str]


class Trained(Manifest):
    pairs: Amount
    steps: Amount
    first_loss: float | None
    last_loss: float | None


MANIFESTS: dict[str, type[Manifest]] = {
    "generate": Generated,
    "judge": Manifest,
    "pair": Paired,
    "filter": Filtered,
    "train": Trained,
    "evaluate": Manifest,
}


class Judged(Record):
    """Of one language, or of all; see `congrad.selfreward.hygiene`."""

    responses: Amount
    scored: Amount
    parse_rate: float | None
    tie_rate: float | None
    entropy_bits: float | None
    sample_difference: float | None
    alpha: float | None
    mean_score: float | None
    mean_length: float | None
    length_correlation: float | None


class Hygiene(Record):
    """hygiene.json"""

    languages: dict[str, Judged]
    all: Judged


class Rate(Record):
    off_target_rate: float | None


class Rates(Record):
    """language.json"""

    languages: dict[str, Rate]


class Figure(Record):
    value: float | None
    low: float | None
    high: float | None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None


class Row(Record):
    """A model's figures."""

    languages: dict[str, Figure]
    seen: Figure
    unseen: Figure
    mean: Figure


class Metric(Record):
    key: str
    title: str
    unit: Unit
    higher_is_better: bool
    languages: list[str]
    rows: dict[str, Row]


class Tax(Record):
    accuracy: dict[str, Figure]
    bits_per_byte: dict[str, Figure]


class Evaluation(Record):
    """evaluation.json"""

    most_bytes = MOST_BYTES
    models: list[str]
    initial: str
    confidence: Annotated[float, Gt(0), Lt(1)]
    headline: str | None
    metrics: list[Metric]
    tax: Tax
    notes: list[str]
