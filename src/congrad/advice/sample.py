"""Which pairs the advice measures: those with a gradient, and of many a sample by language.

Shapes: N pairs that could be scored, P of them that are measured, L languages that have one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from congrad.advice.folds import sample
from congrad.advice.measure import Gradients
from congrad.consensus.buckets import Sketches
from congrad.settings.advice import Advice


@dataclass(frozen=True)
class Sample:
    """Attributes:
    gradients: of the measured pairs, divided by `scale` (P x D), clear of both ends of float32.
    row_P: their places among all.
    language_P, prompt_P: int64, from 0 on; every language and every prompt has a pair.
    code_L: the languages' codes.
    total_L: pairs with a gradient, measured or not.
    """

    gradients: Gradients
    scale: float
    row_P: Tensor
    language_P: Tensor
    prompt_P: Tensor
    code_L: Tensor
    total_L: Tensor

    @property
    def num_pairs(self) -> int:
        return len(self.row_P)

    @property
    def total_pairs(self) -> int:
        return int(self.total_L.sum())

    @property
    def num_prompts(self) -> int:
        return int(self.prompt_P.max()) + 1 if self.num_pairs else 0


def usable(factor_N: Tensor) -> Tensor:
    """Which pairs have a gradient (N, bool)."""
    return factor_N.isfinite() & (factor_N != 0)


def draw(sketches: Sketches, *, factor_N: Tensor, language_N: Tensor, group_N: Tensor, settings: Advice) -> Sample:
    """Takes the pairs that have a gradient, or `settings.max_pairs` of them.

    Args:
        sketches: the stored sketches (N x D).
        factor_N: what makes a pair's sketch its gradient; a pair whose factor is zero or not finite takes no part.
        language_N: codes of the languages. Each that has a pair takes part.
        group_N: the same number for the pairs of one prompt, in whatever language.
    """
    factor_N = factor_N.double()
    row_P = torch.nonzero(usable(factor_N)).flatten()
    total_L = torch.bincount(language_N[row_P])
    if len(row_P) > settings.max_pairs:
        row_P = row_P[sample(group_N[row_P], settings.max_pairs, settings.seed, language_N[row_P])]
    code_L, language_P = torch.unique(language_N[row_P], return_inverse=True)
    _, prompt_P = torch.unique(group_N[row_P], return_inverse=True)
    scale = float(factor_N[row_P].abs().max()) if len(row_P) else 1.0
    gradients = Gradients(sketches, row_P, factor_N[row_P] / scale)
    return Sample(gradients, scale, row_P, language_P, prompt_P, code_L, total_L[code_L])
