"""A tiny checkpoint with an adapter, and the packaged models, where their packages are installed."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from congrad.models.load import load_model
from congrad.models.packaged import PACKAGES

TINY = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    tie_word_embeddings=True,
)


@pytest.fixture(params=sorted(PACKAGES))
def packaged_name(request: pytest.FixtureRequest) -> str:
    """The short name of a model; for one model alone parametrise it with `indirect=True`."""
    for module in (PACKAGES[request.param].module, "gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return str(request.param)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "llama"
    torch.manual_seed(0)
    LlamaForCausalLM(TINY).to(torch.bfloat16).save_pretrained(path)
    return str(path)


@pytest.fixture
def adapter(tmp_path: Path, checkpoint: str) -> str:
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=2, lora_alpha=4, init_lora_weights=False)
    path = tmp_path / "adapter"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT cannot look up the vocabulary of a base model without a hub
        peft.get_peft_model(load_model(checkpoint), settings).save_pretrained(path)
    return str(path)
