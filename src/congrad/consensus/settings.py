"""How to find the consensus: what `congrad filter` takes as options, checked."""

from dataclasses import dataclass

from congrad.consensus.choice import check_choice
from congrad.consensus.surgery import check_aggregator
from congrad.errors import UserError


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
        check_aggregator(self.aggregator)
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
