"""Which share to keep, where nobody says: keeping data is the null choice.

Everything, unless the predicted gain of some share beats that of all pairs by more than two standard errors. Then the
largest share whose paired difference from the best share is within one standard error.

Shapes: K shares, G prompts, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from congrad.advice.budget import Floats
from congrad.advice.gain import SHARES, Gain, standard_error

CLEARLY, ABOUT = 2.0, 1.0  # standard errors


@dataclass(frozen=True)
class Point:
    """A share on the curve: its predicted gain, its difference from all pairs, and the standard error of that."""

    share: float
    gain: float
    delta: float
    standard_error: float


@dataclass(frozen=True)
class Choice:
    """Attributes:
    share: what is kept.
    best: the share of the largest predicted gain.
    curve: of every share in `SHARES`.
    """

    share: float
    best: float
    curve: tuple[Point, ...]

    @property
    def number(self) -> int:
        """Of the share in `SHARES`."""
        return SHARES.index(self.share)


def choose(gains: Sequence[Gain]) -> Choice:
    """The share, from the gains of all in `SHARES`, of which the last keeps everything."""
    value_K = np.array([gain.mean for gain in gains])
    influence_KG = np.stack([gain.mean_influence_G for gain in gains])
    delta_K = value_K - value_K[-1]
    error_K = _errors(influence_KG - influence_KG[-1])
    curve = tuple(map(Point, SHARES, value_K.tolist(), delta_K.tolist(), error_K.tolist()))
    best = int(value_K.argmax())
    kept = len(SHARES) - 1
    if (delta_K > CLEARLY * error_K).any():
        near_K = value_K[best] - value_K <= ABOUT * _errors(influence_KG - influence_KG[best])
        kept = int(np.flatnonzero(near_K).max())
    return Choice(SHARES[kept], SHARES[best], curve)


def _errors(influence_KG: Floats) -> Floats:
    return np.array([standard_error(influence_G) for influence_G in influence_KG])
