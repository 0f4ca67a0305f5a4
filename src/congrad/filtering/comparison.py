"""How the languages agree, as languages.json holds it: what the terminal, the report and the data card print.

Shapes: L languages.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import FailFast, Field, model_validator

from congrad.consensus.findings import AGREE, CANNOT_TELL, CONFLICT, MIN_PAIRS
from congrad.stage import MOST_BYTES, Amount, Record

Array = npt.NDArray[Any]
T = TypeVar("T")
FILTER_AGAIN = "filter the data again with --model"
Row = Annotated[list[T], FailFast()]
"""A list; of many wrong values only the first is named."""
Matrix = Row[Row[T]]
Interval = Annotated[Row[float | None], Field(min_length=2, max_length=2)]
OLDER = ("cosine_corrected_interval", "cosine_smallest", "verdict", "conflict")
"""Matrices that not every file has."""


class LanguagesFile(Record):
    """languages.json; every matrix is L x L, with null where there is nothing to say."""

    most_bytes, fix = MOST_BYTES, FILTER_AGAIN
    languages: Row[str]
    num_pairs: Row[Amount]
    cosine: Matrix[float | None]
    cosine_interval: Matrix[Interval]
    cosine_corrected: Matrix[float | None]
    cosine_corrected_interval: Matrix[Interval] = Field([])
    cosine_smallest: Matrix[float | None] = Field([])
    cosine_after_surgery: Matrix[float | None]
    verdict: Matrix[Literal["agree", "conflict", "cannot tell"] | None] = Field([])
    conflict: Matrix[bool | None] = Field([])  # instead of `verdict`, in an older run
    conflict_min_pairs: Amount = MIN_PAIRS

    @model_validator(mode="after")
    def _one_size(self) -> "LanguagesFile":
        size = len(self.languages)
        if len(set(self.languages)) < size or len(self.num_pairs) != size:
            raise ValueError("languages should be names, each once, and num_pairs a number for each")
        for name in ("cosine", "cosine_interval", "cosine_corrected", "cosine_after_surgery", *OLDER):
            rows = getattr(self, name)
            if (rows or name not in OLDER) and {len(rows), *map(len, rows)} != {size}:
                raise ValueError(f"{name} should be {size} lists of {size} values, as there are languages")
        return self


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    num_pairs_L: scored pairs of each language.
    cosine_LL, low_LL, high_LL: cosines of the language gradients with the ends of their 95% intervals.
    corrected_LL, after_surgery_LL: without the noise, and after surgery. NaN where there is nothing to say.
    corrected_low_LL, corrected_high_LL: ends of the 95% interval of `corrected_LL`. NaN in an older run, too.
    smallest_LL: the smallest cosine, of either sign and without the noise, that these pairs could show.
    verdict_LL: "agree", "conflict" or "cannot tell" (`consensus.conflict`); None on the diagonal.
    min_pairs: how many pairs of a language give a gradient that is worth looking at.
    """

    languages: list[str]
    num_pairs_L: Array
    cosine_LL: Array
    low_LL: Array
    high_LL: Array
    corrected_LL: Array
    corrected_low_LL: Array
    corrected_high_LL: Array
    smallest_LL: Array
    after_surgery_LL: Array
    verdict_LL: Array
    min_pairs: int

    @property
    def too_few(self) -> list[tuple[str, int]]:
        """The languages with too few pairs to distinguish a conflict from noise, with their pairs."""
        counts = zip(self.languages, self.num_pairs_L.tolist(), strict=True)
        return [(name, count) for name, count in counts if count < self.min_pairs]


@dataclass(frozen=True)
class LanguagePair:
    """Two languages and what is known of their gradients; NaN where nothing is."""

    first: str
    second: str
    cosine: float
    low: float
    high: float
    corrected: float
    corrected_low: float
    corrected_high: float
    smallest: float
    after_surgery: float
    verdict: str

    @property
    def conflict(self) -> bool:
        return self.verdict == CONFLICT

    @property
    def figures(self) -> str:
        """The cosine as measured with its interval."""
        return _figures(self.cosine, self.low, self.high)

    @property
    def effect(self) -> tuple[float, float, float]:
        """The cosine without the noise with its interval; as measured, where that is not known."""
        if np.isnan(self.corrected_low):
            return self.cosine, self.low, self.high
        return self.corrected, self.corrected_low, self.corrected_high

    @property
    def effect_figures(self) -> str:
        return _figures(*self.effect)


