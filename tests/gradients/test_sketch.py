"""One packed pass gives, per pair, the projection of what autograd gives explicitly; and it leaves no trace."""

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import transformers as tf
from torch import nn
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients import attention
from congrad.gradients import head as head_module
from congrad.gradients.attention import IMPLEMENTATION
from congrad.gradients.packing import pack
from congrad.gradients.sketch import scorer, sketcher
from congrad.gradients.space import decoder_blocks, expert_space, gradient_space

SIZE = 4
PRECISE = 1e-5  # relative, float32: ten times what is measured
V, WINDOW = 61, 6
SHAPE: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXED_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
WINDOWS = {"sliding_window": WINDOW, "layer_types": MIXED_LAYERS}
FACTORS = {"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "attention_multiplier": 0.3, "logits_scaling": 4.0}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1}
MLA = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
LATENT = {**SHAPE, "num_key_value_heads": 4, **MLA}
OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "cohere: logits times a factor, blocks side by side": lambda: tf.CohereForCausalLM(
        tf.CohereConfig(**SHAPE, logit_scale=0.25, use_qk_norm=True)
    ),
    "cohere2: windows, too": lambda: tf.Cohere2ForCausalLM(tf.Cohere2Config(**SHAPE, **WINDOWS, logit_scale=0.25)),
    "granite: logits divided": lambda: tf.GraniteForCausalLM(tf.GraniteConfig(**SHAPE, **FACTORS)),
    "granitemoe": lambda: tf.GraniteMoeForCausalLM(tf.GraniteMoeConfig(**SHAPE, **FACTORS, **EXPERTS)),
    "granitemoeshared": lambda: tf.GraniteMoeSharedForCausalLM(
        tf.GraniteMoeSharedConfig(**SHAPE, **FACTORS, **EXPERTS, shared_intermediate_size=24)
    ),
    "granitemoehybrid: attention in all layers": lambda: tf.GraniteMoeHybridForCausalLM(
        tf.GraniteMoeHybridConfig(
            **SHAPE,
            **FACTORS,
            num_local_experts=0,
            shared_intermediate_size=24,
            layer_types=["attention"] * 3,
            mamba_n_heads=4,
        )
    ),
    "hyperclovax: the same key multiplies": lambda: tf.HyperCLOVAXForCausalLM(tf.HyperCLOVAXConfig(**SHAPE, **FACTORS)),
    "minicpm3: hidden states divided, values of another width": lambda: tf.MiniCPM3ForCausalLM(
        tf.MiniCPM3Config(**LATENT, dim_model_base=8, scale_emb=2.0)
    ),
    "deepseek v2: values of another width": lambda: tf.DeepseekV2ForCausalLM(
        tf.DeepseekV2Config(**LATENT, **ROUTED, first_k_dense_replace=1)
    ),
    "deepseek v3": lambda: tf.DeepseekV3ForCausalLM(
        tf.DeepseekV3Config(**LATENT, **ROUTED, first_k_dense_replace=1, n_group=2, topk_group=1)
    ),
    "glm4_moe_lite": lambda: tf.Glm4MoeLiteForCausalLM(tf.Glm4MoeLiteConfig(**LATENT, **ROUTED)),
    "youtu": lambda: tf.YoutuForCausalLM(tf.YoutuConfig(**LATENT)),
    "gemma3n: a linear layer called twice": lambda: tf.Gemma3nForCausalLM(
        tf.Gemma3nTextConfig(
            **SHAPE,
            **WINDOWS,
            head_dim=8,
            vocab_size_per_layer_input=V,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=0,
            laurel_rank=4,
            activation_sparsity_pattern=[0.0] * 3,
        )
    ),
    "phimoe: a router that returns a tuple": lambda: tf.PhimoeForCausalLM(tf.PhimoeConfig(**SHAPE, **EXPERTS)),
    "nemotron: keyword arguments not handed on": lambda: tf.NemotronForCausalLM(tf.NemotronConfig(**SHAPE)),
    "stablelm: norms of every head": lambda: tf.StableLmForCausalLM(tf.StableLmConfig(**SHAPE, qk_layernorm=True)),
    "olmo: clipped in place": lambda: tf.OlmoForCausalLM(tf.OlmoConfig(**SHAPE, clip_qkv=0.5)),
    "olmo with biases: outputs that are views are clipped in place": lambda: tf.OlmoForCausalLM(
        tf.OlmoConfig(**SHAPE, clip_qkv=0.5, attention_bias=True)
    ),
    "qwen2-moe: windows applied by the mask": lambda: tf.Qwen2MoeForCausalLM(
        tf.Qwen2MoeConfig(
            **SHAPE,
            **WINDOWS,
            use_sliding_window=True,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
        )
    ),
}


