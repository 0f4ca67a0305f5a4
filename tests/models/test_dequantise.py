"""Weights out of GGUF: what llama.cpp's converter changed is undone."""

from pathlib import Path

import pytest
import torch

gguf = pytest.importorskip("gguf")

from safetensors.torch import load_file  # noqa: E402

from congrad.models.dequantise import hugging_face_name, rotary_halves  # noqa: E402
from congrad.models.packaged import PACKAGES, locate, resolve  # noqa: E402


def test_rotary_halves_undoes_the_interleaving() -> None:
    num_heads, head_dim, num_inputs = 3, 4, 2
    weight = torch.arange(num_heads * head_dim * num_inputs).view(-1, num_inputs)
    interleaved = (
        weight.view(num_heads, 2, head_dim // 2, num_inputs).transpose(1, 2).reshape(weight.shape)
    )  # llama.cpp
    assert not torch.equal(interleaved, weight)
    assert torch.equal(rotary_halves(interleaved, num_heads), weight)


def test_one_gguf_name_means_two_things() -> None:
    assert hugging_face_name("blk.7.ffn_norm.weight", "llama") == "model.layers.7.post_attention_layernorm.weight"
    assert hugging_face_name("blk.7.ffn_norm.weight", "gemma3") == "model.layers.7.pre_feedforward_layernorm.weight"
    assert hugging_face_name("output_norm.weight", "gemma3") == "model.norm.weight"


@pytest.mark.slow
def test_weights_equal_those_that_transformers_dequantises(packaged_name: str, tmp_path: Path) -> None:
    """Bit for bit in bfloat16; every weight of the model is there."""
    pytest.importorskip("accelerate")  # transformers asks for it
    transformers = pytest.importorskip("transformers")
    file = locate(PACKAGES[packaged_name], tmp_path)
    expected = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16
    ).state_dict()
    del expected["lm_head.weight"]  # tied
    weights = load_file(Path(resolve(packaged_name)) / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in weights)
