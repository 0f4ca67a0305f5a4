"""Which device a model computes on. `auto` takes an accelerator only where it computes what the CPU computes.

Kernels of younger backends have returned wrong numbers without an error. One short pair through a tiny model shows
whether log-probabilities and gradients agree with the CPU's.
"""

import os
from collections.abc import Callable
from functools import cache

import torch

from congrad.errors import UserError
from congrad.settings.model import DEVICE, DEVICES

ACCELERATORS = ("cuda", "xpu", "mps")  # in the order in which they are tried; ROCm's devices are cuda to PyTorch
TOLERANCE = 1e-2  # relative; float32 differs by 1e-6, TF32 by 1e-3, a wrong kernel by 1
PROMPT, CHOSEN, REJECTED = (5, 9, 2, 7, 11, 3), (4, 8, 6, 1), (10, 2, 5)

Computed = tuple[torch.Tensor, torch.Tensor]
"""Of one pair: log-probabilities of both sides (2), and what stands for the gradient of their difference (D)."""
Compute = Callable[[torch.nn.Module], Computed]


def pick_device(
    name: str, *, compute: "Compute | None" = None, on_note: Callable[[str], None] = lambda note: None
) -> torch.device:
    """The device of this name; `auto` is the first accelerator that agrees with the CPU, else the CPU.

    Args:
        name: auto, cpu, cuda, cuda:1, xpu or mps. Of several devices of a kind, a process that a launcher started
            takes the one of its LOCAL_RANK.
        compute: what is compared with the CPU, by default log-probabilities and gradients of the model's own forward.
        on_note: hears of an accelerator that `auto` does not take, and why.

    Raises:
        UserError: there is no such device, or it does not agree with the CPU.
    """
    compute = compute or by_autograd
    if name == "auto":
        for kind in ACCELERATORS:
            if not is_available(kind):
                continue
            number = () if kind == "mps" else (int(os.environ.get("LOCAL_RANK", "0")),)
            device = torch.device(kind, *number)
            if (difference := difference_from_cpu(device, compute)) is None:
                return device
            on_note(f"{device} is not used, though PyTorch finds it: {difference}")
        return torch.device("cpu")
    if not DEVICE.fullmatch(name):
        raise UserError(f"must be {DEVICES}", key="model.device", value=name)
    device = torch.device(name)
    if device.type == "cpu":
        return device
    count = device_count(device.type)
    if (device.index or 0) >= count:
        found = f"is not there: PyTorch finds {count} {device.type.upper()} devices"
        raise UserError(found, "use cpu", key="model.device", value=name)
    if (difference := difference_from_cpu(device, compute)) is not None:
        raise UserError(difference, "use cpu", key="model.device", value=name)
    return device


def is_available(kind: str) -> bool:
    """Whether PyTorch finds a device of a kind."""
    backend = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    return bool(backend.is_available())


def device_count(kind: str) -> int:
    if kind == "mps" or not is_available(kind):
        return int(is_available(kind))
    return int(getattr(torch, kind).device_count())


@cache
def difference_from_cpu(device: torch.device, compute: Compute) -> str | None:
    """How a device differs from the CPU on one short pair, in words; None where it agrees."""
    model = tiny_model()
    expected = compute(model)
    try:
        found = compute(model.to(device))
    except Exception as error:  # whatever a driver, a kernel or an allocator has to say: the device is not used
        return f"it fails on one short pair ({' '.join(str(error).split())[:200]})"
    for what, ours, its in zip(("log-probabilities", "gradients"), expected, found, strict=True):
        its = its.cpu().double()
        distance = (its - ours.double()).norm() / ours.double().norm()
        if not distance <= TOLERANCE:  # NaN is not
            return f"its {what} differ from the CPU's by {distance:.0%} on one short pair"
    return None


def tiny_model() -> torch.nn.Module:
    """A random Llama of two blocks with grouped queries, in float32 on the CPU; the global generator is left alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: torch.nn.Module = LlamaForCausalLM(config).float().eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def by_autograd(model: torch.nn.Module) -> Computed:
    """By the model's own forward and PyTorch's autograd."""
    device = next(model.parameters()).device
    ids = [torch.tensor([[*PROMPT, *side]], device=device) for side in (CHOSEN, REJECTED)]
    logps = torch.stack([_summed_logp(model, ids_1T, len(PROMPT)) for ids_1T in ids])
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    gradients = torch.autograd.grad(logps[0] - logps[1], weights)
    return logps.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def _summed_logp(model: torch.nn.Module, ids_1T: torch.Tensor, num_prompt: int) -> torch.Tensor:
    logits = model(input_ids=ids_1T).logits[0, num_prompt - 1 : -1]
    logp: torch.Tensor = logits.float().log_softmax(-1).gather(1, ids_1T[0, num_prompt:, None]).sum()
    return logp
