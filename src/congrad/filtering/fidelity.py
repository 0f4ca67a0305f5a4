"""How far the compressed scores can be trusted, measured on the run's own pairs and with no further pass.

A layer's p x p sketch holds four quarters. The upper left and the lower right share no row of P and no column of Q:
they are two independent sketches of half the size. Where scores from the two rank alike (Spearman r), compression adds
little. The noise of a whole sketch has half the variance of a quarter's where gradients are of low rank, and a quarter
of it where they are not, so by the Spearman-Brown formula the whole ranks as the exact scores do with a correlation of
about sqrt(2 r / (1 + r)) or more. With few pairs r itself is uncertain, and so is the estimate.
"""

import math

import torch

from congrad.consensus import Consensus, Loss, score_pairs
from congrad.filtering.score import language_codes, pair_inputs
from congrad.gradients import GradientIndex

MAX_PAIRS = 2000  # enough for two digits; keeps the check below a second


def ranks_of(values: torch.Tensor) -> torch.Tensor:
    return values.argsort(stable=True).argsort().double()


def spearman(first: torch.Tensor, second: torch.Tensor) -> float:
    """Spearman's rank correlation of two vectors without ties, over the entries where both are finite."""
    both = first.isfinite() & second.isfinite()
    if both.sum() < 3:
        return math.nan
    stacked = torch.stack([ranks_of(first[both]), ranks_of(second[both])])
    return float(torch.corrcoef(stacked)[0, 1])


def estimate_fidelity(index: GradientIndex, loss: Loss, consensus: Consensus) -> dict[str, float | int | None]:
    """Rank agreement of scores from two independent quarters of the sketches, and what it says of the whole.

    `estimated_spearman` is None where the size is odd or below 2, or there are too few pairs to tell.
    """
    size = int(index.plan["settings"]["projection_size"])
    nothing: dict[str, float | int | None] = {"pairs": 0, "half_size_spearman": None, "estimated_spearman": None}
    if size % 2 or size < 2 or len(index) < 8:
        return nothing
    step = -(-len(index) // MAX_PAIRS)
    taken_P = torch.arange(0, len(index), step)
    blocks_PMpp = torch.stack([index[int(row) : int(row) + 1][0] for row in taken_P]).unflatten(1, (-1, size, size))
    half = size // 2
    inputs = {name: values_P[taken_P] for name, values_P in pair_inputs(index, loss).items()}
    num_languages = len(language_codes(index)[0])
    scores = [
        score_pairs(
            blocks_PMpp[:, :, rows, rows].flatten(1), **inputs, num_languages=num_languages, consensus=consensus
        ).score_P
        for rows in (slice(0, half), slice(half, size))
    ]
    r = spearman(*scores)
    if math.isnan(r):
        return nothing
    whole = math.sqrt(2 * r / (1 + r)) if r > 0 else 0.0
    return {"pairs": len(taken_P), "half_size_spearman": round(r, 4), "estimated_spearman": round(whole, 4)}
