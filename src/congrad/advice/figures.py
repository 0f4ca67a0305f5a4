"""The figures of an option: gains with their intervals, beside those of all pairs, by the same draws of prompts.

Shapes: P pairs, L languages, F folds, C rankings, K shares, G prompts, R draws, W watched languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap

import numpy as np

from congrad.advice.budget import Floats, Measure
from congrad.advice.gain import SHARES, Gain, Reader
from congrad.advice.keep_auto import Choice, choose
from congrad.advice.measure import Whole

TAILS = (2.5, 97.5)  # percent: the ends of a 95% interval


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95% interval, and its difference from all pairs, by the same draws of prompts."""

    value: float
    low: float
    high: float
    delta: float
    delta_low: float
    delta_high: float


@dataclass(frozen=True)
class Gains:
    """An option's gains under one measure.

    Attributes:
        mean: over the languages.
        worst: of the language that gains least, which is `worst_language`, a position among them.
        languages: of each.
        without_length: the mean where what goes with the length difference is regressed out, see `without_length`.
        watched: of the watched languages.
    """

    mean: Estimate
    worst: Estimate
    worst_language: int
    languages: tuple[Estimate, ...]
    without_length: float | None
    watched: tuple[Estimate, ...]


@dataclass(frozen=True)
class Chosen:
    """What `keep auto` chooses under one measure.

    Attributes:
        choice: from all folds.
        share_F: what is chosen without each outer fold.
        gains: of the whole procedure: in every fold, of the share that is chosen without it.
    """

    choice: Choice
    share_F: tuple[float, ...]
    gains: Gains


@dataclass(frozen=True)
class Figures:
    """Attributes:
    everything: the gain of all pairs.
    length_P: tokens of the chosen response minus those of the rejected.
    """

    reader: Reader
    everything: Gain
    num_resamples: int
    seed: int
    length_P: Floats

    @property
    def measure(self) -> Measure:
        return self.reader.measure

    @cached_property
    def more_RG(self) -> Floats:
        """How much more than once every prompt counts in each draw with replacement."""
        num_prompts = self.reader.measured.num_prompts
        even_G = np.full(num_prompts, 1 / num_prompts)
        count_RG = np.random.default_rng(self.seed).multinomial(num_prompts, even_G, self.num_resamples)
        more_RG: Floats = count_RG.astype(np.float64) - 1
        return more_RG

    def of_share(self, column: int, share: int) -> Gains:
        """Of a ranking's share, by its number in `SHARES`."""
        return self.of(self.reader.gain(column, share))

    @cached_property
    def all_RJ(self) -> Floats:
        """The draws of all pairs."""
        return self.drawn(self.everything)

    def drawn(self, gain: Gain) -> Floats:
        """Mean, worst, every language, every watched one, in every draw (R x J, J = 2 + L + W)."""
        influence_GJ = np.concatenate([gain.influence_GL[:, self.there_L], gain.watched_GW], axis=1)
        found_J = np.concatenate([gain.value_L[self.there_L], gain.watched_W])
        drawn_RJ, num_languages = found_J + self.more_RG @ influence_GJ, len(self.there_L)
        return with_summary(drawn_RJ, num_languages)

    @cached_property
    def there_L(self) -> Whole:
        return np.flatnonzero(~np.isnan(self.everything.value_L))

    def of(self, gain: Gain) -> Gains:
        own_RJ = self.drawn(gain)
        value_J, all_J = (
            with_summary(np.concatenate([each.value_L[self.there_L], each.watched_W])[None], len(self.there_L))[0]
            for each in (gain, self.everything)
        )
        low_J, high_J = np.percentile(own_RJ, TAILS, axis=0)
        delta_low_J, delta_high_J = np.percentile(own_RJ - self.all_RJ, TAILS, axis=0)
        ends = (value_J, low_J, high_J, value_J - all_J, delta_low_J, delta_high_J)
        found = list(starmap(Estimate, np.stack(ends, axis=1).tolist()))
        return Gains(
            mean=found[0],
            worst=found[1],
            worst_language=int(self.there_L[gain.value_L[self.there_L].argmin()]),
            languages=tuple(found[2 : 2 + len(self.there_L)]),
            without_length=without_length(gain, self.length_P, self.reader.measured.language_P),
            watched=tuple(found[2 + len(self.there_L) :]),
        )

    def chosen(self, column: int, inner_columns: Sequence[int]) -> Chosen:
        """What `choose` makes of a ranking's shares.

        Args:
            inner_columns: those of the same ranking that leave out the fold 1, 2, ... beyond the one held out.
        """
        reader, numbers = self.reader, range(len(SHARES))
        choice = choose([reader.gain(column, number) for number in numbers])
        without_F = [
            choose([reader.inner_gain(inner_columns, number, outer) for number in numbers])
            for outer in range(reader.measured.num_folds)
        ]
        procedure = reader.gain(column, [each.number for each in without_F])
        return Chosen(choice, tuple(each.share for each in without_F), self.of(procedure))


def with_summary(of_languages_RJ: Floats, num_languages: int) -> Floats:
    """Two columns before the others: mean and least of the languages that are trained."""
    trained_RL = of_languages_RJ[:, :num_languages]
    return np.column_stack([trained_RL.mean(1), trained_RL.min(1), of_languages_RJ])


def without_length(gain: Gain, length_P: Floats, language_P: Whole) -> float | None:
    """The mean gain over languages of a held-out pair whose responses are of one length.

    The gain of the pairs is regressed on the length difference, with one slope within all languages; what is left is
    the gain where the difference is 0. None where no two pairs of a language differ in it.
    """
    held = np.flatnonzero(~np.isnan(gain.pair_P))
    language_H, length_H = language_P[held], length_P[held]
    size_L = np.bincount(language_H, minlength=len(gain.value_L))
    mean_L = np.bincount(language_H, length_H, minlength=len(size_L)) / np.maximum(size_L, 1)
    within_H = length_H - mean_L[language_H]
    if not (squared := within_H @ within_H):
        return None
    slope = within_H @ gain.pair_P[held] / squared
    return float(np.nanmean(gain.value_L - slope * mean_L))
