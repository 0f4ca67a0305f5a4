"""Experts: the forward is the module's own, and what is told of them makes up the gradient, in every layout."""

import pytest
import torch
from torch import nn
from transformers import GptOssConfig, NemotronHConfig, Qwen3MoeConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

from congrad.gradients.experts import Experts, ExpertsForward, is_experts

TOKENS, WIDTH, SLOTS, EXPERTS, SIZE = 11, 12, 2, 4, 8


def gated():
    return Qwen3MoeExperts(Qwen3MoeConfig(hidden_size=WIDTH, num_experts=EXPERTS, moe_intermediate_size=10))


def transposed():
    """With biases, and a gate of its own."""
    return GptOssExperts(GptOssConfig(hidden_size=WIDTH, num_local_experts=EXPERTS, intermediate_size=10))


def ungated():
    config = NemotronHConfig(hidden_size=WIDTH, n_routed_experts=EXPERTS, moe_intermediate_size=10)
    return NemotronHExperts(config)


@pytest.fixture(params=[gated, transposed, ungated])
def module(request):
    module = request.param().requires_grad_(False)
    module.config._experts_implementation = "eager"
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


@pytest.fixture
def routed():
    """Hidden states, chosen experts (the last one by nobody) and their weights."""
    generator = torch.Generator().manual_seed(1)
    hidden_TN = torch.randn(TOKENS, WIDTH, generator=generator)
    index_TK = torch.stack([torch.randperm(EXPERTS - 1, generator=generator)[:SLOTS] for _ in range(TOKENS)])
    return hidden_TN, index_TK, torch.rand(TOKENS, SLOTS, generator=generator)


def test_the_sum_of_outer_products_is_the_sketch_of_the_gradient(module, routed, project_experts):
    hidden_TN, index_TK, weight_TK = routed
    assert is_experts(module)
    experts = Experts("block.experts", module)
    upstream_TN = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(2))

    for parameter in experts.parameters:
        parameter.requires_grad_(True)
    expected_TN = module(hidden_TN, index_TK, weight_TK)
    gradients = torch.autograd.grad(expected_TN, experts.parameters, upstream_TN)
    for parameter in experts.parameters:
        parameter.requires_grad_(False)

    found_pp = torch.zeros(SIZE, SIZE)
    read = []

    def on_read(right_Tp, output, left):
        read.append(right_Tp.shape)
        output.requires_grad_(True)

        def add(gradient):
            found_pp.add_(left(gradient).T @ right_Tp)

        output.register_hook(add)
        return output

    forward = ExpertsForward(experts, SIZE, 0, torch.device("cpu"), on_read)
    output_TN = module(hidden_TN, index_TK, weight_TK)
    torch.testing.assert_close(output_TN, expected_TN.detach(), rtol=1e-5, atol=1e-5)
    output_TN.backward(upstream_TN)
    assert read == [(TOKENS, SIZE)] * 2
    torch.testing.assert_close(
        found_pp.flatten(), project_experts([experts], list(gradients), SIZE, 0), rtol=1e-4, atol=1e-5
    )
    forward.close()
    assert "forward" not in vars(module)


def test_gradients_of_states_and_routing_weights_are_the_module_s_own(module, routed):
    hidden_TN, index_TK, weight_TK = routed
    leaves = [hidden_TN.requires_grad_(True), weight_TK.requires_grad_(True)]
    expected = torch.autograd.grad(module(hidden_TN, index_TK, weight_TK).square().sum(), leaves)
    forward = ExpertsForward(Experts("experts", module), SIZE, 0, torch.device("cpu"), lambda _, output, __: output)
    found = torch.autograd.grad(module(hidden_TN, index_TK, weight_TK).square().sum(), leaves)
    forward.close()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_other_modules_are_none(module):
    assert not is_experts(nn.Linear(2, 2))
    module.has_post_expert_norm = True
    assert not is_experts(module)
