"""Figures with intervals: a proportion or a ratio over examples, means and differences of such, each with its draws.

A figure is sum(numerator) / sum(denominator) over examples (right ones of all, nats per byte). Its interval comes from
the cluster bootstrap: the prompts are drawn with replacement, all examples of a prompt together, and the figure is
computed again from each draw (percentiles; Efron and Tibshirani 1993, ch. 13). Two models that are measured on the same
examples with the same seed have the same draws, so the difference of their draws is the paired bootstrap.

With few examples a bootstrap knows too little: of five right answers out of five it draws nothing but right answers. A
proportion of one language whose prompts all differ therefore gets Wilson's interval (1927), and a mean of such over
languages the sum of their variances as Wilson's bounds imply them (MOVER; Zou and Donner 2008). A difference from a
value that no draw changes, as 1/2 for M0's win rate against itself, keeps either.

Shapes: N examples, C clusters, D draws.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BLOCK = 2**22  # numbers drawn at a time: 32 MiB


@dataclass(frozen=True)
class Examples:
    """What one model scored on the examples of one language."""

    numerator_N: Floats
    denominator_N: Floats
    cluster_N: npt.NDArray[np.int64]  # equal for examples that are not independent evidence: those of one prompt
    is_proportion: bool = True  # every numerator is between 0 and its denominator, 1

    def __len__(self) -> int:
        return len(self.numerator_N)

    @staticmethod
    def of(values: Sequence[float], clusters: Sequence[Any] | None = None) -> "Examples":
        """A proportion's: 1 for right, 0 for wrong, 1/2 for a tie."""
        return Examples(np.array(values, dtype=float), np.ones(len(values)), codes(clusters, len(values)))

    @staticmethod
    def of_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> "Examples":
        """A ratio's, every example its own cluster."""
        numerator_N, denominator_N = np.array(numerators, dtype=float), np.array(denominators, dtype=float)
        return Examples(numerator_N, denominator_N, codes(None, len(numerator_N)), is_proportion=False)


def codes(clusters: Sequence[Any] | None, count: int) -> npt.NDArray[np.int64]:
    """Numbers for clusters, in the order in which they first appear."""
    if clusters is None:
        return np.arange(count)
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)


@dataclass(frozen=True)
class Figure:
    """A value with its bootstrap draws.

    Attributes:
        proportions: where the value is a mean of proportions whose clusters all differ (and a shift), each of them with
            its number of examples; else empty.
    """

    value: float  # NaN where there is no example
    draw_D: Floats  # what it would have been on other draws of the prompts
    count: int  # examples
    proportions: tuple[tuple[float, int], ...] = ()
    exact: bool = False  # no draw changes the value

    def interval(self, confidence: float) -> tuple[float, float]:
        """The bounds; NaN where there is no value."""
        if math.isnan(self.value):
            return math.nan, math.nan
        if self.proportions:
            bounds = [(share, *wilson(share, count, confidence)) for share, count in self.proportions]
            below = math.hypot(*(share - low for share, low, _ in bounds)) / len(bounds)
            above = math.hypot(*(high - share for share, _, high in bounds)) / len(bounds)
            return self.value - below, self.value + above
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.draw_D, [tail, 1 - tail])
        return float(low), float(high)

    def __sub__(self, other: "Figure") -> "Figure":
        """The difference; paired where both have the same draws."""
        value, draw_D = self.value - other.value, self.draw_D - other.draw_D
        if other.exact:
            return Figure(value, draw_D, self.count, self.proportions, self.exact)
        return Figure(value, draw_D, min(self.count, other.count))

    def map(self, function: Callable[[Floats], Floats]) -> "Figure":
        """A function of the figure, for instance exp."""
        return Figure(float(function(np.array(self.value))), function(self.draw_D), self.count)


def figure(examples: Examples, *, seed: int, name: str, draws: int) -> Figure:
    """The ratio over examples with its draws, which are the same for figures of one name, seed and clusters."""
    if not len(examples):
        return Figure(math.nan, np.full(draws, np.nan), 0)
    num_clusters = int(examples.cluster_N.max()) + 1
    sums_C = np.bincount(examples.cluster_N, examples.numerator_N, num_clusters)
    sizes_C = np.bincount(examples.cluster_N, examples.denominator_N, num_clusters)
    generator = np.random.default_rng([seed, number_of(name)])
    draw_D = np.empty(draws)
    step = max(1, BLOCK // num_clusters)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        times_DC = generator.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=count)
        draw_D[start : start + count] = (times_DC @ sums_C) / (times_DC @ sizes_C)
    value = float(examples.numerator_N.sum() / examples.denominator_N.sum())
    alone = examples.is_proportion and num_clusters == len(examples)
    return Figure(value, draw_D, len(examples), ((value, len(examples)),) if alone else ())


def mean(figures: Sequence[Figure], draws: int) -> Figure:
    """The mean of figures that were drawn independently, all of one weight; those without a value are left out."""
    there = [each for each in figures if not math.isnan(each.value)]
    if not there:
        return Figure(math.nan, np.full(draws, np.nan), 0)
    if len(there) == 1:
        return there[0]
    alone = all(len(each.proportions) == 1 for each in there)
    return Figure(
        sum(each.value for each in there) / len(there),
        np.mean([each.draw_D for each in there], axis=0),
        sum(each.count for each in there),
        tuple(each.proportions[0] for each in there) if alone else (),
        all(each.exact for each in there),
    )


def normal(value: float, error: float, count: int, *, seed: int, name: str, draws: int) -> Figure:
    """A figure of which only the standard error is known, drawn from a normal distribution."""
    draw_D = value + error * np.random.default_rng([seed, number_of(name)]).standard_normal(draws)
    return Figure(value, draw_D, count)


def constant(value: float, count: int, draws: int) -> Figure:
    """A value that no draw changes, of this many examples."""
    return Figure(value, np.full(draws, value), count, exact=True)


def wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion. A tie that counts half only makes it wider than need be."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def number_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")
