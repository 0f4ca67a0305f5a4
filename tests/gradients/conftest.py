"""Tiny random models of every supported family, random pairs, and the gradients of plain autograd to compare with."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.pytorch_utils import Conv1D

from congrad.gradients.experts import Experts
from congrad.gradients.projection import CountSketch, count_sketch
from congrad.gradients.space import SpaceLayer, expert_space, gradient_space
from congrad.models.load import load_model
from congrad.preferences.tokenise import TokenisedPairs

VOCABULARY = 61
WINDOW = 6  # shorter than the sequences below
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
QWEN2_SHAPE = {name: value for name, value in SHAPE.items() if name != "head_dim"}
GPT2_SHAPE = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
GEMMA2_SHAPE = {
    **SHAPE,
    "sliding_window": WINDOW,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
    "query_pre_attn_scalar": 8,
}
MIXED_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
FAMILIES: dict[str, tuple[type[PreTrainedModel], Any]] = {
    "llama": (LlamaForCausalLM, lambda: LlamaConfig(**SHAPE)),
    "llama-tied": (LlamaForCausalLM, lambda: LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "mistral": (MistralForCausalLM, lambda: MistralConfig(**SHAPE, sliding_window=WINDOW)),
    "gemma2": (Gemma2ForCausalLM, lambda: Gemma2Config(**GEMMA2_SHAPE)),
    "gemma2-untied": (Gemma2ForCausalLM, lambda: Gemma2Config(**GEMMA2_SHAPE, tie_word_embeddings=False)),
    "gemma3": (
        Gemma3ForCausalLM,
        lambda: Gemma3TextConfig(**SHAPE, sliding_window=WINDOW, layer_types=MIXED_LAYERS, query_pre_attn_scalar=16),
    ),
    "qwen2": (Qwen2ForCausalLM, lambda: Qwen2Config(**QWEN2_SHAPE)),
    "qwen3": (Qwen3ForCausalLM, lambda: Qwen3Config(**SHAPE)),
    "qwen3-moe": (Qwen3MoeForCausalLM, lambda: Qwen3MoeConfig(**SHAPE, **EXPERTS)),
    "mixtral": (MixtralForCausalLM, lambda: MixtralConfig(**SHAPE, num_local_experts=3, num_experts_per_tok=2)),
    "gpt2": (GPT2LMHeadModel, lambda: GPT2Config(**GPT2_SHAPE)),
    "gpt2-untied": (GPT2LMHeadModel, lambda: GPT2Config(**GPT2_SHAPE, tie_word_embeddings=False)),
}


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build_tiny_model(family: str = "llama", *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    model_class, make_config = FAMILIES[family]
    config = make_config()
    for name, value in changes.items():
        setattr(config, name, value)
    generator = torch.Generator().manual_seed(seed)
    model = model_class(config).requires_grad_(False).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far enough from the usual start that no gradient is nearly zero
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1)
    return model


@pytest.fixture
def tiny_model() -> Callable[..., PreTrainedModel]:
    return build_tiny_model


Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_pair(
    seed: int, prompt: int, chosen: int, rejected: int, *, shared: int = 0, vocabulary: int = VOCABULARY
) -> Triple:
    """Random token ids of these lengths; the responses agree in their first `shared` tokens and differ in the next."""
    generator = np.random.default_rng(seed)
    parts = [generator.integers(0, vocabulary, length).astype(np.int32) for length in (prompt, chosen, rejected)]
    parts[2][:shared] = parts[1][:shared]
    if shared < min(chosen, rejected) and parts[1][shared] == parts[2][shared]:
        parts[2][shared] = (parts[2][shared] + 1) % vocabulary
    return parts[0], parts[1], parts[2]


@pytest.fixture
def random_pair() -> Callable[..., Triple]:
    return draw_pair


@pytest.fixture
def varied_pairs() -> list[Triple]:
    """What a pack may meet: shared starts, one-token responses, a one-token prompt, one side the start of the other."""
    chosen_is_prefix = draw_pair(7, 4, 3, 8, shared=3)
    rejected_is_prefix = draw_pair(8, 6, 7, 2, shared=2)
    return [
        draw_pair(1, 5, 7, 9),
        draw_pair(2, 3, 1, 9),
        draw_pair(3, 9, 12, 6, shared=2),
        draw_pair(4, 4, 1, 1),
        draw_pair(5, 1, 6, 6, shared=5),
        draw_pair(6, 12, 8, 1),
        chosen_is_prefix,
        rejected_is_prefix,
    ]


def as_tokenised(triples: list[Triple], reasons: list[str] | None = None) -> TokenisedPairs:
    prompts, chosen, rejected = ([triple[side] for triple in triples] for side in range(3))
    languages = [("de", "sw", "th")[i % 3] for i in range(len(triples))]
    return TokenisedPairs(
        list(range(len(triples))), languages, prompts, chosen, rejected, reasons or [""] * len(triples)
    )


@pytest.fixture
def tokenised() -> Callable[..., TokenisedPairs]:
    return as_tokenised


@pytest.fixture
def many_pairs() -> Callable[[int], TokenisedPairs]:
    """Pairs of many lengths, some shared starts among them."""

    def make(count: int) -> TokenisedPairs:
        lengths = np.random.default_rng(0).integers(1, 9, (count, 3)).tolist()
        shared = [i % 2 if min(sizes[1:]) > 1 else 0 for i, sizes in enumerate(lengths)]
        return as_tokenised([draw_pair(i, *sizes, shared=shared[i]) for i, sizes in enumerate(lengths)])

    return make


def response_logp(model: PreTrainedModel, prompt: np.ndarray, response: np.ndarray) -> torch.Tensor:
    """log p(response | prompt), summed over tokens, by the model's own forward on that one sequence."""
    ids_T = torch.from_numpy(np.concatenate([prompt, response])).long()
    logp_TV = model(input_ids=ids_T[None], use_cache=False).logits[0].float().log_softmax(-1)
    targets_N = torch.from_numpy(response).long()
    return logp_TV[len(prompt) - 1 : -1].gather(1, targets_N[:, None]).sum()