def build_other(kind: str) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = OTHERS[kind]().requires_grad_(False).eval()
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1)
    return model


def sketch_pairs(model, triples, normalise="sum", *, layers=None, size=SIZE, seed=0):
    with sketcher(model, size=size, seed=seed, layers=layers) as sketch:
        return sketch(pack(triples, normalise))


@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_sketches_project_the_gradients_of_autograd(
    tiny_model, family, normalise, varied_pairs, sketch_of, relative_error
):
    """Of every family, packed, against two separate sequences under the model's own eager attention."""
    model = tiny_model(family)
    found = sketch_pairs(model, varied_pairs, normalise).sketches_BD
    assert found.shape == (len(varied_pairs), SIZE**2)
    for triple, sketch in zip(varied_pairs, found, strict=True):
        assert relative_error(sketch, sketch_of(model, triple, SIZE, 0, normalise)) < PRECISE


def test_log_probabilities_are_those_of_the_plain_model(tiny_model, family, varied_pairs, plain_logp):
    model = tiny_model(family)
    expected = torch.tensor(
        [[plain_logp(model, prompt, side).item() for side in sides] for prompt, *sides in varied_pairs]
    )
    packed_pairs = pack(varied_pairs, "mean")  # what is stored is the sum all the same
    torch.testing.assert_close(sketch_pairs(model, varied_pairs, "mean").logps_B2, expected, rtol=1e-5, atol=1e-4)
    with scorer(model) as score:
        scored = score(packed_pairs)
    torch.testing.assert_close(scored.logps_B2, expected, rtol=1e-5, atol=1e-4)
    assert scored.sketches_BD.shape == (len(varied_pairs), 0)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_families_are_packed_exactly(kind, varied_pairs, sketch_of, plain_logp, relative_error):
    model = build_other(kind)
    found = sketch_pairs(model, varied_pairs)
    for triple, sketch, logps in zip(varied_pairs, found.sketches_BD, found.logps_B2, strict=True):
        assert relative_error(sketch, sketch_of(model, triple, SIZE, 0)) < PRECISE
        expected = torch.stack([plain_logp(model, triple[0], side) for side in triple[1:]])
        torch.testing.assert_close(logps, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_families_are_as_they_were_afterwards(kind, varied_pairs, state_of):
    model = build_other(kind)
    before = state_of(model)
    sketch_pairs(model, varied_pairs[:1])
    assert state_of(model) == before


@pytest.mark.bfloat16
@pytest.mark.parametrize("kind", OTHERS)
def test_other_families_in_bfloat16_are_close_to_float32(kind, varied_pairs):
    half = build_other(kind).to(torch.bfloat16)
    one, other = sketch_pairs(half, varied_pairs[:3]), sketch_pairs(copy.deepcopy(half).float(), varied_pairs[:3])
    cosines = torch.cosine_similarity(one.sketches_BD, other.sketches_BD)
    assert cosines.min().item() > (0.8 if expert_space(half) else 0.95)  # rounding may choose other experts
    torch.testing.assert_close(one.logps_B2, other.logps_B2, rtol=0.03, atol=0.2)


# Which layers are called, and how


def twice(mlp, x):
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(mlp.gate_proj(x))) * mlp.up_proj(x))


