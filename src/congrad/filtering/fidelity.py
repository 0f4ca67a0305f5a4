"""How much compression changes the ranking, and nothing else, measured on the run's own pairs and with no further pass.

Folding a p x p sketch again, with signs +, + or -, - on its two sides, gives two sketches of half the size. Their
inner products are the whole sketch's, plus and minus the same error; that error has the variance of the whole sketch's
own where gradients are of low rank, and twice that where they are not. Where scores from the two rank alike (Spearman
r), compression adds little: the variance of its noise is at most (1 - r) / (2 r) of the scores' own, so the whole ranks
as the exact scores do with a correlation of about sqrt(2 r / (1 + r)) or more (the Spearman-Brown formula). With few
pairs r itself is uncertain, and so is the estimate.

With a new LoRA adapter (`model.lora`), the gradient of B is that of the layer's weight times the random A: a second
compression. The right side of its sketches keeps two halves of A's rows apart (`projection.half_sketches`), so the one
half is taken there with + on the left, and the other with -. The estimate then compares with uncompressed gradients of
the adapted layers' weights, as a LoRA of many ranks sees them.
"""

import math
from typing import Any

import torch

from congrad.consensus.score import score_pairs
from congrad.filtering.score import language_codes, pair_inputs
from congrad.gradients.index import GradientIndex
from congrad.gradients.projection import halved, split
from congrad.settings.consensus import Consensus, Loss

MAX_PAIRS = 1000  # enough for two digits; keeps the check below a second


def spearman(first: torch.Tensor, second: torch.Tensor) -> float:
    """Spearman's rank correlation of two vectors without ties, over the entries where both are finite."""
    both = first.isfinite() & second.isfinite()
    if both.sum() < 3:
        return math.nan
    ranks = [values[both].argsort(stable=True).argsort().double() for values in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def whole_of_halves(r: float) -> float:
    """How scores correlate with those without any noise, where two with twice the noise correlate by r."""
    return math.sqrt(2 * r / (1 + r)) if r > 0 else 0.0


def estimate_fidelity(
    index: GradientIndex, loss: Loss, consensus: Consensus, group_N: torch.Tensor | None = None
) -> dict[str, float | int | None]:
    """Rank agreement of scores from two foldings of the sketches to half their size, and what it says of the whole.

    `estimated_spearman` is None where the size is odd or below 2, a new adapter has rank 1, or there are too few pairs
    to estimate it.
    """
    size = int(index.plan["settings"]["projection_size"])
    nothing: dict[str, float | int | None] = {"pairs": 0, "half_size_spearman": None, "estimated_spearman": None}
    lora = index.plan.get("lora")
    if size % 2 or size < 2 or len(index) < 8 or (lora is not None and lora["r"] < 2):
        return nothing
    step = -(-len(index) // MAX_PAIRS)
    taken_P = torch.arange(0, len(index), step)
    sketch_Ppp = torch.stack([index[int(row) : int(row) + 1][0] for row in taken_P]).unflatten(1, (size, size)).float()
    inputs: dict[str, Any] = {name: values_P[taken_P] for name, values_P in pair_inputs(index, loss, group_N).items()}
    num_languages = len(language_codes(index)[0])
    if lora is None:
        halves = [halved(sketch_Ppp, sign, sign).flatten(1) for sign in (1, -1)]
    else:
        halves = [split(sketch_Ppp, sign, part).flatten(1) for part, sign in enumerate((1, -1))]
    found = [score_pairs(half, **inputs, num_languages=num_languages, consensus=consensus) for half in halves]
    r = spearman(*(each.score_P for each in found))
    if math.isnan(r):
        return nothing
    whole = round(whole_of_halves(r), 4)
    return {"pairs": len(taken_P), "half_size_spearman": round(r, 4), "estimated_spearman": whole}
