"""The weights of a round: M_t loaded as a plain model, and M_{t+1} made of it and saved as one."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from congrad.errors import UserError
from congrad.files import cannot_write
from congrad.models.load import LOADING_ERRORS, check_adapter, explained, load, parse_dtype
from congrad.models.lora import peft_config
from congrad.settings.model import Model
from congrad.settings.training import Lora
from congrad.training.config import quiet

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def load_plain(model: Model, *, attn_implementation: str | None = None) -> PreTrainedModel:
    """The model as it is stored, on the CPU, frozen; its adapter, if it has one, is merged in float32."""
    cpu = torch.device("cpu")
    loaded = load(replace(model, adapter=None), device=cpu, attn_implementation=attn_implementation)
    if model.adapter is not None:
        stored = [parameter.dtype for parameter in loaded.parameters()]
        loaded = merge(loaded, model.adapter)
        for parameter, dtype in zip(loaded.parameters(), stored, strict=True):
            parameter.data = parameter.data.to(dtype)
    loaded.config.get_text_config().use_cache = True  # switched off for the filter's passes; this one is saved again
    return loaded


def cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The parameters in another dtype. Not the buffers: bfloat16 would blur the positions' frequencies."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def trainable(model: Model, dtype: str | None, attn_implementation: str | None, *, lora: bool) -> PreTrainedModel:
    """M_t as it is trained: in float32 with all weights, as stored under an adapter; `dtype` has the last word."""
    loaded = load_plain(model, attn_implementation=attn_implementation)
    if dtype is not None:
        chosen = parse_dtype(dtype)
        loaded = cast(loaded, chosen) if isinstance(chosen, torch.dtype) else loaded
    elif not lora:
        loaded = cast(loaded, torch.float32)
    return loaded.requires_grad_(True)


def lora_config(lora: Lora) -> Any:
    """PEFT's configuration of the round's adapter."""
    try:
        return peft_config(lora, lora_dropout=lora.dropout, use_rslora=lora.rslora)
    except ImportError as error:
        raise UserError("needs PEFT", "pip install 'congrad[loop]'", key="rounds.lora") from error


def merge(model: PreTrainedModel, adapter: str | Path) -> PreTrainedModel:
    """model + adapter as one plain model, in float32; the model given is used up."""
    check_adapter(str(adapter))
    try:
        from peft import PeftModel

        with quiet():
            adapted = PeftModel.from_pretrained(cast(model, torch.float32), str(adapter))
            merged: PreTrainedModel = adapted.merge_and_unload()
    except ImportError as error:
        raise UserError("an adapter needs PEFT: pip install 'congrad[lora]'") from error
    except LOADING_ERRORS as error:
        raise explained("adapter", str(adapter), error) from error
    return merged


def round_to(trained: PreTrainedModel, previous: PreTrainedModel) -> float:
    """Casts M_{t+1} to the dtypes of M_t, in place.

    Returns:
        Which part of the update that loses, from 0 to 1 (the saved model is M_t: rounding never goes past its value):
        |cast(M_{t+1}) - M_{t+1}| / |M_{t+1} - M_t|, Frobenius norms over all weights. Sums in float64.
    """
    lost = update = 0.0
    for after, before in zip(trained.parameters(), previous.parameters(), strict=True):
        stored = after.data.to(before.dtype)
        lost += (stored.float() - after.data.float()).double().square().sum().item()
        update += (after.data.float() - before.data.float()).double().square().sum().item()
        after.data = stored
    return math.sqrt(lost / update) if update else 0.0


def save_next(model: Model, trained: Path, tokenizer: PreTrainedTokenizerBase, output: Path, *, lora: bool) -> float:
    """Writes M_{t+1} to `output / "model"`, and the adapter to `output / "adapter"`; each whole or absent.

    Args:
        model: M_t.
        trained: what the trainer saved: all weights, or an adapter of M_t.

    Returns:
        As `round_to`.
    """
    previous = load_plain(model)
    if lora:
        after = merge(load_plain(model), trained)
    else:
        after = load_plain(replace(model.trained(str(trained)), dtype="float32"))
    rounding = round_to(after, previous)
    try:
        with whole_or_absent(output / "model") as directory:
            after.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
        if lora:
            with whole_or_absent(output / "adapter") as directory:
                directory.mkdir()
                for name in ADAPTER_FILES:
                    shutil.copyfile(trained / name, directory / name)
    except OSError as error:
        raise cannot_write(output, error) from error
    return rounding


@contextmanager
def whole_or_absent(final: Path) -> Iterator[Path]:
    """A directory to fill, which then takes the place of what an unfinished stage may have left."""
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
