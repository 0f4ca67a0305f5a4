"""LoRA adapters: PEFT's configuration of one, and a new one whose training would begin now.

A layer with a new adapter computes W x + (alpha / r) B A x, with B zero, so that the model computes what it computed.
The gradient of A is zero; that of B is (alpha / r) G A^T, where G is the layer's. A is distributed as PEFT draws it,
uniform within 1 / sqrt(inputs), but from the counter-based generator by the layer's name: the same on every machine.
"""

import warnings
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.models.philox import stream
from congrad.settings.model import NewLora
from congrad.settings.training import Lora
from congrad.words import one_line

NEW = "new"
"""PEFT's name of an adapter that was made here; one that is loaded is called default."""
TWO_24 = 2**24


def peft_config(lora: NewLora | Lora, **options: Any) -> Any:
    """PEFT's `LoraConfig` with what both kinds of new adapters have in common."""
    from peft import LoraConfig

    targets = lora.target_modules
    options |= {"target_modules": targets if isinstance(targets, str) else list(targets)}
    return LoraConfig(r=lora.r, lora_alpha=lora.alpha, task_type="CAUSAL_LM", **options)


def with_new_lora(model: PreTrainedModel, lora: NewLora) -> PreTrainedModel:
    """The same model with a new adapter next to its linear layers; the global generator is left alone."""
    try:
        from peft import get_peft_model
    except ImportError as error:
        raise UserError("needs PEFT", "pip install 'congrad[lora]'", key="model.lora") from error
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PEFT sets right by itself, and what it reads that is deprecated
            adapted = get_peft_model(model, peft_config(lora), adapter_name=NEW).get_base_model()
    except (ValueError, TypeError) as error:
        key, value = "model.lora.target_modules", lora.target_modules
        raise UserError(f"is refused by PEFT ({one_line(str(error), 200)})", key=key, value=value) from error
    for name, module in adapted.named_modules():
        if name.endswith(f".lora_A.{NEW}"):
            draw(module.weight, f"{lora.seed}/A/{name.removesuffix(f'.lora_A.{NEW}')}")
    found: PreTrainedModel = adapted
    return found


@torch.no_grad()
def draw(weight_RI: torch.Tensor, key: str) -> None:
    """Fills A. Every step is exact or rounded as IEEE 754 says, on any machine."""
    words_N = stream(key).random_raw(weight_RI.numel()) >> np.uint64(40)
    values_N = (words_N.astype(np.float64) * 2 / TWO_24 - 1) / np.sqrt(weight_RI.shape[1])
    weight_RI.copy_(torch.from_numpy(values_N.astype(np.float32)).view(weight_RI.shape))
