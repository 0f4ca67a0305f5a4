"""RMSNorm in fewer passes over its input than its definition takes, forward and backward.

y = x / rms(x) * w, with rms(x) = sqrt(mean(x^2) + eps). The mean is accumulated in float32. With u = dL/dy * w,
dL/dx = (u - x * mean(u x) / rms(x)^2) / rms(x).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn


class RMSNorm(torch.autograd.Function):
    """The norm above; `weight` is frozen and gets no gradient.

    The forward pass rounds where the model's own does: Llama's before the weight, which is then of the input's dtype;
    Gemma's after it, which is then float32.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        y: torch.Tensor = (x * inverse).to(weight.dtype).mul_(weight).to(x.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        u = grad * weight.to(grad.dtype)
        mean = (u * x).sum(-1, keepdim=True, dtype=torch.float32).div_(x.shape[-1])
        scale = (mean * inverse**3).to(x.dtype)
        return u.mul_(inverse.to(x.dtype)).addcmul_(x, scale, value=-1), None, None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    y: torch.Tensor = RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return y


def scale_of(module: nn.Module) -> tuple[torch.Tensor, float] | None:
    """The weight and epsilon with which `rms_norm` computes what `module` computes, or None where it does not.

    Families store the weight as w or as 1 + w, and epsilon under several names; what is tried is compared with the
    module's own output in float32, where the two cannot be mistaken, so an unknown variant keeps its own code.
    """
    weight = getattr(module, "weight", None)
    named = (getattr(module, name, None) for name in ("eps", "variance_epsilon"))
    epsilon = next((value for value in named if isinstance(value, float)), None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 1 or epsilon is None:
        return None
    probe = torch.randn(4, len(weight), generator=torch.Generator().manual_seed(0)).to(weight.device)
    expected = copy.deepcopy(module).float()(probe)
    for candidate in (weight, 1 + weight.float()):
        if torch.allclose(rms_norm(probe, candidate.float(), epsilon), expected, rtol=1e-5, atol=1e-7):
            return candidate, epsilon
    return None


@contextmanager
def faster_norms(model: nn.Module) -> Iterator[int]:
    """While open, the model's RMSNorms run as `rms_norm`; yields how many do."""
    with torch.no_grad():
        found = [(m, scale_of(m)) for m in model.modules() if type(m).__name__.endswith("RMSNorm")]
    replaced = [(module, *scale) for module, scale in found if scale is not None]
    for module, weight, epsilon in replaced:
        module.forward = partial(rms_norm, weight=weight, eps=epsilon)
    try:
        yield len(replaced)
    finally:
        for module, _, _ in replaced:
            del module.forward
