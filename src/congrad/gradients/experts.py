"""The experts of a mixture: slices of two parameters of three dimensions, which no hook on a module sees one by one.

transformers marks the modules that hold them (`use_experts_implementation`) and fixes what they compute, so that
implementations can be exchanged. This one is the same sum over experts e of w_te W_e f(V_e a_t) for the tokens t that
are routed to them, and it shows the recorder what the gradients of V_e and W_e are made of. Two sketches are shared by
all experts of a module, so that one outer product a token is left of the many:

    V_e:  sum_e (P_e d_te) (Q a_t)^T       = (sum_e P_e d_te) (Q a_t)^T         d_te: gradient of V_e a_t
    W_e:  sum_e (P w_te g_t) (Q_e h_te)^T  = (P g_t) (sum_e w_te Q_e h_te)^T    g_t: gradient of the module's output

P_e and Q_e have signs of their own for every expert, and so the products of two different experts are zero on average.

Shapes: T tokens, K experts a token, S = T K slots sorted by expert, E experts, N coordinates, p the projection size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from congrad.gradients.projection import CountSketch, count_sketch

CONTRACT = ("has_gate", "has_bias", "is_transposed", "has_post_expert_norm", "_apply_gate", "num_experts", "down_proj")
OnRead = Callable[[torch.Tensor, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]], torch.Tensor]


def is_experts(module: nn.Module) -> bool:
    """Whether the module holds experts as transformers defines them. A norm after every expert is not known here."""
    return all(hasattr(module, name) for name in CONTRACT) and not module.has_post_expert_norm


@dataclass(frozen=True)
class Experts:
    """The experts of one decoder block, in the module of this name."""

    name: str
    module: Any

    @property
    def up(self) -> str:
        """The parameter of V; that of W is `down_proj`."""
        return "gate_up_proj" if self.module.has_gate else "up_proj"

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [getattr(self.module, self.up), self.module.down_proj]

    def shape(self, parameter: str) -> tuple[int, int]:
        """(outputs, inputs) of one expert."""
        shape = tuple(getattr(self.module, parameter).shape[1:])
        return shape[::-1] if self.module.is_transposed else shape


@dataclass(frozen=True)
class ExpertSketch:
    """A count sketch with signs of its own for every expert (E x N) and buckets that they share."""

    sketch: CountSketch
    sign_EN: torch.Tensor

    @classmethod
    def draw(
        cls, name: str, num_experts: int, side: str, num_coordinates: int, size: int, seed: int, device: Any
    ) -> "ExpertSketch":
        drawn = [
            count_sketch(f"{name}.{expert}", side, num_coordinates, size, seed, device) for expert in range(num_experts)
        ]
        return cls(drawn[0], torch.stack([each.sign_N for each in drawn]))

    def of(self, expert: int) -> CountSketch:
        return replace(self.sketch, sign_N=self.sign_EN[expert])

    def __call__(self, values_SN: torch.Tensor, expert_S: torch.Tensor) -> torch.Tensor:
        """The sketch of every slot's row by its expert, S x p in float32."""
        return replace(self.sketch, sign_N=self.sign_EN[expert_S])(values_SN)


@dataclass(frozen=True)
class ExpertSketches:
    """The projections of both sides of V_e (up) and of W_e (down)."""

    left_of_up: ExpertSketch
    right_of_up: CountSketch
    left_of_down: CountSketch
    right_of_down: ExpertSketch

    @classmethod
    def draw(cls, experts: Experts, size: int, seed: int, device: Any) -> "ExpertSketches":
        name, num_experts, own = experts.name, experts.module.num_experts, (size, seed, device)
        num_up, num_hidden = experts.shape(experts.up)
        num_output, num_inner = experts.shape("down_proj")
        return cls(
            left_of_up=ExpertSketch.draw(f"{name}.{experts.up}", num_experts, "left", num_up, *own),
            right_of_up=count_sketch(f"{name}/{num_hidden}", "right", num_hidden, *own),
            left_of_down=count_sketch(f"{name}.down_proj", "left", num_output, *own),
            right_of_down=ExpertSketch.draw(f"{name}.down_proj", num_experts, "right", num_inner, *own),
        )


class ExpertsForward:
    """The forward of a module of experts that calls `on_read` for both parameters, for as long as it is in its place.

    Args:
        on_read: takes the sketched inputs (T x p), the output whose gradient belongs to them, and how that gradient is
            sketched (T x p); gives the output to go on with, which requires a gradient.
    """

    def __init__(self, experts: Experts, size: int, seed: int, device: Any, on_read: OnRead) -> None:
        self.experts, self.on_read = experts, on_read
        self.sketches = ExpertSketches.draw(experts, size, seed, device)
        experts.module.forward = self

    def __call__(self, hidden_TN: torch.Tensor, index_TK: torch.Tensor, weight_TK: torch.Tensor) -> torch.Tensor:
        module, num_slots = self.experts.module, index_TK.shape[1]
        expert_S, slot_S = index_TK.flatten().sort(stable=True)
        ends = torch.bincount(expert_S, minlength=module.num_experts).cumsum(0).tolist()
        weight_S, place_S = weight_TK.flatten()[slot_S], slot_S.argsort()

        def by_token(rows_SN: torch.Tensor) -> torch.Tensor:
            """The sum of every token's slots, in the same order on every device."""
            sum_TN: torch.Tensor = rows_SN[place_S].unflatten(0, (-1, num_slots)).sum(1)
            return sum_TN

        up_SN = self.linear(self.experts.up, hidden_TN[slot_S // num_slots], ends)
        right_Tp = self.sketches.right_of_up(hidden_TN.detach())
        up_SN = self.on_read(
            right_Tp, up_SN, lambda gradient_SN: by_token(self.sketches.left_of_up(gradient_SN, expert_S))
        )
        inner_SN = module._apply_gate(up_SN) if module.has_gate else module.act_fn(up_SN)
        down_SN = self.linear("down_proj", inner_SN, ends)
        output_TN = by_token(down_SN * weight_S[:, None]).to(hidden_TN.dtype)
        right_Tp = by_token(
            self.sketches.right_of_down(inner_SN.detach(), expert_S) * weight_S.detach()[:, None].float()
        )
        return self.on_read(right_Tp, output_TN, self.sketches.left_of_down)

    def linear(self, parameter: str, rows_SN: torch.Tensor, ends: Sequence[int]) -> torch.Tensor:
        """Every expert's own product with its slots, S x outputs."""
        module = self.experts.module
        weight_E, bias_E = getattr(module, parameter), getattr(module, f"{parameter}_bias", None)
        parts, start = [], 0
        for expert, end in enumerate(ends):
            if end > start:
                weight = weight_E[expert].T if module.is_transposed else weight_E[expert]
                parts.append(F.linear(rows_SN[start:end], weight, None if bias_E is None else bias_E[expert]))
            start = end
        return torch.cat(parts)

    def close(self) -> None:
        del self.experts.module.forward
