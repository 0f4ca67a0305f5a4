"""The preference loss, and how the consensus of the languages is found."""

import importlib.util
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Lt

from congrad.errors import UserError
from congrad.settings.section import Count, Seed, refused, section

LossName = Literal["dpo", "lp-dpo", "hinge", "robust", "ipo", "simpo"]
LOSSES: tuple[str, ...] = get_args(LossName)
SUMMED, PER_TOKEN = LOSSES[:4], LOSSES[4:]
Aggregator = Literal["pcgrad", "mean", "upgrad", "mgda", "cagrad", "gradvac", "aligned-mtl"]
AGGREGATORS: tuple[str, ...] = get_args(Aggregator)
TORCHJD = AGGREGATORS[2:]
OWNERS = {"length_penalty": "lp-dpo", "label_smoothing": "robust", "target_margin": "simpo"}  # of a loss's parameters


@section("loss")
class Loss:
    """A preference loss and its parameters."""

    name: LossName = "dpo"
    """dpo, lp-dpo, hinge, robust on summed log-probabilities; ipo, simpo per token."""
    beta: Annotated[float, Gt(0)] = 0.1
    """Beta of the loss; TRL's default is 0.1."""
    length_penalty: float | None = None
    """Alpha of lp-dpo, per token. Above 0, a longer chosen response counts as already preferred."""
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] | None = None
    """The share of labels that robust takes to be flipped."""
    target_margin: float | None = None
    """Gamma of simpo; null for TRL's default, 0.5."""

    def __post_init__(self) -> None:
        for parameter, owner in OWNERS.items():
            if getattr(self, parameter) is not None and self.name != owner:
                raise refused(
                    parameter, f"would be ignored by the {self.name} loss", f"leave it out, or set loss.name to {owner}"
                )
        if self.name == "simpo" and self.target_margin is None:
            object.__setattr__(self, "target_margin", 0.5)
        if self.name == "lp-dpo" and self.length_penalty is None:
            raise refused("length_penalty", "is missing: lp-dpo needs it", "set it; R-DPO uses 0.005 to 0.05")
        if self.name == "robust" and self.label_smoothing is None:
            raise refused("label_smoothing", "is missing: robust needs it", "set it to the share of flipped labels")

    def check_index(self, *, per_token: bool) -> None:
        """Refuses an index of sums where the loss is per token, or the other way round, by a `UserError`.

        The differences in such an index are not multiples of this loss's gradients.
        """
        if (self.name in PER_TOKEN) == per_token:
            return
        wanted, there = ("per-token means", "sums") if self.name in PER_TOKEN else ("sums", "per-token means")
        normalise, others = ("mean", SUMMED) if self.name in PER_TOKEN else ("sum", PER_TOKEN)
        raise UserError(
            f"needs an index of {wanted}, not of {there}",
            f"build it with index.normalise={normalise}, or choose from {', '.join(others)}",
            key="loss.name",
            value=self.name,
        )


@section("consensus")
class Consensus:
    """How the direction is found that the languages agree on."""

    aggregator: Aggregator = "pcgrad"
    """pcgrad or mean; upgrad, mgda, cagrad, gradvac, aligned-mtl with the extra torchjd."""
    accumulate: Literal["mean", "ema"] = "mean"
    """A language gradient is the mean of its pairs' gradients, or the paper's EMA over its mini-batches."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] | None = None
    """EMA decay; null for 0.9 with ema."""
    ema_batch: Count | None = None
    """Pairs of a mini-batch of the EMA; null for 8 with ema."""
    shrinkage: bool = False
    """Weigh every language's gradient by its reliability, the share of it that is not sampling noise."""
    cross_fit: Annotated[int, Ge(0)] = 5
    """Folds of cross-fitting; 0: a pair takes part in its own consensus."""
    num_orders: Count = 64
    """Random orders that PCGrad and GradVac are averaged over."""
    num_resamples: Count = 1000
    """Draws of the bootstrap."""
    seed: Seed = 0
    """Seed of the folds, the orders and the bootstrap."""

    def __post_init__(self) -> None:
        if self.aggregator in TORCHJD and importlib.util.find_spec("torchjd") is None:
            raise refused("aggregator", *needs_torchjd(), value=self.aggregator)
        for parameter, default in (("ema_decay", 0.9), ("ema_batch", 8)):
            given = getattr(self, parameter)
            if self.accumulate == "mean" and given is not None:
                raise refused(
                    parameter,
                    "would be ignored where consensus.accumulate is mean",
                    "leave it out, or set consensus.accumulate to ema",
                )
            if self.accumulate == "ema" and given is None:  # what is written down as the run's settings names it
                object.__setattr__(self, parameter, default)
        if self.cross_fit == 1:
            raise refused("cross_fit", "leaves no other fold to score by", "give 2 or more, or 0 for none", value=1)


def needs_torchjd() -> tuple[str, str]:
    """What is wrong with an aggregator of TorchJD's where that is not installed, and the fix."""
    return "needs the extra torchjd", "pip install 'congrad[torchjd]', or choose pcgrad"
