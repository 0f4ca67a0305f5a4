"""One pass over the model: pairs -> sketches of their gradients on disk (the gradient index)."""

from congrad.gradients.build import PassSettings, Progress, Rank, build_index
from congrad.gradients.index import GradientIndex, open_index

__all__ = ["GradientIndex", "PassSettings", "Progress", "Rank", "build_index", "open_index"]