def twice_the_same_input(mlp, x):
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.gate_proj(x))


def without_a_call(mlp, x):
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)))


def without_a_gradient(mlp, x):
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x).detach())


def changing_the_output(mlp, x):
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x).mul_(0.5)) * mlp.up_proj(x).clamp_(-1, 1))


CALLS = (
    twice,
    twice_the_same_input,
    without_a_call,
    without_a_gradient,
    changing_the_output,
)


def assert_exact(model, triples, layers, plain_logp, project, relative_error):
    """Also where a layer has no gradient."""
    space = gradient_space(model, layers)
    weights = [layer.module.weight for layer in space]
    found = sketch_pairs(model, triples, layers=layers).sketches_BD
    for triple, sketch in zip(triples, found, strict=True):
        for weight in weights:
            weight.requires_grad_(True)
        difference = plain_logp(model, triple[0], triple[1]) - plain_logp(model, triple[0], triple[2])
        gradients = torch.autograd.grad(difference, weights, allow_unused=True, materialize_grads=True)
        for weight in weights:
            weight.requires_grad_(False)
        assert relative_error(sketch, project(space, list(gradients), SIZE, 0)) < PRECISE


@pytest.mark.parametrize("layers", [None, "1:"])
@pytest.mark.parametrize("call", CALLS)
def test_layers_may_be_called_in_any_way(
    tiny_model, call, layers, varied_pairs, plain_logp, project, relative_error, state_of
):
    """Several times, never, with an output that leads nowhere, or going on in place."""
    model = tiny_model(intermediate_size=32)
    for block in model.model.layers:
        block.mlp.forward = partial(call, block.mlp)
    before = state_of(model)
    assert_exact(model, varied_pairs, layers, plain_logp, project, relative_error)
    assert state_of(model) == before


def test_a_block_may_be_two_layers(tiny_model, varied_pairs, plain_logp, project, relative_error):
    model = tiny_model()
    model.model.layers[2] = model.model.layers[0]
    model.config.use_cache = False  # which would mix the keys of the two
    assert len(gradient_space(model)) == 2 * 7
    assert_exact(model, varied_pairs, None, plain_logp, project, relative_error)


def test_a_layer_is_called_in_a_later_pack_for_the_first_time(
    tiny_model, varied_pairs, plain_logp, project, relative_error
):
    """As a linear expert may be, which the first tokens do not reach."""
    model, seen = tiny_model(), []
    mlp = model.model.layers[1].mlp

    def forward(x):
        seen.append(None)
        gate = mlp.act_fn(mlp.gate_proj(x))
        return mlp.down_proj(gate if len(seen) == 1 else gate * mlp.up_proj(x))

    mlp.forward = forward
    with sketcher(model, size=SIZE, seed=0) as sketch:
        sketch(pack(varied_pairs[:1], "sum"))
        found = sketch(pack(varied_pairs[1:2], "sum")).sketches_BD[0]
    space = gradient_space(model)
    weights = [layer.module.weight for layer in space]
    for weight in weights:
        weight.requires_grad_(True)
    prompt, chosen, rejected = varied_pairs[1]
    gradients = torch.autograd.grad(plain_logp(model, prompt, chosen) - plain_logp(model, prompt, rejected), weights)
    assert relative_error(found, project(space, list(gradients), SIZE, 0)) < PRECISE


def test_a_weight_that_is_read_without_a_call_is_noticed(tiny_model, varied_pairs, state_of):
    model = tiny_model()
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * nn.functional.linear(x, mlp.up_proj.weight))
    before = state_of(model)
    with pytest.raises(UserError, match=r"reads the weight of model\.layers\.1\.mlp\.up_proj without calling it"):
        sketch_pairs(model, varied_pairs)
    assert state_of(model) == before


