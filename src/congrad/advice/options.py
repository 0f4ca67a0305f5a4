"""What could be done with the pairs instead: rankings, of which every share of every language is an option.

    congrad             alignment with the consensus, as the filter scores it
    mean, pcgrad, ...   the same with another aggregator: the plain mean instead of surgery, and what TorchJD has
    random              a draw
    reward-margin       the largest reward margin
    loss                the lowest preference loss
    longest             the longest chosen response
    difficulty          the smallest implicit reward gap, |beta log-ratio difference| (arXiv 2508.04149), or without
                        another reference the smallest difference of log-probabilities per token
    medium-influence    the middle of the pairs by their inner product with the mean gradient of the watched pairs
                        (arXiv 2510.13212)

A ranking that cannot be made says what is missing.

Shapes: P pairs.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from congrad.advice.budget import Floats
from congrad.advice.measure import Measured, Scorer
from congrad.settings.consensus import AGGREGATORS, TORCHJD, Consensus, needs_torchjd

OWN, ALL = "congrad", "all"
TITLES = {
    ALL: "all pairs",
    OWN: "ConGrad",
    "mean": "ConGrad, plain mean",
    "pcgrad": "ConGrad, PCGrad",
    "upgrad": "ConGrad, UPGrad",
    "mgda": "ConGrad, MGDA",
    "cagrad": "ConGrad, CAGrad",
    "gradvac": "ConGrad, GradVac",
    "aligned-mtl": "ConGrad, Aligned-MTL",
    "random": "random draw",
    "reward-margin": "reward margin",
    "loss": "lowest loss",
    "longest": "longest chosen",
    "difficulty": "difficulty",
    "medium-influence": "medium influence",
}
NO_WATCH = "needs pairs to watch: give --watch to congrad filter"


@dataclass(frozen=True)
class Ranking:
    """A name of `TITLES`, and its scores or what they lack."""

    name: str
    scorer: Scorer | None
    missing: str | None = None


def rankings(
    measured: Measured,
    consensus: Consensus,
    given: Mapping[str, Floats | str],
    aggregators: Sequence[str] = AGGREGATORS,
) -> list[Ranking]:
    """All of them, the filter's own first.

    Args:
        given: of the rankings that no gradient is needed for, the scores (P, the best highest, NaN where there is none)
            or what is missing.
        aggregators: that are compared with that of the filter.
    """
    found = [Ranking(OWN, measured.scorer(consensus.aggregator))]
    for aggregator in aggregators:
        if aggregator == consensus.aggregator:
            continue
        if aggregator in TORCHJD and importlib.util.find_spec("torchjd") is None:
            found.append(Ranking(aggregator, None, needs_torchjd()[0]))
        else:
            at_start = "pcgrad" if aggregator == "gradvac" else aggregator  # which it is at frozen weights
            found.append(Ranking(aggregator, measured.scorer(at_start)))
    for name, scores in given.items():
        missing = scores if isinstance(scores, str) else None
        if missing is None and np.isnan(scores).all():
            missing = "no pair has a score"
        found.append(Ranking(name, None, missing) if missing else Ranking(name, _always(scores)))
    if measured.num_units:
        found.append(Ranking("medium-influence", _medium(measured)))
    else:
        found.append(Ranking("medium-influence", None, NO_WATCH))
    return found


def _always(score_P: Floats | str) -> Scorer:
    """Scores that no other pair has a part in."""
    assert not isinstance(score_P, str)
    return lambda left_out: score_P


def _medium(measured: Measured) -> Scorer:
    """Minus the distance from the middle place of the pair's language, as a share of its pairs (P); without the watched
    pairs of the folds that are left out."""

    def score(left_out: frozenset[int]) -> Floats:
        kept_F = ~np.isin(np.arange(measured.num_folds), list(left_out))
        share_W = measured.share_WFS[:, kept_F].sum((1, 2))
        there_W = share_W > 0
        influence_PW = measured.watch_PWFS[:, :, kept_F].sum((2, 3))[:, there_W] / share_W[there_W]
        score_P = np.full(len(measured), np.nan)
        for language in range(measured.num_languages if there_W.any() else 0):
            own = np.flatnonzero((measured.language_P == language) & kept_F[measured.fold_P])
            place = influence_PW[own].mean(1).argsort(kind="stable").argsort(kind="stable")
            score_P[own] = -np.abs(place / max(len(own) - 1, 1) - 0.5)
        return score_P

    return score
