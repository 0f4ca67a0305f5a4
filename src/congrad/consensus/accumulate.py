"""What part every pair has in its language's gradient: the mean, or the paper's exponential moving average (EMA).

Shapes: P pairs, L languages, T mini-batches of a language.
"""

import torch
from torch import Tensor


def mean_weights(language_P: Tensor, usable_P: Tensor) -> Tensor:
    """1 / (number of its language's usable pairs) for every usable pair (P, float64), 0 for the others."""
    count_L = torch.bincount(language_P[usable_P], minlength=int(language_P.max()) + 1).double()
    return torch.where(usable_P, 1 / count_L[language_P], 0.0)


def ema_weights(language_P: Tensor, usable_P: Tensor, *, decay: float, batch: int) -> Tensor:
    """The weight of every pair in its language's exponential moving average (P, float64), 0 where not usable.

    The paper's G <- decay * G + (1 - decay) * g over a language's mini-batches in input order, from G = 0, is linear in
    the pairs: batch t of T has weight (1 - decay) * decay^(T - 1 - t), shared by its pairs. No bias correction, so a
    language's weights sum to 1 - decay^T.
    """
    weight_P = torch.zeros(len(language_P), dtype=torch.float64)
    for language in language_P[usable_P].unique().tolist():
        rows = torch.nonzero((language_P == language) & usable_P).flatten()
        batch_of_row = torch.arange(len(rows)) // batch
        size_T = torch.bincount(batch_of_row).double()
        age_T = torch.arange(len(size_T) - 1, -1, -1, dtype=torch.float64)
        weight_P[rows] = ((1 - decay) * decay**age_T / size_T)[batch_of_row]
    return weight_P
