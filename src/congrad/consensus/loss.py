"""The loss as a scalar on the pair: from log-probabilities to the weight c of each pair's gradient.

Every loss here depends on the weights only through delta, the difference of the two sides' log-probabilities, so the
gradient of pair i is c_i * (grad log pi(y_w) - grad log pi(y_l)) with c = dL/d(delta), evaluated at the frozen policy:

    delta = (log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))
    dpo       L = -log sigmoid(m),  m = beta delta                                    arXiv 2305.18290, eq. 7
    lp-dpo    L = -log sigmoid(m),  m = beta delta + alpha (len(y_w) - len(y_l))      arXiv 2403.19159, eq. 9
    hinge     L = max(0, 1 - m),    m = beta delta                                    arXiv 2305.10425
    robust    L = (-(1 - e) log sigmoid(m) + e log sigmoid(-m)) / (1 - 2 e),  m = beta delta    arXiv 2403.00409
    ipo       L = (m - 1 / (2 beta))^2,  m = delta of per-token means                 arXiv 2310.12036, eq. 17, as TRL
    simpo     L = -log sigmoid(m),  m = beta delta - gamma, delta of per-token means, no reference    arXiv 2405.14734

Shapes: P pairs.
"""

import math
from dataclasses import dataclass

import torch

from congrad.consensus.choice import check_choice
from congrad.errors import UserError

SUMMED = ("dpo", "lp-dpo", "hinge", "robust")
PER_TOKEN = ("ipo", "simpo")
LOSSES = SUMMED + PER_TOKEN


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


def margins(
    loss: Loss,
    *,
    chosen_logp_P: torch.Tensor,
    rejected_logp_P: torch.Tensor,
    reference_chosen_logp_P: torch.Tensor,
    reference_rejected_logp_P: torch.Tensor,
    chosen_tokens_P: torch.Tensor,
    rejected_tokens_P: torch.Tensor,
) -> torch.Tensor:
    """The margin m of every pair (P, float64), as the module's docstring defines it for each loss.

    The log-probabilities are sums over the response for the losses in `SUMMED`, means over it for those in `PER_TOKEN`.
    """
    delta_P = chosen_logp_P.double() - rejected_logp_P.double()
    if loss.name != "simpo":
        delta_P = delta_P - (reference_chosen_logp_P.double() - reference_rejected_logp_P.double())
    match loss.name:
        case "ipo":
            return delta_P
        case "simpo":
            assert loss.target_margin is not None
            return loss.beta * delta_P - loss.target_margin
        case "lp-dpo":
            assert loss.length_penalty is not None
            return loss.beta * delta_P + loss.length_penalty * (chosen_tokens_P.double() - rejected_tokens_P.double())
    return loss.beta * delta_P


def pair_weights(loss: Loss, margin_P: torch.Tensor) -> torch.Tensor:
    """c = dL/d(delta) of every pair (P, float64): the pair's gradient is c times its stored difference.

    Negative where descent widens the margin. Exactly 0 where the loss is flat: hinge from m = 1 on (as PyTorch's relu),
    ipo at its target. NaN where the margin is not finite.
    """
    margin_P = margin_P.double()
    match loss.name:
        case "hinge":
            weight_P = -loss.beta * (margin_P < 1).double()
        case "ipo":
            weight_P = 2 * (margin_P - 1 / (2 * loss.beta))
        case "robust":
            e = loss.label_smoothing
            assert e is not None
            weight_P = -loss.beta * ((1 - e) * torch.sigmoid(-margin_P) + e * torch.sigmoid(margin_P)) / (1 - 2 * e)
        case _:
            weight_P = -loss.beta * torch.sigmoid(-margin_P)
    return weight_P.where(margin_P.isfinite(), torch.nan)
