"""Explicit gradients by plain autograd: what the sketches stand for. It shares no code with the pass but the space.

A pair's gradient here is that of log pi(chosen) - log pi(rejected), each summed over the response, with respect to the
weight matrices of the gradient space.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from bench.workload import Workload
from congrad.gradients.space import gradient_space


def space_weights(model: PreTrainedModel, layers: str | None = None) -> list[torch.Tensor]:
    """The weights that gradients are taken over, lowest block first; from now on these alone require a gradient."""
    model.requires_grad_(False)
    weights: list[torch.Tensor] = [layer.module.get_parameter("weight") for layer in gradient_space(model, layers)]
    for weight in weights:
        weight.requires_grad_(True)
    return weights


def response_logp(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> torch.Tensor:
    """log pi(response | prompt), summed in float32; logits are made for the response only."""
    ids = torch.tensor([[*prompt, *response]])
    logits = model(ids[:, :-1], use_cache=False, logits_to_keep=len(response)).logits[0].float()
    return torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(prompt) :, None]).sum()


def pair_logps(model: PreTrainedModel, workload: Workload, i: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed log-probabilities of (chosen, rejected) of pair `i`."""
    prompt = workload.prompt_ids[i]
    return (
        response_logp(model, prompt, workload.chosen_ids[i]),
        response_logp(model, prompt, workload.rejected_ids[i]),
    )


def pair_gradient(
    model: PreTrainedModel, workload: Workload, i: int, weights: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The gradient of pair `i` with respect to `weights`, in their shapes and dtype."""
    chosen, rejected = pair_logps(model, workload, i)
    return torch.autograd.grad(chosen - rejected, weights)