def test_a_layer_between_the_decoder_and_the_head_is_noticed(varied_pairs, state_of):
    """ModernBERT's: where the blocks have no list of the right length, it is in the space."""
    config = tf.ModernBertDecoderConfig(**SHAPE, sliding_window=WINDOW)
    with torch.random.fork_rng():
        model = tf.ModernBertDecoderForCausalLM(config).requires_grad_(False).eval()
    model.config.num_hidden_layers = 9
    assert any(layer.name.startswith("lm_head.") for layer in gradient_space(model))
    before = state_of(model)
    with pytest.raises(UserError, match="changes its hidden states or logits in ways that packing does not know"):
        sketch_pairs(model, varied_pairs)
    assert state_of(model) == before


def test_a_layer_that_reads_other_rows_is_noticed(tiny_model, varied_pairs):
    model = tiny_model()
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x[:, :1]))
    with pytest.raises(UserError, match="a linear layer reads 1 rows of"):
        sketch_pairs(model, varied_pairs)


def test_threads_do_not_see_each_other_s_packs(tiny_model, varied_pairs):
    models = [tiny_model(seed=seed) for seed in (0, 1)]
    expected = [sketch_pairs(model, varied_pairs[i : i + 3]).sketches_BD for i, model in enumerate(models)]
    found: dict[int, torch.Tensor] = {}
    start = threading.Barrier(2)

    def run(i: int) -> None:
        with sketcher(models[i], size=SIZE, seed=0) as sketch:
            start.wait()
            for _ in range(5):
                found[i] = sketch(pack(varied_pairs[i : i + 3], "sum")).sketches_BD

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], expected[i]) for i in (0, 1))


def test_packing_changes_nothing(tiny_model, family, varied_pairs, relative_error):
    """All pairs in one pack, one at a time, and in another order."""
    model = tiny_model(family)
    with sketcher(model, size=SIZE, seed=0) as sketch:
        together = sketch(pack(varied_pairs, "sum"))
        reverse = sketch(pack(varied_pairs[::-1], "sum"))
        for i, triple in enumerate(varied_pairs):
            alone = sketch(pack([triple], "sum"))
            for other, row in ((together, i), (reverse, -1 - i)):
                assert relative_error(other.sketches_BD[row], alone.sketches_BD[0]) < PRECISE
                torch.testing.assert_close(other.logps_B2[row], alone.logps_B2[0], rtol=1e-5, atol=1e-4)


def test_small_blocks_and_chunks_change_nothing(tiny_model, family, varied_pairs, relative_error, monkeypatch):
    model = tiny_model(family)
    expected = sketch_pairs(model, varied_pairs).sketches_BD
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)
    monkeypatch.setattr(head_module, "MIN_CHUNK", 5)
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", 1)
    assert relative_error(sketch_pairs(model, varied_pairs).sketches_BD, expected) < PRECISE


def test_shared_start_of_the_responses_may_as_well_belong_to_the_prompt(tiny_model, random_pair, relative_error):
    """In the difference of sums a token of both sides cancels: moving it to the prompt leaves the same gradient."""
    model = tiny_model()
    prompt, chosen, rejected = random_pair(0, 4, 9, 7, shared=3)
    moved = (torch.cat([torch.from_numpy(prompt), torch.from_numpy(chosen[:3])]).numpy(), chosen[3:], rejected[3:])
    one, other = sketch_pairs(model, [(prompt, chosen, rejected)]), sketch_pairs(model, [moved])
    assert relative_error(one.sketches_BD, other.sketches_BD) < PRECISE
    assert torch.all(one.logps_B2 < other.logps_B2)
    difference = one.logps_B2 @ torch.tensor([1.0, -1.0])
    torch.testing.assert_close(difference, other.logps_B2 @ torch.tensor([1.0, -1.0]), rtol=1e-5, atol=1e-5)


