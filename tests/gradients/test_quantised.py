"""Sketches of a LoRA adapter, new or loaded, on plain and on quantised weights: those of autograd's gradients."""

import importlib.util
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.gradients.conftest import SHAPE, build_tiny_model, draw_pair, gradients_of
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from congrad.gradients.check import check_start, check_whole, own_logps, reads_ahead
from congrad.gradients.passes import pass_sketcher
from congrad.gradients.space import Space
from congrad.models.load import load_model
from congrad.settings.index import PassSettings
from congrad.settings.model import NewLora

pytest.importorskip("peft")
SIZE, PRECISE = 16, 1e-5
PACKED, GENERAL = (PassSettings(projection_size=SIZE, token_budget=256, route=route) for route in ("packed", "general"))
AUTO = PassSettings(projection_size=SIZE, token_budget=256)
PAIRS = [draw_pair(seed, 9, 12, 6, shared=2) for seed in range(4)]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # as `load.with_adapter`


def needs(package: str) -> None:
    for name in (package, "accelerate"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def by_definition(model: PreTrainedModel, triple: Any, size: int = SIZE) -> torch.Tensor:
    """The sum of P G Q^T over the space, from the gradients of autograd through the model's own forward."""
    layers = Space.of(model).layers
    gradients = gradients_of(model, [layer.module.weight for layer in layers], triple, "sum")
    total = torch.zeros(size, size)
    for layer, gradient in zip(layers, gradients, strict=True):
        left, right = (side(size, 0, torch.device("cpu")).matrix() for side in (layer.left, layer.right))
        total += left.T @ gradient.float() @ right
    return total.flatten()


def sketches(model: PreTrainedModel, settings: PassSettings) -> torch.Tensor:
    with pass_sketcher(model, settings) as sketch:
        return sketch(PAIRS).sketches_BD


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """The path of a tiny model. Weights of a layer are multiples of 64, as blocks of 4 bits want them."""

    def save(family: str = "llama", **changes: Any) -> str:
        sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16} if family == "llama" else {}
        config = build_tiny_model(family).config
        for name, value in (sizes | changes).items():
            setattr(config, name, value)
        model = build_tiny_model(family) if not sizes else LlamaForCausalLM(config)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn(weight.shape, generator=generator)
                weight.copy_(noise * 0.2 if weight.ndim > 1 else 1 + noise * 0.1)
        model.save_pretrained(tmp_path / family)
        return str(tmp_path / family)

    return save


@pytest.fixture
def adapter_of(tmp_path: Path) -> Callable[[str], str]:
    def save(name: str) -> str:
        import peft

        settings = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=3, init_lora_weights=False)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            peft.get_peft_model(load_model(name, dtype="float32"), settings).save_pretrained(tmp_path / "adapter")
        return str(tmp_path / "adapter")

    return save


# A new adapter


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3-moe"])
def test_of_a_new_adapter_b_is_the_space(saved, family):
    model = load_model(saved(family), dtype="float32", lora=NewLora(r=4))
    space = Space.of(model)
    assert {name for layer in space.layers for name in (".lora_A.", ".lora_B.") if name in layer.name} == {".lora_B."}
    assert all(layer.num_inputs % 4 == 0 for layer in space.layers)
    routes = [GENERAL] if family == "qwen3-moe" else [GENERAL, PACKED]  # PEFT adapts its experts by parameters
    for settings in routes:
        for found, triple in zip(sketches(model, settings), PAIRS, strict=True):
            assert distance(found, by_definition(model, triple)) < PRECISE


def test_the_gradient_of_b_is_the_layers_own_times_a(saved):
    """(alpha / r) G A^T, and the gradient of A is zero."""
    name, triple = saved(), PAIRS[0]
    plain, model = load_model(name, dtype="float32"), load_model(name, dtype="float32", lora=NewLora(r=4, alpha=6.0))
    for layer in ("model.layers.0.self_attn.k_proj", "model.layers.2.mlp.down_proj"):
        (whole_OI,) = gradients_of(plain, [plain.get_submodule(layer).weight], triple, "sum")
        weights = [model.get_submodule(f"{layer}.lora_{side}.new").weight for side in "AB"]
        of_a, of_b = gradients_of(model, weights, triple, "sum")
        assert not of_a.any()
        assert distance(of_b, 6.0 / 4 * whole_OI @ weights[0].T) < PRECISE


