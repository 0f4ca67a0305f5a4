"""What a round of the loop is: which model it starts from, what its reference is, what it trains on.

Round t (from 0) trains M_t into M_{t+1} with the loss of arXiv 2403.19159, eq. 9 (DPO where alpha = 0):

    L = -log sigmoid(m),  m = beta [(log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))] + alpha (|y_w| - |y_l|)
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from congrad.errors import UserError

Reference = Literal["previous", "initial"]
Data = Literal["latest", "accumulated"]


@dataclass(frozen=True)
class Lora:
    """Train a low-rank adapter instead of the weights, a fresh one every round.

    M_{t+1} = M_t + B A * (alpha / r) in every adapted layer: the adapter is merged in float32, the sum is cast to the
    model's dtype and saved as a plain checkpoint, so that engines, the filter and the next round see a model like any
    other. The adapter itself is kept beside it. Where the dtype is bfloat16 the cast can round a small update away;
    the stage's manifest says how much of it (`merge_rounding`).

    The reference "previous" is M_t, which is the same model with the adapter switched off: no second one is loaded.
    "initial" is M_0, loaded beside it from the second round on.

    Attributes:
        r: rank of the adapter.
        alpha: the update is scaled by alpha / r (alpha / sqrt(r) with `rslora`).
        dropout: on the adapter's input. TRL switches all dropout off unless `train.disable_dropout` is false.
        target_modules: names of layers as PEFT takes them; "all-linear" is every linear layer but the LM head.
        rslora: rank-stabilised scaling (arXiv 2312.03732).
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    rslora: bool = False

    def __post_init__(self) -> None:
        if self.r < 1:
            raise UserError(f"rounds.lora.r {self.r}: must be 1 or more")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise UserError(f"rounds.lora.alpha {self.alpha}: must be above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"rounds.lora.dropout {self.dropout}: must be at least 0 and below 1")
        if not self.target_modules:
            raise UserError("rounds.lora.target_modules is empty: name layers, or leave it out for all-linear")


@dataclass(frozen=True)
class Rounds:
    """How many rounds there are and what each of them takes from the ones before.

    With full weights M_{t+1} is M_t after training: the weights are held in float32 while they are trained, whatever
    the model's dtype (TRL's default; a step of 1e-6 is lost in bfloat16), and cast to the model's dtype when saved.
    With `lora`, see there. Either way M_{t+1} is a plain checkpoint, and the optimiser starts anew every round.

    Attributes:
        count: rounds in all.
        reference: "previous": the round's reference is M_t, from which it starts (its margins are then 0 but for the
            length term); "initial": it is M_0 in every round, so that no round drifts from M_0 unpenalised.
        data: "latest": a round trains on its own pairs; "accumulated": on those of all rounds so far, each as its
            round's filter kept it.
        length_penalty: alpha of the loss, per response token. Above 0, a longer chosen response counts as already
            preferred by so much. 0 is DPO.
        lora: None trains all weights.
    """

    count: int = 2
    reference: Reference = "previous"
    data: Data = "latest"
    length_penalty: float = 0.0
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"rounds.count {self.count}: must be 1 or more")
        if self.reference not in get_args(Reference):
            raise UserError(f"rounds.reference {self.reference!r}: choose previous or initial")
        if self.data not in get_args(Data):
            raise UserError(f"rounds.data {self.data!r}: choose latest or accumulated")
        if not math.isfinite(self.length_penalty):
            raise UserError(f"rounds.length_penalty {self.length_penalty}: must be a finite number; 0 is DPO")
