"""The check before the pass lets the supported families through and finds out those that compute something else."""

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    GPTJConfig,
    GPTJForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
)

from congrad.errors import UserError
from congrad.gradients.check import check_model

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
UNKNOWN = {
    "logits divided by a constant": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=4.0)),
    "logits times a constant": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.25)),
    "attention of its own": lambda: GPTJForCausalLM(
        GPTJConfig(vocab_size=61, n_embd=32, n_layer=3, n_head=4, rotary_dim=8)
    ),
    "positions of its own": lambda: BloomForCausalLM(BloomConfig(vocab_size=61, hidden_size=32, n_layer=3, n_head=4)),
    "convolutions over neighbours": lambda: Lfm2ForCausalLM(
        Lfm2Config(**SHAPE, layer_types=["conv", "full_attention", "conv"])
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.bfloat16)])
def test_supported_families_pass(tiny_model, family, dtype, varied_pairs, random_pair):
    model = tiny_model(family).to(dtype)
    for triple in (*varied_pairs, random_pair(9, 25, 17, 12)):  # longer than what is looked at, too
        check_model(model, *triple)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_others_are_refused(kind, random_pair):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UNKNOWN[kind]().eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
    with pytest.raises(UserError, match=f"{type(model).__name__} computes log-probabilities in a way that") as raised:
        check_model(model, *random_pair(0, 12, 9, 9))
    assert "\n" not in str(raised.value)
