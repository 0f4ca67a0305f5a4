"""The figures of an option: gains with their intervals, beside those of all pairs, by the same draws of prompts.

Shapes: P pairs, L languages, F folds, O options, G prompts, R draws, W watched languages, U units of
watched prompts, M = L + W.
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
        watched_mean: over these.
    """

    mean: Estimate
    worst: Estimate
    worst_language: int
    languages: tuple[Estimate, ...]
    without_length: float | None
    watched: tuple[Estimate, ...]
    watched_mean: Estimate | None = None


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
    def more_RT(self) -> Floats:
        """How much more than once every prompt counts in each draw with replacement, and every unit of watched prompts
        (T = G + U)."""
        measured, generator = self.reader.measured, np.random.default_rng(self.seed)
        sizes = (size for size in (measured.num_prompts, measured.num_units) if size)
        counts = [generator.multinomial(size, np.full(size, 1 / size), self.num_resamples) for size in sizes]
        more_RT: Floats = np.concatenate(counts, axis=1).astype(np.float64) - 1
        return more_RT

    @cached_property
    def there_L(self) -> Whole:
        return np.flatnonzero(~np.isnan(self.everything.value_L))

    @cached_property
    def of_everything(self) -> tuple[Floats, Floats]:
        """The figures of all pairs, and their draws."""
        value_1J, draws_1RJ = self.drawn([self.everything])
        return value_1J[0], draws_1RJ[0]

    def drawn(self, gains: Sequence[Gain]) -> tuple[Floats, Floats]:
        """Mean, worst, every language, every watched one and their mean, of every option (O x J), and in every draw."""
        value_OM = np.stack([np.concatenate([each.value_L[self.there_L], each.watched_W]) for each in gains])
        none_UL = np.zeros((self.reader.measured.num_units, len(self.there_L)))
        influence_TM = [
            np.block([[each.influence_GL[:, self.there_L], each.watched_GW], [none_UL, each.watched_UW]])
            for each in gains
        ]
        more_ROM = (self.more_RT @ np.concatenate(influence_TM, axis=1)).reshape(-1, *value_OM.shape)
        return self._summed_up(value_OM), self._summed_up(value_OM[:, None] + more_ROM.swapaxes(0, 1))

    def _summed_up(self, of_language: Floats) -> Floats:
        """With mean and least of the trained languages before all of them, and the watched ones' mean behind."""
        trained, watched = np.split(of_language, [len(self.there_L)], axis=-1)
        of_watched = [watched.mean(-1, keepdims=True)] if watched.shape[-1] else []
        summed_up = [trained.mean(-1, keepdims=True), trained.min(-1, keepdims=True), of_language, *of_watched]
        return np.concatenate(summed_up, axis=-1)

    def of(self, gains: Sequence[Gain]) -> list[Gains]:
        """The figures of several options, from one product with the draws."""
        value_OJ, draws_ORJ = self.drawn(gains)
        all_J, all_RJ = self.of_everything
        low_OJ, high_OJ = np.percentile(draws_ORJ, TAILS, axis=1)
        delta_low_OJ, delta_high_OJ = np.percentile(draws_ORJ - all_RJ, TAILS, axis=1)
        ends = (value_OJ, low_OJ, high_OJ, value_OJ - all_J, delta_low_OJ, delta_high_OJ)
        num_languages, num_watched = len(self.there_L), len(gains[0].watched_W)
        return [
            Gains(
                mean=Estimate(*found_J6[0]),
                worst=Estimate(*found_J6[1]),
                worst_language=int(self.there_L[gain.value_L[self.there_L].argmin()]),
                languages=tuple(starmap(Estimate, found_J6[2 : 2 + num_languages])),
                without_length=without_length(gain, self.length_P, self.reader.measured.language_P),
                watched=tuple(starmap(Estimate, found_J6[2 + num_languages :][:num_watched])),
                watched_mean=Estimate(*found_J6[-1]) if num_watched else None,
            )
            for gain, found_J6 in zip(gains, np.stack(ends, axis=-1).tolist(), strict=True)
        ]

    def of_shares(self, column: int) -> list[Gains]:
        """Of every share of a ranking."""
        return self.of([self.reader.gain(column, number) for number in range(len(SHARES))])

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
        return Chosen(choice, tuple(each.share for each in without_F), self.of([procedure])[0])


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