@pytest.fixture
def plain_logp() -> Callable[..., torch.Tensor]:
    return response_logp


def gradients_of(
    model: PreTrainedModel, weights: list[torch.Tensor], triple: Triple, normalise: str
) -> tuple[torch.Tensor, ...]:
    """grad log pi(y_w) - grad log pi(y_l): autograd, the model's own eager forward, two sequences."""
    prompt, chosen, rejected = triple
    before, experts_before = model.config._attn_implementation, model.config._experts_implementation
    model.set_attn_implementation("eager")
    model.config._experts_implementation = "eager"
    for weight in weights:
        weight.requires_grad_(True)
    num_tokens = (len(chosen), len(rejected)) if normalise == "mean" else (1, 1)
    difference = response_logp(model, prompt, chosen) / num_tokens[0]
    difference = difference - response_logp(model, prompt, rejected) / num_tokens[1]
    gradients = torch.autograd.grad(difference, weights)
    for weight in weights:
        weight.requires_grad_(False)
    model.set_attn_implementation(before)
    model.config._experts_implementation = experts_before
    return gradients


def explicit_gradients(
    model: PreTrainedModel, space: list[SpaceLayer], triple: Triple, normalise: str = "sum"
) -> list[torch.Tensor]:
    """The gradients of the linear layers as outputs x inputs matrices."""
    gradients = gradients_of(model, [layer.module.weight for layer in space], triple, normalise)
    return [g.T if isinstance(layer.module, Conv1D) else g for layer, g in zip(space, gradients, strict=True)]


@pytest.fixture
def autograd() -> Callable[..., list[torch.Tensor]]:
    return explicit_gradients


def project_gradients(space: list[SpaceLayer], gradients: list[torch.Tensor], size: int, seed: int) -> torch.Tensor:
    """The sum of P G Q^T over the layers, flattened: what a sketch is by definition."""
    parts = []
    for layer, gradient in zip(space, gradients, strict=True):
        parent = layer.name.rpartition(".")[0]
        options = {"device": torch.device("cpu")}
        left = count_sketch(layer.name, "left", layer.num_outputs, size, seed, **options).matrix()
        right = count_sketch(f"{parent}/{layer.num_inputs}", "right", layer.num_inputs, size, seed, **options).matrix()
        parts.append(left.T @ gradient.float() @ right)
    return torch.stack(parts).sum(0).flatten()


def project_expert_gradients(
    experts: list[Experts], gradients: list[torch.Tensor], size: int, seed: int
) -> torch.Tensor | float:
    """The sum of P G Q^T over all experts: by definition, expert by expert and matrix by matrix.

    Args:
        gradients: of `experts[0].parameters`, `experts[1].parameters` and so on.
    """
    total: torch.Tensor | float = 0.0
    options = {"size": size, "seed": seed, "device": torch.device("cpu")}
    remaining = iter(gradients)
    for each in experts:
        for parameter in (each.up, "down_proj"):
            gradient_EON = next(remaining)
            gradient_EON = gradient_EON.transpose(1, 2) if each.module.is_transposed else gradient_EON
            _, num_outputs, num_inputs = gradient_EON.shape
            for expert, gradient in enumerate(gradient_EON):

                def own(side: str, count: int, name: str = f"{each.name}.{parameter}", n: int = expert) -> torch.Tensor:
                    first, signs = (count_sketch(f"{name}.{k}", side, count, **options) for k in (0, n))
                    return CountSketch(signs.sign_N, first.shifts, size).matrix()

                def shared(name: str, side: str, count: int) -> torch.Tensor:
                    return count_sketch(name, side, count, **options).matrix()

                if parameter == "down_proj":
                    left = shared(f"{each.name}.{parameter}", "left", num_outputs)
                    right = own("right", num_inputs)
                else:
                    left = own("left", num_outputs)
                    right = shared(f"{each.name}/{num_inputs}", "right", num_inputs)
                total = total + left.T @ gradient.float() @ right
    return total.flatten() if isinstance(total, torch.Tensor) else total


