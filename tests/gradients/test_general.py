"""The general pass gives what the packed one gives, and the projection of autograd's gradients for all other models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as tf
from transformers import PreTrainedModel

from congrad.gradients.general import general_scorer, general_sketcher
from congrad.gradients.packing import pack
from congrad.gradients.projection import CountSketch, count_sketch
from congrad.gradients.sketch import sketcher
from congrad.gradients.space import Space

SIZE = 4
PRECISE = 1e-5  # relative, float32
V, WINDOW = 61, 6
SHAPE: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MLA = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1}
OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "cohere2: a factor on logits, windows": lambda: tf.Cohere2ForCausalLM(
        tf.Cohere2Config(
            **SHAPE, logit_scale=0.25, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"]
        )
    ),
    "granite: factors everywhere": lambda: tf.GraniteForCausalLM(
        tf.GraniteConfig(
            **SHAPE, logits_scaling=4.0, residual_multiplier=0.5, embedding_multiplier=3.0, attention_multiplier=0.3
        )
    ),
    "falcon: its new decoder": lambda: tf.FalconForCausalLM(
        tf.FalconConfig(
            vocab_size=V,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_kv_heads=2,
            new_decoder_architecture=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
    "bloom: positions of its own": lambda: tf.BloomForCausalLM(
        tf.BloomConfig(vocab_size=V, hidden_size=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    ),
    "deepseek v3: value heads of another width": lambda: tf.DeepseekV3ForCausalLM(
        tf.DeepseekV3Config(
            **{**SHAPE, "num_key_value_heads": 4}, **MLA, **ROUTED, first_k_dense_replace=1, n_group=2, topk_group=1
        )
    ),
    "stablelm: norms of every head": lambda: tf.StableLmForCausalLM(tf.StableLmConfig(**SHAPE, qk_layernorm=True)),
    "olmo: values are clipped in place": lambda: tf.OlmoForCausalLM(tf.OlmoConfig(**SHAPE, clip_qkv=0.5)),
    "mamba": lambda: tf.MambaForCausalLM(
        tf.MambaConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2, state_size=4)
    ),
    "jamba": lambda: tf.JambaForCausalLM(
        tf.JambaConfig(
            **SHAPE,
            num_experts=4,
            num_experts_per_tok=2,
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=0,
            mamba_d_state=4,
            mamba_dt_rank=4,
            use_mamba_kernels=False,
        )
    ),
    "llama4: a linear layer that returns a tuple, experts of its own": lambda: tf.Llama4ForCausalLM(
        tf.Llama4TextConfig(
            **SHAPE, head_dim=8, intermediate_size_mlp=40, num_local_experts=3, interleave_moe_layer_step=2
        )
    ),
    "phimoe: a router that returns a tuple": lambda: tf.PhimoeForCausalLM(
        tf.PhimoeConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2)
    ),
    "jetmoe: experts without the contract": lambda: tf.JetMoeForCausalLM(
        tf.JetMoeConfig(
            vocab_size=V,
            hidden_size=32,
            num_hidden_layers=2,
            num_key_value_heads=2,
            kv_channels=8,
            intermediate_size=24,
            num_local_experts=4,
            num_experts_per_tok=2,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
    "gemma3n: a linear layer called twice": lambda: tf.Gemma3nForCausalLM(
        tf.Gemma3nTextConfig(
            **{**SHAPE, "num_hidden_layers": 4, "intermediate_size": 48},
            head_dim=8,
            sliding_window=WINDOW,
            vocab_size_per_layer_input=V,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=0,
            laurel_rank=4,
            layer_types=["sliding_attention", "full_attention"] * 2,
            activation_sparsity_pattern=[0.0] * 4,
        )
    ),
    "zamba2: blocks that are shared": lambda: tf.Zamba2ForCausalLM(
        tf.Zamba2Config(
            vocab_size=V,
            hidden_size=32,
            num_hidden_layers=4,
            layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
            hybrid_layer_ids=[1, 3],
            mamba_d_state=4,
            mamba_headdim=8,
            n_mamba_heads=8,
            mamba_ngroups=1,
            mamba_expand=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            attention_head_dim=16,
            intermediate_size=48,
            num_mem_blocks=1,
            adapter_rank=4,
            use_mem_rope=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            chunk_size=8,
        )
    ),
}


def randomised(make: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().requires_grad_(False).eval()
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1)
    return model


def sketch_pairs(model, triples, normalise="sum", *, layers=None):
    with general_sketcher(model, size=SIZE, seed=0, layers=layers, normalise=normalise) as sketch:
        return sketch(triples)


def matrix_part(model: PreTrainedModel, triple, normalise: str) -> torch.Tensor:
    """The sum of P_k G_k Q^T over what is neither a linear layer nor a known expert: by definition, slice by slice."""
    matrices, total = Space.of(model).matrices, torch.zeros(SIZE, SIZE)
    device = torch.device("cpu")
    for matrix, gradient in zip(
        matrices, gradients_of(model, [m.parameter for m in matrices], triple, normalise), strict=True
    ):
        for k, part in enumerate(gradient.flatten(0, -3) if gradient.ndim > 2 else gradient[None]):
            first, signs = (count_sketch(f"{matrix.name}.{n}", "left", part.shape[0], SIZE, 0, device) for n in (0, k))
            left = CountSketch(signs.sign_N, first.shifts, SIZE).matrix()
            right = count_sketch(f"{matrix.name}/{part.shape[1]}", "right", part.shape[1], SIZE, 0, device).matrix()
            total += left.T @ part @ right
    return total.flatten()


def gradients_of(
    model: PreTrainedModel, weights: list[torch.Tensor], triple, normalise: str
) -> tuple[torch.Tensor, ...]:
    """By autograd, on a forward with nothing of ours."""
    if not weights:
        return ()
    prompt, chosen, rejected = (torch.from_numpy(ids).long() for ids in triple)
    for weight in weights:
        weight.requires_grad_(True)
    difference = torch.zeros(())
    for response, sign in ((chosen, 1), (rejected, -1)):
        logp_TV = model(torch.cat([prompt, response])[None]).logits[0].float().log_softmax(-1)
        logp = logp_TV[len(prompt) - 1 : -1].gather(1, response[:, None]).sum()
        difference = difference + sign * logp / (len(response) if normalise == "mean" else 1)
    gradients = torch.autograd.grad(difference, weights)
    for weight in weights:
        weight.requires_grad_(False)
    return gradients


@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_sketches_are_those_of_the_packed_pass(tiny_model, family, normalise, varied_pairs, relative_error):
    model = tiny_model(family)
    found = sketch_pairs(model, varied_pairs, normalise)
    with sketcher(model, size=SIZE, seed=0) as sketch:
        expected = sketch(pack(varied_pairs, normalise))
    for one, other in zip(found.sketches_BD, expected.sketches_BD, strict=True):
        assert relative_error(one, other) < PRECISE
    torch.testing.assert_close(found.logps_B2, expected.logps_B2, rtol=1e-5, atol=1e-4)
    with general_scorer(model) as score:
        scored = score(varied_pairs)
    torch.testing.assert_close(scored.logps_B2, expected.logps_B2, rtol=1e-5, atol=1e-4)
    assert scored.sketches_BD.shape == (len(varied_pairs), 0)


@pytest.mark.parametrize("kind", OTHERS)
def test_sketches_of_other_families_project_the_gradients_of_autograd(
    kind, varied_pairs, project, project_experts, relative_error
):
    model = randomised(OTHERS[kind])
    space = Space.of(model)
    for triple, found in zip(varied_pairs[2:4], sketch_pairs(model, varied_pairs[2:4]).sketches_BD, strict=True):
        dense = gradients_of(model, [layer.module.weight for layer in space.layers], triple, "sum")
        experts = gradients_of(model, [p for each in space.experts for p in each.parameters], triple, "sum")
        expected = project(space.layers, list(dense), SIZE, 0) + project_experts(space.experts, list(experts), SIZE, 0)
        assert relative_error(found, expected + matrix_part(model, triple, "sum")) < PRECISE
