"""Which pairs are held out together: all pairs of a prompt, in every language at once.

In parallel data a translation of a held-out pair would otherwise sit in the direction it is measured against.

Shapes: P pairs, U prompts.
"""

import torch
from torch import Tensor


def deal(group_P: Tensor, num_folds: int, seed: int, language_P: Tensor | None = None) -> Tensor:
    """The fold of every pair (P, int64): prompts in random order, dealt in turn.

    Args:
        group_P: the same number for the pairs of one prompt, whatever their language.
        language_P: prompts of one language are dealt one after the other, so that every fold has its part of each; of a
            prompt in several languages, the first counts.
    """
    order_U, unit_of_P = _order(group_P, seed, language_P)
    fold_U = torch.empty_like(order_U)
    fold_U[order_U] = torch.arange(len(order_U)) % num_folds
    return fold_U[unit_of_P]


def sample(group_P: Tensor, most: int, seed: int, language_P: Tensor) -> Tensor:
    """Which pairs to take so that there are about `most` (P, bool): whole prompts, evenly from all languages."""
    order_U, unit_of_P = _order(group_P, seed, language_P)
    share = most / len(group_P)
    step_U = ((torch.arange(len(order_U)) + 1) * share).floor()
    taken_U = torch.zeros_like(order_U, dtype=torch.bool)
    taken_U[order_U] = step_U > torch.cat([torch.zeros(1), step_U[:-1]])
    return taken_U[unit_of_P]


def _order(group_P: Tensor, seed: int, language_P: Tensor | None) -> tuple[Tensor, Tensor]:
    """The prompts at random, language by language (U), and the prompt of each pair (P)."""
    unit_U, unit_of_P = torch.unique(group_P, return_inverse=True)
    order_U = torch.randperm(len(unit_U), generator=torch.Generator().manual_seed(seed))
    if language_P is not None:
        language_U = torch.full_like(unit_U, int(language_P.max())).scatter_reduce_(0, unit_of_P, language_P, "amin")
        order_U = order_U[language_U[order_U].argsort(stable=True)]
    return order_U, unit_of_P
