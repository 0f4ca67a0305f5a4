"""The general pass gives what the packed one gives, and the projection of autograd's gradients for all other models."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from congrad.errors import UserError
from congrad.gradients import general
from congrad.gradients.general import called_layers, general_scorer, general_sketcher
from congrad.gradients.packing import pack
from congrad.gradients.projection import CountSketch, count_sketch
from congrad.gradients.sketch import sketcher
from congrad.gradients.space import Space, SpaceLayer, gradient_space

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
    "olmo with biases: outputs that are views are clipped in place": lambda: tf.OlmoForCausalLM(
        tf.OlmoConfig(**SHAPE, clip_qkv=0.5, attention_bias=True)
    ),
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
    "prophetnet: an embedding that returns a tuple": lambda: tf.ProphetNetForCausalLM(
        tf.ProphetNetConfig(
            vocab_size=V,
            hidden_size=32,
            num_decoder_layers=2,
            num_decoder_attention_heads=4,
            decoder_ffn_dim=48,
            max_position_embeddings=64,
            num_buckets=8,
            relative_max_distance=16,
            add_cross_attention=False,
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


def test_long_pairs_run_one_side_after_the_other(tiny_model, varied_pairs, relative_error, monkeypatch):
    model = tiny_model("mixtral")
    for normalise in ("sum", "mean"):
        expected = sketch_pairs(model, varied_pairs, normalise)
        with monkeypatch.context() as patched:
            patched.setattr(general, "TOGETHER", 0)
            found = sketch_pairs(model, varied_pairs, normalise)
        for one, other in zip(found.sketches_BD, expected.sketches_BD, strict=True):
            assert relative_error(one, other) < PRECISE
        assert torch.equal(found.logps_B2, expected.logps_B2)


# What a model may do with its weights


def test_an_adapter_is_the_gradient_space(adapted_model, varied_pairs, autograd, project, relative_error):
    model = adapted_model("llama", ["q_proj", "v_proj", "down_proj"])
    space = gradient_space(model)
    for triple, found in zip(varied_pairs, sketch_pairs(model, varied_pairs).sketches_BD, strict=True):
        assert relative_error(found, project(space, autograd(model, space, triple), SIZE, 0)) < PRECISE


def test_an_adapter_may_change_the_head(adapted_model, varied_pairs, autograd, project, relative_error):
    model = adapted_model("llama", ["q_proj", "lm_head"])
    space = gradient_space(model)
    assert not any("lm_head" in layer.name for layer in space)
    found = sketch_pairs(model, varied_pairs[:1]).sketches_BD[0]
    assert relative_error(found, project(space, autograd(model, space, varied_pairs[0]), SIZE, 0)) < PRECISE


def test_an_adapter_of_experts(tiny_model, varied_pairs, relative_error):
    """PEFT's `target_parameters`: matrices of the adapter that no forward of a linear layer reads."""
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(
        r=2, target_modules=[], target_parameters=["mlp.experts.gate_up_proj"], init_lora_weights=False
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = peft.get_peft_model(tiny_model("mixtral"), settings).get_base_model().requires_grad_(False).eval()
    layers = Space.of(model).layers
    assert len(layers) == 2 * 3
    found = sketch_pairs(model, varied_pairs[2:3]).sketches_BD[0]
    gradients = gradients_of(model, [layer.module.weight for layer in layers], varied_pairs[2], "sum")
    assert relative_error(found, projected(layers, gradients)) < PRECISE


def projected(layers: list[SpaceLayer], gradients) -> torch.Tensor:
    total = torch.zeros(SIZE, SIZE)
    for layer, gradient in zip(layers, gradients, strict=True):
        left, right = (side(SIZE, 0, torch.device("cpu")).matrix() for side in (layer.left, layer.right))
        total += left.T @ gradient @ right
    return total.flatten()


def assert_exact(model, triples, relative_error):
    """Of a model whose space is linear layers."""
    space = Space.of(model)
    assert not space.experts
    assert not space.matrices
    for triple, found in zip(triples, sketch_pairs(model, triples).sketches_BD, strict=True):
        gradients = gradients_of(model, [layer.module.weight for layer in space.layers], triple, "sum")
        assert relative_error(found, projected(space.layers, gradients)) < PRECISE


def test_a_linear_layer_may_be_called_twice(tiny_model, varied_pairs, relative_error):
    model = tiny_model()
    for layer in model.model.layers:
        gate = layer.mlp.gate_proj
        layer.mlp.up_proj.forward = lambda x, gate=gate: gate(x)
    untouched = [layer for layer in Space.of(model).layers if "up_proj" in layer.name]
    space = [layer for layer in Space.of(model).layers if layer not in untouched]
    found = sketch_pairs(model, varied_pairs[:1]).sketches_BD[0]
    gradients = gradients_of(model, [layer.module.weight for layer in space], varied_pairs[0], "sum")
    assert relative_error(found, projected(space, gradients)) < PRECISE


def test_a_block_may_be_two_layers(tiny_model, varied_pairs, relative_error):
    model = tiny_model()
    model.model.layers[2] = model.model.layers[0]
    model.config.use_cache = False  # which would mix the keys of the two
    assert len(Space.of(model).layers) == 2 * 7
    assert_exact(model, varied_pairs[:2], relative_error)


@pytest.mark.parametrize("reentrant", [True, False])
def test_blocks_may_be_recomputed(tiny_model, varied_pairs, reentrant, relative_error):
    """Where a block is two layers, too: its hooks hear of the gradient in parts."""
    model = tiny_model()
    model.model.layers[2] = model.model.layers[0]
    expected = sketch_pairs(model, varied_pairs[:2]).sketches_BD
    for layer in {id(each): each for each in model.model.layers}.values():

        def recomputed(hidden, *, forward=layer.forward, **options):
            return checkpoint(lambda x: forward(x, **options), hidden, use_reentrant=reentrant)

        layer.forward = recomputed
    for one, other in zip(sketch_pairs(model, varied_pairs[:2]).sketches_BD, expected, strict=True):
        assert relative_error(one, other) < PRECISE


def test_an_expert_without_a_token_counts_zero(tiny_model, random_pair, sketch_of, relative_error):
    model, triple = tiny_model("qwen3-moe"), random_pair(0, 1, 1, 1)
    found = sketch_pairs(model, [triple]).sketches_BD[0]
    assert relative_error(found, sketch_of(model, triple, SIZE, 0)) < PRECISE


def test_a_weight_that_is_an_embedding_too_is_named_and_left_out(tiny_model, varied_pairs, relative_error):
    model = tiny_model(hidden_size=32)
    model.model.layers[1].self_attn.o_proj.weight = nn.Parameter(model.model.embed_tokens.weight[:32].clone(), False)
    model.model.embed_tokens.weight = model.model.layers[1].self_attn.o_proj.weight
    small = [tuple(ids % 32 for ids in triple) for triple in varied_pairs[:1]]
    space = Space.of(model)
    assert space.tied == ["model.layers.1.self_attn.o_proj"]
    assert len(space.layers) == 3 * 7 - 1
    assert_exact(model, small, relative_error)


@pytest.mark.parametrize("layers", ["upper", "1:2", ":1"])
def test_some_layers_are_sketched_alone(tiny_model, family, layers, varied_pairs, sketch_of, relative_error):
    model = tiny_model(family)
    found = sketch_pairs(model, varied_pairs[:2], layers=layers).sketches_BD
    for triple, sketch in zip(varied_pairs, found, strict=False):
        assert relative_error(sketch, sketch_of(model, triple, SIZE, 0, layers=layers)) < PRECISE


def test_the_backward_pass_goes_no_deeper_than_the_lowest_layer(tiny_model, varied_pairs):
    model, found = tiny_model(), []
    handles = [
        block.register_forward_pre_hook(lambda module, args: found.append(args[0].requires_grad))
        for block in model.model.layers
    ]
    sketch_pairs(model, varied_pairs[3:4], layers="1:2")
    for handle in handles:
        handle.remove()
    assert found == [False, False, True] * 4  # both sides, and before them both sides of the try


def test_plain_layers_are_hooked(tiny_model, family):
    """No gradient of their weights is made: only experts keep theirs."""
    model = tiny_model(family)
    space = Space.of(model)
    assert called_layers(model, space) == space.layers
    with general_sketcher(model, size=SIZE, seed=0):
        wanting = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(wanting) == 2 * len(space.experts)


@pytest.mark.parametrize("beside", [True, False])
def test_a_weight_that_is_read_without_a_call_is_found(tiny_model, varied_pairs, beside, relative_error):
    model = tiny_model()
    for layer in model.model.layers:
        gate, up, down, act = layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj, layer.mlp.act_fn

        def forward(x, gate=gate, up=up, down=down, act=act):
            called = gate(x) if beside else 0
            return down(act(called + F.linear(x, gate.weight)) * up(x))

        layer.mlp.forward = forward
    space = Space.of(model)
    read = [layer.name for layer in space.layers if layer not in called_layers(model, space)]
    assert read == [f"model.layers.{number}.mlp.gate_proj" for number in range(3)]
    assert_exact(model, varied_pairs[:2], relative_error)


def test_dynamic_rope_forgets_the_pairs_before(random_pair):
    """transformers keeps the frequencies of the longest sequence so far for those above the original length."""
    shape = SHAPE | {"rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10000.0}}
    make = lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**shape, max_position_embeddings=16))  # noqa: E731
    short, middle, long = (random_pair(i, count, 5, 4) for i, count in enumerate((4, 20, 60)))
    together = sketch_pairs(randomised(make), [middle, long, middle, short, long, short])
    for position, triple in enumerate((middle, long, middle, short)):
        alone = sketch_pairs(randomised(make), [triple])
        assert torch.equal(together.sketches_BD[position], alone.sketches_BD[0])
        assert torch.equal(together.logps_B2[position], alone.logps_B2[0])


