"""What a direction is worth to a training: the two ends between which trainings lie.

Held-out pair j gains <s_j, mu> for a step along mu, the mean gradient of the kept pairs S. A step is not as long as mu:

    at equal step length   <s_j, mu> / |mu|: every option takes one step of the same length. Few clean pairs look best.
    for a budget           an adaptive optimiser's step is about as long as a mini-batch's gradient, which is mostly
                           noise, E|g_B|^2 = |mu|^2 + (mean |s_i|^2 - |mu|^2) / B over the pairs i in S; so
                           (steps = epochs |S| / B) x <s_j, mu> / sqrt(E|g_B|^2). Dropping a pair costs its step, but
                           not where the steps are given: a training of so many goes round fewer pairs more often.

Both are first order, at the start of training: what saturates, and what noise does over many steps, they do not see.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from congrad.settings.advice import Advice

Measure = Literal["budget", "equal_length"]
MEASURES: tuple[Measure, ...] = ("budget", "equal_length")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """A training: epochs over the kept pairs, and pairs of one step.

    Attributes:
        steps: of the whole training, however many pairs are kept; None where the epochs decide.
    """

    epochs: float
    batch_size: int
    steps: int | None = None

    @classmethod
    def of(cls, settings: Advice) -> "Budget":
        return cls(settings.epochs, settings.batch_size, settings.steps)

    @property
    def in_words(self) -> str:
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs:g} epochs"
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        return f"{epochs if self.steps is None else steps} in batches of {self.batch_size}"

    def in_epochs(self, num_pairs: int) -> "Budget":
        """The same by the epochs that its steps make of all pairs: trainings of parts of them share the steps."""
        return Budget(self.epochs if self.steps is None else self.steps * self.batch_size / num_pairs, self.batch_size)


def step_factor(measure: Measure, budget: Budget, *, squared_norm: Any, mean_square: Any, num_pairs: Any) -> Floats:
    """What <s_j, mu> is multiplied with (any shape); 0 where mu is 0.

    Args:
        squared_norm: |mu|^2; less than 0 is 0.
        mean_square: the mean of |s_i|^2 over the kept pairs.
        num_pairs: |S|.
    """
    squared_norm, mean_square, num_pairs = map(np.float64, (squared_norm, mean_square, num_pairs))
    squared_norm = np.maximum(squared_norm, 0)  # of gradients that cancel out, rounding may leave less
    if measure == "equal_length":
        steps, length = np.ones_like(squared_norm), np.sqrt(squared_norm)
    else:
        per_epochs = budget.epochs * num_pairs / budget.batch_size
        steps = per_epochs if budget.steps is None else np.full_like(squared_norm, budget.steps)
        length = np.sqrt(squared_norm + (mean_square - squared_norm) / budget.batch_size)
    factor: Floats = np.divide(steps, length, out=np.zeros_like(length), where=length > 0)
    return factor
