"""What decides a gradient pass and its index, besides the model and the pairs."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Le

from congrad.settings.section import Count, Seed, refused, section

if TYPE_CHECKING:
    import torch

Normalise = Literal["sum", "mean"]
Route = Literal["auto", "packed", "general"]
MANY_PAIRS = 20_000  # from here on a pair takes 32 KB instead of 128: 100,000 of them 3.3 GB
SLICE = re.compile(r"((?:-?\d+)?):((?:-?\d+)?)")


@section("index")
class PassSettings:
    """The gradient pass."""

    projection_size: Annotated[Count, Le(16384)] | None = None
    """A pair's gradient becomes size x size numbers, whatever the model; null for 256, or 128 from 20,000 pairs."""
    seed: Seed = 0
    """Seed of the projections."""
    layers: str | None = None
    """Decoder blocks that count: upper (the upper half), or a slice such as `12:` or `4:10`; null for all."""
    normalise: Normalise = "sum"
    """sum for losses on summed log-probabilities; mean for the length-normalised ones, ipo and simpo."""
    token_budget: Count | None = None
    """Tokens in one pass; null for 512 on a CPU, 16384 on a GPU."""
    route: Route = "auto"
    """packed: pairs share one row of tokens, which is fast; general: the model's own forward, one pair at a time, for
    any causal model; auto: packed where a check finds that it computes what the model computes, else general."""

    def __post_init__(self) -> None:
        if self.layers not in (None, "upper") and not SLICE.fullmatch(self.layers):
            raise refused("layers", "must be upper or a slice such as '12:' or '4:10'", value=repr(self.layers))

    def resolved(self, num_pairs: int, device: "torch.device") -> "PassSettings":
        """The same with a number for what suits the data and the device."""
        return replace(
            self,
            projection_size=self.projection_size or default_projection_size(num_pairs),
            token_budget=self.token_budget or default_token_budget(device),
        )


def layer_slice(layers: str) -> slice:
    """The slice that a text such as `12:` or `4:10` writes."""
    match = SLICE.fullmatch(layers)
    assert match is not None
    return slice(*(int(text) if text else None for text in match.groups()))


def default_projection_size(num_pairs: int) -> int:
    """Wide sketches for few pairs, whose scores are close together; 32 KB a pair for many (docs/performance.md)."""
    return 256 if num_pairs < MANY_PAIRS else 128


def default_token_budget(device: "torch.device") -> int:
    """Tokens in one pass: larger packs do not fit a CPU's cache and are not faster; small ones leave a GPU idle."""
    return 512 if device.type == "cpu" else 16384
