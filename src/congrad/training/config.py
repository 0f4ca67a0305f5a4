"""TRL's `DPOConfig` from the user's own dictionary: every name TRL's, every value as given.

What the user leaves out has TRL's default, but for the few names in `defaults`. Mistakes have been refused
before (`congrad.settings.train`).
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import datasets
from transformers.utils import is_torch_bf16_gpu_available

from congrad.errors import UserError
from congrad.models.device import pick_device
from congrad.models.load import quiet as quiet_transformers

# TRL 1.16 sets and calls what transformers 5.23 renamed, and PEFT 0.21 reads it.
DEPRECATED = "`(is_)?gradient_checkpointing"
REFUSALS = (ValueError, TypeError, NotImplementedError, ImportError)


def defaults(*, max_length: int, cpu: bool, lora: bool, evaluates: bool) -> dict[str, Any]:
    """What stands where the user gave nothing and TRL's own default would not do."""
    table: dict[str, Any] = {
        "max_length": max_length,  # the filter's: it scores what is trained
        "report_to": "none",  # a tracker is the user's choice
        "logging_steps": 1,  # log.jsonl has every step
        "disable_tqdm": True,  # the listener shows progress instead
        "save_strategy": "steps",
        "save_steps": 0.1,  # of all steps: so much is repeated, at most, after a kill
        "save_total_limit": 1,
    }
    if cpu or not is_torch_bf16_gpu_available():
        table["bf16"] = False  # TRL's default is autocast to bfloat16: slower and coarser on a CPU, refused by old GPUs
    if cpu:
        table["dataloader_pin_memory"] = False  # there is no device to copy to
    if lora:
        table["learning_rate"] = 1e-5  # TRL's 1e-6 is for full weights; its guide advises this for adapters
    if evaluates:
        table["eval_strategy"] = "epoch"
    return table


def is_cpu(device: str) -> bool:
    """Whether `model.device` means the CPU for the trainer, which finds its own device otherwise."""
    if ":" in device:
        problem = f"training takes auto, cpu or {device.partition(':')[0]}"
        raise UserError(problem, "choose with CUDA_VISIBLE_DEVICES", key="model.device", value=device)
    return pick_device(device).type == "cpu"


def make_dpo_config(values: Mapping[str, Any], output_dir: str, table: Mapping[str, Any], *, cpu: bool) -> Any:
    """TRL's `DPOConfig`. It also starts the process group where there are several processes."""
    from trl import DPOConfig

    given = {name: value for name, value in values.items() if name != "model_init_kwargs"}
    if {"bf16", "fp16"} & set(given):  # one decides about the other
        table = {name: value for name, value in table.items() if name != "bf16"}
    try:
        with quiet():
            return DPOConfig(**{**table, **given}, output_dir=output_dir, use_cpu=cpu)
    except REFUSALS as error:
        raise refused(error) from error


def refused(error: Exception) -> UserError:
    """TRL's complaint about a configuration, in one line."""
    return UserError(f"is refused by TRL ({' '.join(str(error).split())[:300]})", "fix the section", key="train")


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that only TRL and PEFT can fix, and without the bars of each map over the rows."""
    bars = not datasets.are_progress_bars_disabled()
    trl_logger, once = logging.getLogger("trl.trainer.dpo_trainer"), MergedPromptsOnce()
    trl_logger.addFilter(once)
    with warnings.catch_warnings(), quiet_transformers():
        warnings.filterwarnings("ignore", DEPRECATED, FutureWarning)
        warnings.filterwarnings("ignore", "Cannot (dis|en)able progress bars", UserWarning)  # the user's variable rules
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            trl_logger.removeFilter(once)
            if bars:
                datasets.enable_progress_bars()


class MergedPromptsOnce(logging.Filter):
    """TRL 1.16 says once per last character of a prompt, not once, that tokens merge across a prompt's end."""

    said = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "The tokenized prompt is not a prefix" not in str(record.msg):
            return True
        before, self.said = self.said, True
        return not before