def _figures(cosine: float, low: float, high: float) -> str:
    return f"{cosine:+.2f}" + ("" if np.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


def read_comparison(content: Mapping[str, Any]) -> Comparison:
    """What is in languages.json. An older one has the verdicts of its time: of the bootstrap intervals, each alone."""
    num_pairs_L = np.array(content["num_pairs"])
    num_languages = len(num_pairs_L)

    def matrix(name: str, *shape: int) -> Array:
        """Null becomes NaN, and so does what an older file has not."""
        size = (num_languages, num_languages, *shape)
        return np.array(content[name], dtype=float).reshape(size) if content.get(name) else np.full(size, np.nan)

    interval_LL2, corrected_LL2 = matrix("cosine_interval", 2), matrix("cosine_corrected_interval", 2)
    min_pairs = content.get("conflict_min_pairs", MIN_PAIRS)
    return Comparison(
        languages=content["languages"],
        num_pairs_L=num_pairs_L,
        cosine_LL=matrix("cosine"),
        low_LL=interval_LL2[..., 0],
        high_LL=interval_LL2[..., 1],
        corrected_LL=matrix("cosine_corrected").clip(-1, 1),  # beyond, in an older run
        corrected_low_LL=corrected_LL2[..., 0],
        corrected_high_LL=corrected_LL2[..., 1],
        smallest_LL=matrix("cosine_smallest"),
        after_surgery_LL=matrix("cosine_after_surgery"),
        verdict_LL=np.array(content.get("verdict") or _older(content, interval_LL2, num_pairs_L >= min_pairs)),
        min_pairs=min_pairs,
    )


def _older(content: Mapping[str, Any], interval_LL2: Array, enough_L: Array) -> Array:
    """The verdicts of an older run: its interval lies on one side of zero, and both languages have enough pairs."""
    known_LL = enough_L[:, None] & enough_L & ~np.eye(len(enough_L), dtype=bool)
    conflict_LL = known_LL & (interval_LL2[..., 1] < 0)
    if content.get("conflict"):  # what was written counts
        conflict_LL = np.array(content["conflict"], dtype=object) == True  # noqa: E712
    agree_LL = known_LL & (interval_LL2[..., 0] > 0)
    return np.where(conflict_LL, CONFLICT, np.where(agree_LL, AGREE, CANNOT_TELL))


def language_pairs(compared: Comparison) -> list[LanguagePair]:
    """All pairs of languages, the lowest cosine first; those without one last."""
    found = [
        LanguagePair(
            compared.languages[i],
            compared.languages[j],
            cosine=float(compared.cosine_LL[i, j]),
            low=float(compared.low_LL[i, j]),
            high=float(compared.high_LL[i, j]),
            corrected=float(compared.corrected_LL[i, j]),
            corrected_low=float(compared.corrected_low_LL[i, j]),
            corrected_high=float(compared.corrected_high_LL[i, j]),
            smallest=float(compared.smallest_LL[i, j]),
            after_surgery=float(compared.after_surgery_LL[i, j]),
            verdict=str(compared.verdict_LL[i, j]),
        )
        for i, j in zip(*np.triu_indices(len(compared.languages), 1), strict=True)
    ]
    return sorted(found, key=lambda pair: (np.isnan(pair.cosine), pair.cosine))


def most_opposed(language: str, lowest_first: Sequence[LanguagePair]) -> tuple[str, LanguagePair] | None:
    """The other language of its lowest cosine, and the pair; None where it has no cosine."""
    for pair in lowest_first:
        if language in (pair.first, pair.second) and not np.isnan(pair.cosine):
            return pair.second if pair.first == language else pair.first, pair
    return None


def conflicts_in_words(lowest_first: Sequence[LanguagePair], most: int = 10) -> str:
    """The conflicts with their figures; "" where there is none."""
    found = [f"{pair.first} – {pair.second} {pair.effect_figures}" for pair in lowest_first if pair.conflict]
    return ", ".join(found[:most]) + (f", and {len(found) - most} more" if len(found) > most else "")


def verdicts_in_words(pairs: Sequence[LanguagePair]) -> str:
    """How many language pairs conflict, agree or cannot be told, and what these pairs could show; "" without any.

    What could be shown is the median over the language pairs.
    """
    if not pairs:
        return ""
    count = Counter(pair.verdict for pair in pairs)
    parts = [f"{count[CONFLICT]} conflict", f"{count[AGREE]} agree", f"{count[CANNOT_TELL]} cannot tell"]
    text = f"language pairs: {', '.join(parts)}"
    if all(np.isnan(pair.corrected_low) and np.isnan(pair.smallest) for pair in pairs):
        return text
    smallest = float(np.median([np.inf if np.isnan(pair.smallest) else pair.smallest for pair in pairs]))
    if smallest <= 1:
        return f"{text}; for half of them, this data could show a cosine of {smallest:.2f} or more, noise taken out"
    return f"{text}; for most of them, this data has too few pairs to show any"