class OddForCausalLM(PreTrainedModel):
    """Nothing that congrad knows: no list of blocks, no embeddings by that name, its own names of arguments."""

    config_class = tf.GPT2Config

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(V, 16)
        self.mix = nn.Parameter(torch.zeros(16, 16))
        self.stack = nn.Parameter(torch.zeros(3, 16, 16))
        self.inner = nn.Linear(16, 16)
        self.scale = nn.Parameter(torch.ones(16))
        self.out = nn.Linear(16, V, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.out

    def forward(self, input_ids):
        hidden = self.table(input_ids) * self.scale
        hidden = hidden.cumsum(1) / torch.arange(1, hidden.shape[1] + 1)[None, :, None]
        for weight in self.stack:
            hidden = hidden + torch.tanh(self.inner(hidden) @ self.mix @ weight.T)
        return CausalLMOutput(logits=self.out(hidden))


def test_an_architecture_that_nobody_knows(varied_pairs, relative_error):
    model = randomised(lambda: OddForCausalLM(tf.GPT2Config(vocab_size=V, bos_token_id=1, eos_token_id=2)))
    space = Space.of(model)
    assert [layer.name for layer in space.layers] == ["inner"]
    assert [matrix.name for matrix in space.matrices] == ["mix", "stack"]
    assert space.count(model) == (16 * 16 * 5, 0)
    for triple, found in zip(varied_pairs, sketch_pairs(model, varied_pairs).sketches_BD, strict=True):
        gradients = gradients_of(model, [model.inner.weight], triple, "sum")
        expected = projected(space.layers, gradients) + matrix_part(model, triple, "sum")
        assert relative_error(found, expected) < PRECISE


def test_no_gradient_is_refused(tiny_model, varied_pairs):
    model = tiny_model()
    real = model.forward
    model.forward = torch.no_grad()(lambda input_ids, **options: real(input_ids=input_ids, **options))
    with pytest.raises(UserError, match="no gradient reaches the weights of LlamaForCausalLM") as raised:
        sketch_pairs(model, varied_pairs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [*OTHERS, None])
def test_the_model_is_as_it_was_afterwards(tiny_model, kind, varied_pairs, state_of):
    model = tiny_model() if kind is None else randomised(OTHERS[kind])
    before = state_of(model)
    sketch_pairs(model, varied_pairs[3:4])
    assert state_of(model) == before
    with pytest.raises(IndexError), general_sketcher(model, size=SIZE, seed=0) as sketch:
        sketch([tuple(ids + 1000 for ids in varied_pairs[0])])
    assert state_of(model) == before


def test_the_model_is_as_it_was_after_an_error_on_the_way_down(tiny_model, varied_pairs, state_of):
    model = tiny_model()

    def fail(gradient):
        raise RuntimeError("on the way down")

    handle = model.model.layers[1].register_forward_hook(
        lambda module, args, output: output.register_hook(fail) and None if output.requires_grad else None
    )
    before = state_of(model)
    with pytest.raises(RuntimeError, match="on the way down"):
        sketch_pairs(model, varied_pairs[:1])
    assert state_of(model) == before
    handle.remove()


@pytest.mark.bfloat16
@pytest.mark.parametrize("kind", OTHERS)
def test_bfloat16_is_close_to_float32(kind, varied_pairs):
    half = randomised(OTHERS[kind]).to(torch.bfloat16)
    one, other = sketch_pairs(half, varied_pairs[2:3]), sketch_pairs(copy.deepcopy(half).float(), varied_pairs[2:3])
    least = 0.8 if Space.of(half).experts else 0.9  # rounding may choose other experts
    assert torch.cosine_similarity(one.sketches_BD, other.sketches_BD).item() > least
    torch.testing.assert_close(one.logps_B2, other.logps_B2, rtol=0.03, atol=0.2)