def test_swapping_the_sides_negates_the_sketch(tiny_model, varied_pairs, relative_error):
    model = tiny_model()
    swapped = [(prompt, rejected, chosen) for prompt, chosen, rejected in varied_pairs]
    one, other = sketch_pairs(model, varied_pairs), sketch_pairs(model, swapped)
    assert relative_error(other.sketches_BD, -one.sketches_BD) < PRECISE
    torch.testing.assert_close(other.logps_B2, one.logps_B2.flip(1))


def test_a_pass_repeated_is_the_same_to_the_bit(tiny_model, varied_pairs):
    model = tiny_model("gemma2")
    with sketcher(model, size=SIZE, seed=0) as sketch:
        first, again = sketch(pack(varied_pairs, "sum")), sketch(pack(varied_pairs, "sum"))
    anew = sketch_pairs(model, varied_pairs)
    assert torch.equal(first.sketches_BD, again.sketches_BD)
    assert torch.equal(first.sketches_BD, anew.sketches_BD)


@pytest.mark.parametrize("layers", ["upper", "1:2", ":1", "-1:"])
def test_some_layers_are_sketched_alone(tiny_model, family, layers, varied_pairs, sketch_of, relative_error):
    model = tiny_model(family)
    found = sketch_pairs(model, varied_pairs, layers=layers).sketches_BD
    for triple, sketch in zip(varied_pairs, found, strict=True):
        assert relative_error(sketch, sketch_of(model, triple, SIZE, 0, layers=layers)) < PRECISE


@pytest.mark.parametrize(("layers", "lowest"), [(None, 0), ("1:", 1), ("1:2", 1), ("2:", 2)])
def test_backward_pass_goes_no_deeper_than_the_lowest_layer(tiny_model, family, layers, lowest, varied_pairs):
    model = tiny_model(family)
    _, blocks = decoder_blocks(model)
    found = []
    handles = [
        block.register_forward_pre_hook(lambda module, args: found.append(args[0].requires_grad)) for block in blocks
    ]
    sketch_pairs(model, varied_pairs, layers=layers)
    for handle in handles:
        handle.remove()
    assert found == [number > lowest for number in range(len(blocks))]


