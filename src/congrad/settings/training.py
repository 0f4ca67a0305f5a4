"""What a round of the loop is: which model it starts from, what its reference is, what it trains on.

Round t (from 0) trains M_t into M_{t+1} with the loss of arXiv 2403.19159, eq. 9 (DPO where alpha = 0):

    L = -log sigmoid(m),  m = beta [(log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))] + alpha (|y_w| - |y_l|)
"""

from typing import Annotated, Literal

from annotated_types import Ge, Lt

from congrad.settings.model import Alpha, TargetModules, check_target_modules
from congrad.settings.section import Count, section


@section("rounds.lora")
class Lora:
    """Train a low-rank adapter instead of the weights, a fresh one every round.

    M_{t+1} = M_t + B A * (alpha / r) in every adapted layer: merged in float32, cast to the model's dtype, and saved as
    a plain checkpoint with the adapter beside it. In bfloat16 the cast can round a small update away; the stage's
    manifest says how much of it (`merge_rounding`). The reference "previous" is M_t, the same model with the adapter
    switched off; "initial" is M_0, loaded beside it from the second round on.
    """

    r: Count = 16
    """Rank of the adapter."""
    alpha: Alpha = 32.0
    """The update is scaled by alpha / r (alpha / sqrt(r) with rslora)."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout on the adapter's input. TRL switches all dropout off unless `train.disable_dropout` is false."""
    target_modules: TargetModules = "all-linear"
    """Names of layers as PEFT takes them; all-linear is every linear layer but the LM head."""
    rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""

    def __post_init__(self) -> None:
        check_target_modules(self.target_modules)


@section("rounds")
class Rounds:
    """How many rounds there are and what each of them takes from the ones before.

    With full weights M_{t+1} is M_t after training: the weights are held in float32 while they are trained, whatever
    the model's dtype (TRL's default; a step of 1e-6 is lost in bfloat16), and cast to the model's dtype when saved.
    The optimiser starts fresh every round.
    """

    count: Count = 2
    """Number of rounds."""
    reference: Literal["previous", "initial"] = "previous"
    """previous: the round's reference is M_t, from which it starts (its margins are then 0 but for the length term).
    initial: it is M_0 in every round, so that every round is penalised for drifting from M_0."""
    data: Literal["latest", "accumulated"] = "latest"
    """latest: a round trains on its own pairs. accumulated: on those of all rounds so far, each as its round's filter
    kept it."""
    length_penalty: float = 0.0
    """Alpha of the loss, per response token. Above 0, a longer chosen response counts as already preferred by so much.
    0 is DPO."""
    lora: Lora | None = None
    """null trains all weights."""
