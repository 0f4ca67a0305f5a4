"""The preference loss, and how to find the consensus: what `congrad filter` takes as options, checked."""

import importlib.util
import math
from dataclasses import dataclass

from congrad.consensus.choice import check_choice
from congrad.errors import UserError

SUMMED = ("dpo", "lp-dpo", "hinge", "robust")
PER_TOKEN = ("ipo", "simpo")
LOSSES = SUMMED + PER_TOKEN
TORCHJD = ("upgrad", "mgda", "cagrad", "gradvac", "aligned-mtl")
AGGREGATORS = ("pcgrad", "mean", *TORCHJD)


@dataclass(frozen=True)
class Loss:
    """A preference loss and its parameters. One that the named loss would ignore must stay None.

    Attributes:
        name: one of `LOSSES`.
        beta: TRL's default is 0.1.
        length_penalty: alpha of lp-dpo, per token. Above 0, a longer chosen response counts as already preferred.
        label_smoothing: e of robust, the share of labels taken to be flipped, 0 <= e < 0.5.
        target_margin: gamma of simpo; None becomes TRL's default, 0.5, with simpo.
    """

    name: str = "dpo"
    beta: float = 0.1
    length_penalty: float | None = None
    label_smoothing: float | None = None
    target_margin: float | None = None

    def __post_init__(self) -> None:
        check_choice("loss", self.name, LOSSES)
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise UserError(f"beta is {self.beta}; it must be above 0")
        for parameter, value, owner in (
            ("length penalty", self.length_penalty, "lp-dpo"),
            ("label smoothing", self.label_smoothing, "robust"),
            ("target margin", self.target_margin, "simpo"),
        ):
            if value is not None and self.name != owner:
                raise UserError(f"the {self.name} loss has no {parameter}; leave it out, or choose the loss {owner}")
            if value is not None and not math.isfinite(value):
                raise UserError(f"the {parameter} is {value}; give a finite number")
        if self.name == "simpo" and self.target_margin is None:
            object.__setattr__(self, "target_margin", 0.5)
        if self.name == "lp-dpo" and self.length_penalty is None:
            raise UserError(
                "the lp-dpo loss needs a length penalty (R-DPO uses 0.005 to 0.05); give one, or choose dpo"
            )
        if self.name == "robust" and self.label_smoothing is None:
            raise UserError(
                "the robust loss needs a label smoothing, the share of flipped labels; give one, or choose dpo"
            )
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 0.5:
            raise UserError(f"label smoothing is {self.label_smoothing}; it must be at least 0 and below 0.5")

    def check_index(self, *, per_token: bool) -> None:
        """Refuse an index of the other kind: its differences are no multiple of this loss's gradients.

        Args:
            per_token: the index holds differences of per-token means, not of sums.

        Raises:
            UserError: with the mend.
        """
        if self.name in PER_TOKEN and not per_token:
            raise UserError(
                f"the {self.name} loss needs gradients of per-token means and this index holds sums; "
                f"build the index with --normalise mean, or choose from {', '.join(SUMMED)}"
            )
        if self.name in SUMMED and per_token:
            raise UserError(
                f"the {self.name} loss needs gradients of sums and this index holds per-token means; "
                f"build the index without --normalise mean, or choose from {', '.join(PER_TOKEN)}"
            )


def needs_torchjd(aggregator: str) -> str:
    return f"the aggregator {aggregator} needs the torchjd extra; pip install 'congrad[torchjd]', or choose pcgrad"


@dataclass(frozen=True)
class Consensus:
    """How to find the consensus.

    Attributes:
        aggregator: one of `surgery.AGGREGATORS`.
        accumulate: a language gradient is the `mean` of its pairs' or the paper's `ema` over its mini-batches.
        ema_decay: of the moving average, 0 <= decay < 1; None becomes 0.9 with `ema`.
        ema_batch: pairs of a mini-batch; None becomes 8 with `ema`.
        cross_fit: the number of folds; 0 scores every pair against a consensus that it had a part in.
        num_orders: random orders that PCGrad and GradVac are averaged over.
        num_resamples: of the bootstrap.
        seed: of the folds, the orders and the bootstrap.
    """

    aggregator: str = "pcgrad"
    accumulate: str = "mean"
    ema_decay: float | None = None
    ema_batch: int | None = None
    cross_fit: int = 5
    num_orders: int = 64
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("aggregator", self.aggregator, AGGREGATORS)
        if self.aggregator in TORCHJD and importlib.util.find_spec("torchjd") is None:
            raise UserError(needs_torchjd(self.aggregator))
        check_choice("accumulation", self.accumulate, ("mean", "ema"))
        if self.accumulate == "mean" and (self.ema_decay is not None or self.ema_batch is not None):
            raise UserError("a mean has no EMA decay or batch; leave them out, or choose the accumulation ema")
        if self.accumulate == "ema":  # what is written down as the run's settings names the defaults
            object.__setattr__(self, "ema_decay", 0.9 if self.ema_decay is None else self.ema_decay)
            object.__setattr__(self, "ema_batch", 8 if self.ema_batch is None else self.ema_batch)
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise UserError(f"the EMA decay is {self.ema_decay}; it must be at least 0 and below 1")
        if self.ema_batch is not None and self.ema_batch < 1:
            raise UserError(f"the EMA batch is {self.ema_batch}; it must be at least 1")
        if self.cross_fit < 0 or self.cross_fit == 1:
            raise UserError(f"cross-fitting in {self.cross_fit} folds is not possible; give 2 or more, or 0 for none")
        if self.num_orders < 1 or self.num_resamples < 1:
            raise UserError("the numbers of orders and of resamples must be at least 1")