def test_halves_of_the_ranks_have_halves_of_the_buckets(saved):
    model = load_model(saved(), dtype="float32", lora=NewLora(r=5))
    for layer in Space.of(model).layers:
        matrix_Rp = layer.right(SIZE, 0, torch.device("cpu")).matrix()
        assert not matrix_Rp[:2, SIZE // 2 :].any()
        assert not matrix_Rp[2:, : SIZE // 2].any()
        assert torch.equal(matrix_Rp.abs().sum(1), torch.ones(5))
    layer = Space.of(load_model(saved(), dtype="float32", lora=NewLora(r=1))).layers[0]
    assert layer.right(SIZE, 0, torch.device("cpu")).matrix().abs().sum() == 1


# Quantised weights


def packed_and_general_are_right(model: PreTrainedModel) -> None:
    assert Space.of(model).layers
    for settings in (GENERAL, PACKED):
        for found, triple in zip(sketches(model, settings), PAIRS, strict=True):
            assert distance(found, by_definition(model, triple)) < PRECISE
    noted: list[str] = []
    assert check_whole(model, PAIRS, check_start(model, PAIRS, AUTO, noted.append), noted.append).route == "auto"
    assert noted == []


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("stored", [False, True], ids=["on loading", "stored"])
def test_four_bits(saved, tmp_path, family, stored):
    needs("bitsandbytes")
    name = saved(family)
    model = load_model(name, dtype="float32", quantise="4bit", lora=NewLora(r=4))
    if stored:
        load_model(name, dtype="float32", quantise="4bit").save_pretrained(tmp_path / "quantised")
        expected = sketches(model, GENERAL)
        model = load_model(str(tmp_path / "quantised"), dtype="float32", lora=NewLora(r=4))
        assert torch.equal(sketches(model, GENERAL), expected)
    layers = [module for module in model.modules() if type(module).__module__.startswith("bitsandbytes")]
    assert len(layers) == len(Space.of(model).layers)
    assert {(layer.weight.dtype, layer.compute_dtype) for layer in layers} == {(torch.uint8, torch.float32)}
    assert {layer.weight.quant_state.quant_type for layer in layers} == {"nf4"}
    assert all(layer.weight.quant_state.nested for layer in layers)
    packed_and_general_are_right(model)


def test_four_bits_with_an_adapter(saved, adapter_of):
    needs("bitsandbytes")
    name = saved()
    packed_and_general_are_right(load_model(name, dtype="float32", quantise="4bit", adapter=adapter_of(name)))


def test_four_bits_are_not_packed_for_inference(saved):
    """bitsandbytes would do so in the first pass without gradients, where the processor multiplies bfloat16."""
    needs("bitsandbytes")
    model = load_model(saved(), dtype="float32", quantise="4bit", lora=NewLora(r=4))
    before = by_definition(model, PAIRS[0])
    one, _ = own_logps(model, PAIRS[0][0], PAIRS[0][1])
    assert torch.equal(by_definition(model, PAIRS[0]), before)
    assert torch.equal(own_logps(model, PAIRS[0][0], PAIRS[0][1])[0], one)


@pytest.mark.parametrize("adapted", [False, True], ids=["new", "adapter"])
def test_eight_bits(saved, adapter_of, adapted):
    """LLM.int8 rounds by what else is in a call, so that a pack is another computation: the general pass is right."""
    needs("bitsandbytes")
    name = saved()
    options: Any = {"adapter": adapter_of(name)} if adapted else {"lora": NewLora(r=4)}
    options["attn_implementation"] = "eager"  # as autograd gets it: another last bit may round to another of 8
    model = load_model(name, dtype="float32", quantise="8bit", **options)
    for found, triple in zip(sketches(model, GENERAL), PAIRS, strict=True):
        assert distance(found, by_definition(model, triple)) < PRECISE
    noted: list[str] = []
    assert check_whole(model, PAIRS, check_start(model, PAIRS, AUTO, noted.append), noted.append).route == "general"
    assert "takes the general pass" in noted[0]


def test_eight_bits_do_not_read_ahead(saved):
    """An outlier of the last token alone has its column rounded differently in all tokens."""
    needs("bitsandbytes")
    model = load_model(saved(), dtype="float32", quantise="8bit", lora=NewLora(r=4))
    prompt, response, _ = PAIRS[0]
    embeddings = model.get_input_embeddings().weight
    embeddings[int(response[-1])] = 0
    embeddings[int(response[-1]), 7] = 60.0
    before = [layer.state.threshold for layer in model.modules() if type(layer).__module__.startswith("bitsandbytes")]
    assert set(before) == {6.0}
    changed = np.concatenate([response[:-1], prompt[:1]])
    one, other = (own_logps(model, prompt, each)[0][:-1] for each in (response, changed))
    assert (one - other).abs().max() > 1e-3
    assert not reads_ahead(model, prompt, response)
    assert {layer.state.threshold for layer in model.modules() if hasattr(layer, "state")} == {6.0}


def test_torchao(saved, adapter_of, tmp_path):
    needs("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    name = saved()
    how = TorchAoConfig(Int8WeightOnlyConfig())
    quantised = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, quantization_config=how)
    quantised.save_pretrained(tmp_path / "quantised")
    for options in ({"adapter": adapter_of(name)}, {"lora": NewLora(r=4)}):
        model = load_model(str(tmp_path / "quantised"), dtype="float32", **options)
        assert "Int8Tensor" in {type(weight).__name__ for weight in model.parameters()}
        packed_and_general_are_right(model)


@pytest.mark.filterwarnings("ignore")  # of the package's own files and threads
@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_gptqmodel(tmp_path, method):
    needs("gptqmodel")
    name = save_random_codes(tmp_path / method, method)
    model = load_model(name, dtype="float32", lora=NewLora(r=4, target_modules=["q_proj", "up_proj", "down_proj"]))
    assert len(Space.of(model).layers) == 3 * 3
    assert not [name for name, _ in model.named_parameters() if name.endswith("gate_proj.weight")]
    packed_and_general_are_right(model)


def save_random_codes(path: Path, method: str, group: int = 32) -> str:
    """A checkpoint as GPTQ or AWQ stores it: eight random codes of 4 bits in an int32, zero points and scales."""
    config = LlamaConfig(**{**SHAPE, "hidden_size": 128, "intermediate_size": 256, "head_dim": 32})
    tensors, generator = {}, torch.Generator().manual_seed(0)
    for name, weight in LlamaForCausalLM(config).state_dict().items():
        noise = torch.randn(weight.shape, generator=generator)
        if not name.endswith("_proj.weight"):
            tensors[name] = noise * 0.2 if weight.ndim > 1 else 1 + noise * 0.1
            continue
        (num_outputs, num_inputs), prefix = weight.shape, name.removesuffix("weight")
        by_inputs = (num_inputs // 8, num_outputs) if method == "gptq" else (num_inputs, num_outputs // 8)
        tensors[f"{prefix}qweight"] = torch.randint(-(2**31), 2**31, by_inputs, generator=generator).int()
        zeros = torch.full((num_inputs // group, num_outputs // 8), 0x77777777, dtype=torch.int32)
        tensors[f"{prefix}qzeros"] = zeros
        scales = 0.02 + 0.02 * torch.rand(num_inputs // group, num_outputs, generator=generator)
        tensors[f"{prefix}scales"] = scales.half()
        if method == "gptq":
            tensors[f"{prefix}g_idx"] = torch.arange(num_inputs, dtype=torch.int32) // group
    path.mkdir()
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    how: dict[str, Any] = {"quant_method": method, "bits": 4, "group_size": group}
    how |= {"desc_act": False, "sym": True} if method == "gptq" else {"zero_point": True, "version": "gemm"}
    content = config.to_dict() | {"architectures": ["LlamaForCausalLM"], "quantization_config": how}
    (path / "config.json").write_text(json.dumps(content))
    return str(path)