@pytest.mark.parametrize(
    ("family", "targets"),
    [("llama", ["q_proj", "v_proj", "down_proj"]), ("gemma3", "all-linear"), ("gpt2", ["c_attn", "c_proj"])],
)
def test_adapter_is_the_gradient_space(adapted_model, family, targets, varied_pairs, autograd, project, relative_error):
    model = adapted_model(family, targets)
    space = gradient_space(model)
    adapter = {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert {f"{layer.name}.weight" for layer in space} == adapter
    assert len(adapter) > 0
    assert all(3 in (layer.num_inputs, layer.num_outputs) for layer in space)
    found = sketch_pairs(model, varied_pairs).sketches_BD
    for triple, sketch in zip(varied_pairs, found, strict=True):
        expected = project(space, autograd(model, space, triple), SIZE, 0)
        assert relative_error(sketch, expected) < PRECISE


def test_adapter_of_the_head_is_refused(adapted_model):
    model = adapted_model("llama", ["q_proj", "lm_head"])
    for context in (sketcher(model, size=SIZE, seed=0), scorer(model)):
        with pytest.raises(UserError, match="the adapter changes the LM head"), context:
            pass


def test_adapter_in_the_upper_blocks_alone(adapted_model, varied_pairs, autograd, project, relative_error):
    model = adapted_model("llama", ["q_proj", "up_proj"])
    space = gradient_space(model, "upper")
    assert {layer.block for layer in space} == {1, 2}
    found = sketch_pairs(model, varied_pairs[:1], layers="upper").sketches_BD[0]
    assert relative_error(found, project(space, autograd(model, space, varied_pairs[0]), SIZE, 0)) < PRECISE


@pytest.mark.bfloat16
def test_bfloat16_is_close_to_float32(tiny_model, family, varied_pairs):
    half = tiny_model(family).to(torch.bfloat16)
    full = copy.deepcopy(half).float()
    one, other = sketch_pairs(half, varied_pairs), sketch_pairs(full, varied_pairs)
    assert one.sketches_BD.dtype == one.logps_B2.dtype == torch.float32
    cosines = torch.cosine_similarity(one.sketches_BD, other.sketches_BD)
    assert cosines.min().item() > (
        0.95 if family in ("qwen3-moe", "mixtral") else 0.98
    )  # rounding may choose other experts
    torch.testing.assert_close(one.logps_B2, other.logps_B2, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_sketches_keep_inner_products_on_average(tiny_model, family, varied_pairs, all_gradients):
    """Over 300 seeds, each inner product of two gradients to within 5 standard errors."""
    model = tiny_model(family, num_hidden_layers=1)
    triples = varied_pairs[:3]
    exact_BG = torch.stack([torch.cat([g.flatten() for g in all_gradients(model, t)]) for t in triples])
    packed_pairs, products = pack(triples, "sum"), []
    for seed in range(300):
        with sketcher(model, size=2, seed=seed) as sketch:
            sketches_BD = sketch(packed_pairs).sketches_BD
        products.append(sketches_BD @ sketches_BD.T)
    products = torch.stack(products)
    standard_error = products.std(0) / len(products) ** 0.5
    exact_BB = exact_BG @ exact_BG.T
    assert ((products.mean(0) - exact_BB).abs() < 5 * standard_error).all()
    assert (standard_error.diagonal() < 0.1 * exact_BB.diagonal()).all()  # so the line above means something


def test_model_is_as_it_was_afterwards(tiny_model, family, varied_pairs, state_of):
    model = tiny_model(family)
    model.set_attn_implementation("eager")
    ids = torch.arange(9)[None]
    before, logits = state_of(model), model(ids).logits
    with sketcher(model, size=SIZE, seed=0) as sketch:
        assert model.config._attn_implementation == IMPLEMENTATION
        sketch(pack(varied_pairs, "sum"))
    assert state_of(model) == before
    with scorer(model) as score:
        score(pack(varied_pairs, "sum"))
    assert state_of(model) == before
    assert torch.equal(model(ids).logits, logits)


@pytest.mark.parametrize("when", ["inside", "in the forward pass"])
def test_model_is_as_it_was_after_an_error(tiny_model, when, varied_pairs, state_of):
    model = tiny_model("gemma3")
    before = state_of(model)
    for context in (lambda: sketcher(model, size=SIZE, seed=0), lambda: scorer(model)):
        with pytest.raises((RuntimeError, IndexError)), context() as compute:  # noqa: PT012
            if when == "inside":
                raise RuntimeError
            beyond = [tuple(ids + 1000 for ids in triple) for triple in varied_pairs]
            compute(pack(beyond, "sum"))
        assert state_of(model) == before


def test_pass_goes_on_after_a_failed_pack(tiny_model, varied_pairs):
    model = tiny_model()
    expected = sketch_pairs(model, varied_pairs).sketches_BD
    with sketcher(model, size=SIZE, seed=0) as sketch:
        with pytest.raises(IndexError):
            sketch(pack([tuple(ids + 1000 for ids in varied_pairs[0])], "sum"))
        assert torch.equal(sketch(pack(varied_pairs, "sum")).sketches_BD, expected)


def test_model_that_is_not_frozen_is_refused_and_left_alone(tiny_model, state_of):
    model = tiny_model()
    model.get_input_embeddings().weight.requires_grad_(True)
    before = state_of(model)
    with pytest.raises(AssertionError, match="freeze the model first"), sketcher(model, size=SIZE, seed=0):
        pass
    assert state_of(model) == before


def test_model_in_training_mode_is_refused_and_left_alone(tiny_model, state_of):
    model = tiny_model().train()
    before = state_of(model)
    with pytest.raises(AssertionError), sketcher(model, size=SIZE, seed=0):
        pass
    assert state_of(model) == before
