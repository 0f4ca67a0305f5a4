"""What decides a gradient pass. Nothing here loads a model's library."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from congrad.errors import UserError

if TYPE_CHECKING:
    import torch

Normalise = Literal["sum", "mean"]

MANY_PAIRS = 20_000  # from here on a pair takes 32 KB instead of 128: 100,000 of them 3.3 GB


def layer_slice(layers: str) -> slice:
    """The slice that a text such as `12:` or `4:10` writes.

    Raises:
        UserError: the text is no such slice.
    """
    match = re.fullmatch(r"((?:-?\d+)?):((?:-?\d+)?)", layers)
    if match is None:
        raise UserError(f"--layers {layers!r} is neither 'upper' nor a slice such as '12:' or '4:10'")
    start, stop = (int(text) if text else None for text in match.groups())
    return slice(start, stop)


@dataclass(frozen=True)
class PassSettings:
    """What decides the content of an index, beside the model and the pairs.

    Attributes:
        projection_size: p; a pair takes p x p numbers, whatever the model. None for `default_projection_size`.
        seed: of the projections.
        layers: which decoder blocks count (`congrad.gradients.space.parse_layers`); None for all.
        normalise: `sum` for losses on summed log-probabilities, `mean` for length-normalised ones (IPO, SimPO).
        token_budget: tokens in one pass; None for what suits the device.
    """

    projection_size: int | None = None
    seed: int = 0
    layers: str | None = None
    normalise: Normalise = "sum"
    token_budget: int | None = None

    def __post_init__(self) -> None:
        if self.projection_size is not None and self.projection_size < 1:
            raise UserError(f"--projection-size {self.projection_size}: must be 1 or more")
        if self.normalise not in ("sum", "mean"):
            raise UserError(f"--normalise {self.normalise!r}: must be 'sum' or 'mean'")
        if self.token_budget is not None and self.token_budget < 1:
            raise UserError(f"--token-budget {self.token_budget}: must be 1 or more")
        if self.layers not in (None, "upper"):
            layer_slice(self.layers)

    def resolved(self, num_pairs: int, device: "torch.device") -> "PassSettings":
        """The same with a number for what suits the data and the device."""
        return replace(
            self,
            projection_size=self.projection_size or default_projection_size(num_pairs),
            token_budget=self.token_budget or default_token_budget(device),
        )


def default_projection_size(num_pairs: int) -> int:
    """Wide sketches for few pairs, whose scores lie close together; 32 KB a pair for many (docs/performance.md)."""
    return 256 if num_pairs < MANY_PAIRS else 128


def default_token_budget(device: "torch.device") -> int:
    """Tokens in one pass: larger packs are no faster on a CPU and leave its cache; small ones leave a GPU idle."""
    return 512 if device.type == "cpu" else 16384