@pytest.fixture
def project_experts() -> Callable[..., torch.Tensor]:
    return project_expert_gradients


@pytest.fixture
def all_gradients() -> Callable[..., list[torch.Tensor]]:
    """The gradients of all that is in the space, experts too."""

    def gradients(model: PreTrainedModel, triple: Triple) -> list[torch.Tensor]:
        experts = [parameter for each in expert_space(model) for parameter in each.parameters]
        dense = explicit_gradients(model, gradient_space(model), triple)
        return dense + (list(gradients_of(model, experts, triple, "sum")) if experts else [])

    return gradients


@pytest.fixture
def sketch_of() -> Callable[..., torch.Tensor]:
    """What the sketch of a pair is by definition, from the gradients of autograd."""

    def sketch(
        model: PreTrainedModel, triple: Triple, size: int, seed: int, normalise: str = "sum", layers: str | None = None
    ) -> torch.Tensor:
        space, experts = gradient_space(model, layers), expert_space(model, layers)
        dense = project_gradients(space, explicit_gradients(model, space, triple, normalise), size, seed)
        parameters = [parameter for each in experts for parameter in each.parameters]
        gradients = list(gradients_of(model, parameters, triple, normalise)) if parameters else []
        return dense + project_expert_gradients(experts, gradients, size, seed)

    return sketch


@pytest.fixture
def project() -> Callable[..., torch.Tensor]:
    return project_gradients


@pytest.fixture
def relative_error() -> Callable[[torch.Tensor, torch.Tensor], float]:
    return lambda found, expected: ((found - expected).norm() / expected.norm()).item()


@pytest.fixture
def saved_case(tmp_path: Path, many_pairs: Callable[[int], TokenisedPairs]) -> Path:
    """A directory with the model and the 150 pairs that build_tiny.py reads: 5 shards."""
    case, pairs = tmp_path / "case", many_pairs(150)
    build_tiny_model().save_pretrained(case / "model")
    arrays = {"languages": np.array(pairs.languages)}
    for side, all_ids in (("prompt", pairs.prompt_ids), ("chosen", pairs.chosen_ids), ("rejected", pairs.rejected_ids)):
        arrays |= {f"{side}-{i}": ids for i, ids in enumerate(all_ids)}
    np.savez(case / "pairs.npz", **arrays)
    return case


@pytest.fixture
def builder() -> str:
    """The script that builds an index from such a directory."""
    return str(Path(__file__).with_name("build_tiny.py"))


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file of an index but index.json, which holds how long the last call took, and leftovers of killed ones."""
    return lambda directory: {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name != "index.json" and not path.name.startswith(".")
    }


@pytest.fixture
def adapted_model(tmp_path: Path) -> Callable[[str, Any], PreTrainedModel]:
    """A saved model and adapter, loaded as a user's are; no matrix of the adapter is zero."""
    peft = pytest.importorskip("peft")

    def load(family: str, targets: Any) -> PreTrainedModel:
        build_tiny_model(family).save_pretrained(tmp_path / "base")
        settings = peft.LoraConfig(
            target_modules=targets,
            r=3,
            lora_alpha=6,
            lora_dropout=0.5,  # off in evaluation
            init_lora_weights=False,
            fan_in_fan_out=family == "gpt2",
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT cannot look up the base model's vocabulary without a hub
            torch.manual_seed(0)
            peft.get_peft_model(build_tiny_model(family), settings).save_pretrained(tmp_path / "adapter")
        return load_model(str(tmp_path / "base"), adapter=str(tmp_path / "adapter"), dtype="float32")

    return load


def left_behind(model: PreTrainedModel) -> dict[str, Any]:
    """All that a pass could leave behind."""
    return {
        "attention": {id(m.config): m.config._attn_implementation for m in model.modules() if hasattr(m, "config")},
        "forward": [name for name, module in model.named_modules() if "forward" in vars(module)],
        "hooks": [
            len(hooks)
            for module in model.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
        "gradients": [(p.requires_grad, p.grad) for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "weights": [p.detach().float().numpy().tobytes() for p in model.parameters()],
        "generator": torch.get_rng_state().numpy().tobytes(),
    }


@pytest.fixture
def state_of() -> Callable[[PreTrainedModel], dict[str, Any]]:
    return left_behind
