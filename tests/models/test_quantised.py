"""Quantised weights: what is refused before they are read, what they cost, and which model they are."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.models.conftest import TINY
from transformers import LlamaConfig, LlamaForCausalLM

from congrad.errors import UserError
from congrad.gradients.space import gradient_space
from congrad.models import quantised
from congrad.models.identity import fingerprint, identity
from congrad.models.load import load_model, load_skeleton
from congrad.models.quantised import as_float32, check_quantised, num_weights
from congrad.settings.model import Model, NewLora


def needs_bitsandbytes() -> None:
    for name in ("bitsandbytes", "accelerate"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def claim(checkpoint: str, **how: Any) -> str:
    """The same checkpoint, which says that its weights are quantised."""
    path = Path(checkpoint) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": how}))
    return checkpoint


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(name, dtype="float32", device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", ["quanto", "compressed-tensors", "hqq", "aqlm", "none of these", "", 7])
def test_a_method_that_is_not_tested_is_refused_by_name(checkpoint: str, method: Any) -> None:
    said = refusal(claim(checkpoint, quant_method=method), lora=NewLora())
    assert said == (
        f"model {checkpoint} is quantised with '{method}', which is not supported; "
        "name the checkpoint that it was made from, or one that bitsandbytes, gptq, awq or torchao made"
    )


def test_an_odd_configuration_is_refused(checkpoint: str) -> None:
    path = Path(checkpoint) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": ["torchao"]}))
    assert refusal(checkpoint).startswith(f"model {checkpoint} cannot be loaded: ")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_skeleton(Model(checkpoint))


def test_weights_of_8_bits_in_floating_point_become_plain(tmp_path: Path) -> None:
    """As transformers does on a CPU, and does on a GPU when it is told so: they then have gradients."""
    config = LlamaConfig(**TINY.to_dict() | {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1})
    tensors = LlamaForCausalLM(config).state_dict()
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        tensors[f"{name}_scale_inv"] = torch.full((1, 1), 1 / 16)
        tensors[name] = (tensors[name] * 16).to(torch.float8_e4m3fn)
    del tensors["lm_head.weight"]  # tied
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    how = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    content = config.to_dict() | {"architectures": ["LlamaForCausalLM"], "quantization_config": how}
    (tmp_path / "config.json").write_text(json.dumps(content))
    model = load_model(str(tmp_path), dtype="float32", device="cpu")
    space = gradient_space(model)
    assert len(space) == 7
    for layer in space:
        assert torch.equal(layer.module.weight, tensors[f"{layer.name}.weight"].float() / 16)


@pytest.mark.parametrize(
    ("how", "package", "install"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", "'congrad[quantise]'"),
        ({"load_in_8bit": True}, "bitsandbytes", "'congrad[quantise]'"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel", "'congrad[quantise]' gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel", "'congrad[quantise]' gptqmodel"),
        ({"quant_method": "torchao"}, "torchao", "'congrad[quantise]' torchao"),
    ],
)
def test_a_package_that_is_missing_is_named(
    checkpoint: str, how: dict[str, Any], package: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None if name == package else True)
    said = refusal(claim(checkpoint, **how))
    assert said == f"model {checkpoint}: its quantised weights need {package}; pip install {install}"


def test_to_quantise_needs_its_package(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None)
    assert refusal(checkpoint, quantise="4bit").endswith("need bitsandbytes; pip install 'congrad[quantise]'")


def test_what_is_quantised_is_not_quantised_again(checkpoint: str) -> None:
    said = refusal(claim(checkpoint, quant_method="gptq", bits=4), quantise="4bit")
    assert said == f"model.quantise 4bit: model {checkpoint} is quantised already, with gptq; leave it out"


def test_a_device_that_bitsandbytes_does_not_know(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: True)
    config = load_skeleton(Model(checkpoint)).config
    with pytest.raises(UserError, match="bitsandbytes does not compute on mps; set"):
        check_quantised(checkpoint, config, "4bit", torch.device("mps"))


def test_memory_of_a_skeleton(checkpoint: str) -> None:
    skeleton = load_skeleton(Model(checkpoint))
    whole = as_float32(skeleton, None)
    layers = 2 * (16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 24)  # of two blocks: q, o; k, v; gate, up, down
    assert whole == skeleton.num_parameters()
    assert as_float32(skeleton, "8bit") == whole - layers * 3 // 4
    assert as_float32(skeleton, "4bit") == pytest.approx(whole - layers * 7 / 8, abs=layers / 200)
    claim(checkpoint, quant_method="gptq", bits=4)
    assert as_float32(load_skeleton(Model(checkpoint)), None) == as_float32(skeleton, "4bit")
    claim(checkpoint, quant_method="bitsandbytes", load_in_8bit=True)
    assert as_float32(load_skeleton(Model(checkpoint)), None) == as_float32(skeleton, "8bit")


def test_what_loading_makes_of_the_weights_is_part_of_which_model_it_is(checkpoint: str) -> None:
    models = [
        Model(checkpoint),
        Model(checkpoint, lora=NewLora()),
        Model(checkpoint, lora=NewLora(seed=1)),
        Model(checkpoint, lora=NewLora(target_modules=["q_proj"])),
        Model(checkpoint, lora=NewLora(), quantise="4bit"),
        Model(checkpoint, lora=NewLora(), quantise="8bit"),
    ]
    assert len({identity(model) for model in models}) == len(models)
    assert identity(models[4].other(checkpoint)) == identity(Model(checkpoint, quantise="4bit"))


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantised_on_loading(checkpoint: str, bits: Any) -> None:
    """Without an adapter it has log-probabilities, as a reference needs, and no gradient space."""
    needs_bitsandbytes()
    plain = load_model(checkpoint, dtype="float32")
    model = load_model(checkpoint, dtype="float32", device="cpu", quantise=bits)
    assert fingerprint(model) != fingerprint(plain)
    assert fingerprint(model) == fingerprint(load_model(checkpoint, dtype="float32", device="cpu", quantise=bits))
    assert (model.dtype, model.device.type, model.training) == (torch.float32, "cpu", False)
    ids = torch.arange(6)[None]
    difference = (model(input_ids=ids).logits - plain(input_ids=ids).logits).norm() / plain(input_ids=ids).logits.norm()
    assert 0 < difference < 0.3
    assert sum(map(num_weights, model.parameters())) == plain.num_parameters()
    with pytest.raises(UserError, match="is quantised, and such weights have no gradient; set model"):
        gradient_space(model)


def test_a_fingerprint_of_weights_that_are_made_of_several(checkpoint: str) -> None:
    if importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    plain, model = (load_model(checkpoint, dtype="float32", device="cpu") for _ in range(2))
    quantize_(model, Int8WeightOnlyConfig())
    before = fingerprint(model)
    assert before != fingerprint(plain)
    weight = model.model.layers[0].mlp.up_proj.weight
    weight.scale[0] += 1
    assert fingerprint(model) != before


def test_the_package_is_not_imported_for_plain_weights(checkpoint: str) -> None:
    if "bitsandbytes" in sys.modules:
        pytest.skip("another test has imported it")
    load_model(checkpoint, dtype="float32")
    assert "bitsandbytes" not in sys.modules
