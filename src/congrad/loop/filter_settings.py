"""The section `filter`: which filters a run compares, and all that they take.

Length limit, loss and beta are not here: they are those of `train` and `rounds`, so that what the filter scores is the
loss that is trained.
"""

import re
from dataclasses import dataclass
from typing import Literal

from congrad.consensus.choice import check_choice
from congrad.consensus.settings import Consensus
from congrad.errors import UserError
from congrad.gradients.settings import PassSettings
from congrad.selection.settings import Selection

METHODS = ("none", "random", "reward-margin", "loss", "congrad")
"""The baselines that every result needs (`congrad.filtering.baselines`), and the method; in the evaluation's order."""

OPTION = re.compile(r"--([a-z][a-z-]+)")


@dataclass(frozen=True)
class Filter:
    """How pairs are filtered.

    Attributes:
        methods: of none, random, reward-margin, loss, congrad. Each is an arm of its own, whose rounds go on from its
            own models.
        keep: share of the pairs to keep; None becomes 0.5, unless there is a `min_score`.
        keep_scope: the share of every `language` (the default) or of all, `global`.
        min_score: keep every pair that scores this or more, instead of a share; congrad only.
        aggregator: pcgrad or mean; upgrad, mgda, cagrad, gradvac, aligned-mtl with torchjd.
        accumulate: a language gradient is the `mean` of its pairs' or the `ema` over its mini-batches.
        ema_decay: of `ema`; 0.9 there.
        ema_batch: pairs of a mini-batch of `ema`; 8 there.
        cross_fit: folds; 0: a pair takes part in its own consensus.
        projection_size: a pair's gradient becomes size x size numbers; null for what suits the number of pairs.
        layers: decoder blocks that count: upper, or a slice such as `12:`; null for all.
        token_budget: tokens in one pass; null for what suits the device.
        seed: of projections, folds, orders, and the draw of `random`.
    """

    methods: tuple[str, ...] = ("congrad",)
    keep: float | None = None
    keep_scope: Literal["language", "global"] | None = None
    min_score: float | None = None
    aggregator: str = "pcgrad"
    accumulate: str = "mean"
    ema_decay: float | None = None
    ema_batch: int | None = None
    cross_fit: int = 5
    projection_size: int | None = None
    layers: str | None = None
    token_budget: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.methods:
            raise UserError(f"filter.methods is empty; choose from {', '.join(METHODS)}")
        for number, method in enumerate(self.methods):
            check_choice("filter method", method, METHODS)
            if method in self.methods[:number]:
                raise UserError(f"filter.methods names {method} twice; once is enough")
        if self.min_score is not None and self.methods != ("congrad",):
            raise UserError("filter.min_score is a score of congrad's; with other methods give filter.keep")
        if self.keep is None and self.min_score is None:
            object.__setattr__(self, "keep", 0.5)
        try:  # each checks its own numbers, in the words of the command line
            self.selection()
            consensus = self.consensus()
            self.index("sum")
        except UserError as error:
            raise UserError(OPTION.sub(lambda option: "filter." + option[1].replace("-", "_"), str(error))) from error
        # What is written down as the run's settings names the defaults.
        object.__setattr__(self, "ema_decay", consensus.ema_decay)
        object.__setattr__(self, "ema_batch", consensus.ema_batch)

    def selection(self) -> Selection:
        return Selection(self.keep, self.min_score, self.keep_scope)

    def consensus(self) -> Consensus:
        return Consensus(
            aggregator=self.aggregator,
            accumulate=self.accumulate,
            ema_decay=self.ema_decay,
            ema_batch=self.ema_batch,
            cross_fit=self.cross_fit,
            seed=self.seed,
        )

    def index(self, normalise: Literal["sum", "mean"]) -> PassSettings:
        return PassSettings(
            projection_size=self.projection_size,
            seed=self.seed,
            layers=self.layers,
            normalise=normalise,
            token_budget=self.token_budget,
        )
