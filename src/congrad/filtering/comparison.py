"""How the languages agree, as languages.json holds it: what the terminal, the report and the data card print.

Shapes: L languages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import FailFast, Field, model_validator

from congrad.consensus.conflict import MIN_PAIRS, conflict_matrix
from congrad.stage import MOST_BYTES, Amount, Record

Array = npt.NDArray[Any]
T = TypeVar("T")
FILTER_AGAIN = "filter the data again with --model"
Row = Annotated[list[T], FailFast()]
"""A list; of many wrong values only the first is named."""
Matrix = Row[Row[T]]


class LanguagesFile(Record):
    """languages.json; every matrix is L x L, with null where there is nothing to say."""

    most_bytes, fix = MOST_BYTES, FILTER_AGAIN
    languages: Row[str]
    num_pairs: Row[Amount]
    cosine: Matrix[float | None]
    cosine_interval: Matrix[Annotated[Row[float | None], Field(min_length=2, max_length=2)]]
    cosine_corrected: Matrix[float | None]
    cosine_after_surgery: Matrix[float | None]
    conflict: Matrix[bool | None] = Field([])  # of an older run
    conflict_min_pairs: Amount = MIN_PAIRS

    @model_validator(mode="after")
    def _one_size(self) -> "LanguagesFile":
        size = len(self.languages)
        if len(set(self.languages)) < size or len(self.num_pairs) != size:
            raise ValueError("languages should be names, each once, and num_pairs a number for each")
        for name in ("cosine", "cosine_interval", "cosine_corrected", "cosine_after_surgery", "conflict"):
            rows = getattr(self, name)
            if (rows or name != "conflict") and {len(rows), *map(len, rows)} != {size}:
                raise ValueError(f"{name} should be {size} lists of {size} values, as there are languages")
        return self


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    num_pairs_L: scored pairs of each language.
    cosine_LL, low_LL, high_LL: cosines of the language gradients with the ends of their 95% intervals.
    corrected_LL, after_surgery_LL: without the noise, and after surgery. NaN where there is nothing to say.
    conflict_LL: True, False or None, see `conflict_matrix`.
    min_pairs: what that asked of each language.
    """

    languages: list[str]
    num_pairs_L: Array
    cosine_LL: Array
    low_LL: Array
    high_LL: Array
    corrected_LL: Array
    after_surgery_LL: Array
    conflict_LL: Array
    min_pairs: int

    @property
    def too_few(self) -> list[tuple[str, int]]:
        """The languages with too few pairs to distinguish a conflict from noise, with their pairs."""
        counts = zip(self.languages, self.num_pairs_L.tolist(), strict=True)
        return [(name, count) for name, count in counts if count < self.min_pairs]


@dataclass(frozen=True)
class LanguagePair:
    """Two languages and what is known of their gradients; NaN, and None for a conflict, where nothing is."""

    first: str
    second: str
    cosine: float
    low: float
    high: float
    corrected: float
    after_surgery: float
    conflict: bool | None

    @property
    def figures(self) -> str:
        """The cosine with its interval."""
        interval = "" if np.isnan(self.low) else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.cosine:+.2f}{interval}"


def read_comparison(content: Mapping[str, Any]) -> Comparison:
    """What is in languages.json. Of an older one, which says nothing of conflicts, they are found now."""
    num_pairs_L = np.array(content["num_pairs"])
    num_languages = len(num_pairs_L)

    def matrix(name: str, *shape: int) -> Array:
        """Null becomes NaN."""
        return np.array(content[name], dtype=float).reshape(num_languages, num_languages, *shape)

    interval_LL2 = matrix("cosine_interval", 2)
    found = content.get("conflict") or conflict_matrix(interval_LL2, num_pairs_L)
    return Comparison(
        languages=content["languages"],
        num_pairs_L=num_pairs_L,
        cosine_LL=matrix("cosine"),
        low_LL=interval_LL2[..., 0],
        high_LL=interval_LL2[..., 1],
        corrected_LL=matrix("cosine_corrected"),
        after_surgery_LL=matrix("cosine_after_surgery"),
        conflict_LL=np.array(found, dtype=object),
        min_pairs=content.get("conflict_min_pairs", MIN_PAIRS),
    )


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
            after_surgery=float(compared.after_surgery_LL[i, j]),
            conflict=compared.conflict_LL[i, j],
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
    """The clear conflicts with their figures; "" where there is none."""
    found = [f"{pair.first} – {pair.second} {pair.figures}" for pair in lowest_first if pair.conflict]
    return ", ".join(found[:most]) + (f", and {len(found) - most} more" if len(found) > most else "")
