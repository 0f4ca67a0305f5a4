"""One pass over the model: pairs -> sketches of their gradients on disk (the gradient index)."""

from typing import TYPE_CHECKING, Any

from congrad.gradients.index import GradientIndex, open_index
from congrad.gradients.settings import PassSettings, Progress, Rank

if TYPE_CHECKING:
    from congrad.gradients.build import build_index

__all__ = ["GradientIndex", "PassSettings", "Progress", "Rank", "build_index", "open_index"]


def __getattr__(name: str) -> Any:
    if name != "build_index":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from congrad.gradients.build import (
        build_index,  # brings transformers' models: seconds that filtering anew can spare
    )

    return build_index
