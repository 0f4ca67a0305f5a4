"""Quantised weights: which of them are computed with here, as a checkpoint stores them or as loading makes them.

They have no gradient, so that the gradient space needs a LoRA adapter beside them; the pass goes through them all the
same. What is in `TESTED` gives the gradients of PyTorch's autograd to both passes. The others are refused by name.
"""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from congrad.errors import UserError
from congrad.settings.model import Bits
from congrad.words import quote

TESTED = {"bitsandbytes": "bitsandbytes", "gptq": "gptqmodel", "awq": "gptqmodel", "torchao": "torchao"}
"""Methods of `quantization_config`, and what is to be installed for each."""
DEQUANTISED = ("fp8", "mxfp4")  # which transformers turns into plain weights while it loads them
DEVICES = ("cpu", "cuda", "xpu")  # that bitsandbytes computes on
BITS: dict[Bits, float] = {"4bit": 4.127, "8bit": 8.0}  # of a weight; with 4 bits the scales of its block as well


def stored(config: Any) -> dict[str, Any]:
    """What a configuration says of its quantised weights; empty where they are plain."""
    found = getattr(config, "quantization_config", None) or {}
    content: dict[str, Any] = dict(found) if isinstance(found, dict) else found.to_dict()
    if content and "quant_method" not in content and (content.get("load_in_4bit") or content.get("load_in_8bit")):
        content["quant_method"] = "bitsandbytes"  # as early versions stored it
    return content


def check_quantised(name: str, config: Any, quantise: Bits | None, device: torch.device) -> None:
    """Refuses weights that are quantised in a way that is not tested, or cannot be here, before they are read."""
    content = stored(config)
    method = str(content.get("quant_method")) if content else None
    if method in DEQUANTISED:
        config.quantization_config = content | {"dequantize": True}
        method = None
    if method is not None and method not in TESTED:
        *others, last = TESTED
        fix = f"name the checkpoint that it was made from, or one that {', '.join(others)} or {last} made"
        raise UserError(f"model {name} is quantised with {quote(method)}, which is not supported", fix)
    if quantise is not None and content:
        problem = f"model {name} is quantised already, with {content['quant_method']}"
        raise UserError(problem, "leave it out", key="model.quantise", value=quantise)
    needed = "bitsandbytes" if quantise is not None else None if method is None else TESTED[method]
    if needed is None:
        return
    for package in (needed, "accelerate"):
        if importlib.util.find_spec(package) is None:
            fix = f"pip install 'congrad[quantise]'{'' if needed == 'bitsandbytes' else f' {needed}'}"
            raise UserError(f"model {name}: its quantised weights need {package}", fix)
    if needed == "bitsandbytes" and device.type not in DEVICES:
        problem = f"model {name}: bitsandbytes does not compute on {device.type}"
        raise UserError(problem, f"set model.device to one of {', '.join(DEVICES)}, or leave model.quantise out")
    logging.getLogger(needed).setLevel(logging.ERROR)  # it says at every product that it rounds, and what it lacks


def quantising(quantise: Bits | None, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is given to quantise while it loads, as QLoRA and LLM.int8 do."""
    if quantise is None:
        return {}
    four_bits = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": dtype,
    }
    return {"quantization_config": BitsAndBytesConfig(**four_bits if quantise == "4bit" else {"load_in_8bit": True})}


def settle(model: PreTrainedModel) -> None:
    """Makes layers of 4 bits compute in the model's dtype, in every pass from the same weights.

    bitsandbytes would pack them for inference in the first pass without gradients, on a CPU with bfloat16 instructions:
    with coarser scales, and without a gradient of the input ever after.
    """
    for layer in layers_of(model, "Linear4bit"):
        layer.compute_dtype, layer.compute_type_is_set = model.dtype, True
        layer.support_avx512bf16_for_cpu = False


def layers_of(model: PreTrainedModel, kind: str) -> list[Any]:
    """The layers of one of bitsandbytes' classes; PEFT's around them have the same names."""
    return [m for m in model.modules() if type(m).__name__ == kind and type(m).__module__.startswith("bitsandbytes.")]


def is_quantised(model: PreTrainedModel) -> bool:
    """Whether any weight is."""
    return bool(getattr(model, "is_quantized", False)) or not all(w.is_floating_point() for w in model.parameters())


def num_weights(parameter: torch.nn.Parameter) -> int:
    """How many weights a parameter holds; two in a byte where they have 4 bits."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())


def as_float32(skeleton: PreTrainedModel, quantise: Bits | None) -> int:
    """The number of float32 values that take the memory of a model's weights: the layers' own, where they are plain."""
    content = stored(skeleton.config)
    if (quantise is None and not content) or content.get("quant_method") in DEQUANTISED:
        return int(skeleton.num_parameters())
    has_4_bits = content.get("load_in_4bit") or content.get("bits") == 4
    bits = BITS[quantise or ("4bit" if has_4_bits else "8bit")]
    head = skeleton.get_output_embeddings()
    layers = [each for each in skeleton.modules() if isinstance(each, torch.nn.Linear | Conv1D) and each is not head]
    quantised = sum(each.weight.numel() for each in layers)
    return int(skeleton.num_parameters() - quantised * (1 - bits / 32))


@contextmanager
def token_by_token(model: PreTrainedModel) -> Iterator[None]:
    """While open, LLM.int8 rounds every token for itself.

    Otherwise it takes the columns in which any token has an outlier in half precision, so that the last token decides
    how the first is rounded.
    """
    states = [layer.state for layer in layers_of(model, "Linear8bitLt")]
    before = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, before, strict=True):
            state.threshold = threshold
