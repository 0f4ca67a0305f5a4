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

import torch
from torch import Tensor

from congrad.settings.consensus import Loss


def margins(
    loss: Loss,
    *,
    chosen_logp_P: Tensor,
    rejected_logp_P: Tensor,
    reference_chosen_logp_P: Tensor,
    reference_rejected_logp_P: Tensor,
    chosen_tokens_P: Tensor,
    rejected_tokens_P: Tensor,
) -> Tensor:
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


def pair_weights(loss: Loss, margin_P: Tensor) -> Tensor:
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
