"""TRL's `DPOConfig` from the user's own dictionary: every name TRL's, every value as given.

What the user leaves out has TRL's default, but for the few names in `defaults`; what only the stage can know is
refused by name.
"""

import dataclasses
import difflib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import datasets
from transformers.utils import is_torch_bf16_gpu_available

from congrad.errors import UserError
from congrad.models.device import pick_device
from congrad.models.load import quiet as quiet_transformers
from congrad.training.settings import Rounds

LOADED_HERE = "the section `model` says how the model is loaded"
NOTHING_LEAVES = "nothing is uploaded; push the model yourself when the run is done"
OWNED = {
    "output_dir": "the stage has a directory of its own; say where with --output",
    "resume_from_checkpoint": "the stage goes on from its last checkpoint by itself",
    "save_only_model": "without the optimiser's state a stopped stage would not go on to the same end",
    "do_train": "the stage trains, whatever it says",
    "do_eval": "the stage evaluates when it is given pairs to evaluate on",
    "do_predict": "the stage predicts nothing",
    "use_cpu": "set model.device to cpu",
    "trust_remote_code": LOADED_HERE,
    "push_to_hub": NOTHING_LEAVES,
    "hub_model_id": NOTHING_LEAVES,
    "hub_token": "no key belongs in a file, and " + NOTHING_LEAVES,
    "hub_strategy": NOTHING_LEAVES,
}
# What may stand in `model_init_kwargs`; the rest is the section `model`'s.
INIT_KWARGS = ("attn_implementation", "dtype")

MARGIN_LOSSES = ("sigmoid", "hinge", "robust", "exo_pair", "discopop")  # functions of the margin m alone
OTHER_LOSSES = ("ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down")
LOSS_TYPES = (*MARGIN_LOSSES, *OTHER_LOSSES, "sigmoid_norm", "sft")

# TRL 1.16 sets and calls what transformers 5.23 renamed, and PEFT 0.21 reads it.
DEPRECATED = "`(is_)?gradient_checkpointing"
REFUSALS = (ValueError, TypeError, NotImplementedError, ImportError)


def defaults(*, max_length: int, cpu: bool, lora: bool, evaluates: bool) -> dict[str, Any]:
    """What stands where the user gave nothing and TRL's own default would not do."""
    table: dict[str, Any] = {
        "max_length": max_length,  # the filter's: it scores what is trained
        "report_to": "none",  # a tracker is the user's choice
        "logging_steps": 1,  # log.jsonl has every step
        "disable_tqdm": True,  # the listener is told instead
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


def check_dpo_config(values: Mapping[str, Any], rounds: Rounds) -> None:
    """Finds, before any model is loaded, what cannot be meant.

    Raises:
        UserError: a name that `DPOConfig` does not have (with the nearest), one that the stage owns (with the reason),
            a loss that does not go with the length penalty, or dropout that TRL would switch off.
    """
    from trl import DPOConfig

    names = [field.name for field in dataclasses.fields(DPOConfig) if field.init]
    for name in values:
        if name in OWNED:
            raise UserError(f"train.{name} is not yours to set: {OWNED[name]}")
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            mend = f"did you mean {near[0]}?" if near else "see TRL's documentation for its names"
            raise UserError(f"train.{name} is no field of TRL's DPOConfig; {mend}")
    init_kwargs = values.get("model_init_kwargs") or {}
    if not isinstance(init_kwargs, Mapping) or (others := sorted(set(init_kwargs) - set(INIT_KWARGS))):
        what = others[0] if isinstance(init_kwargs, Mapping) else repr(init_kwargs)
        raise UserError(f"train.model_init_kwargs takes {' and '.join(INIT_KWARGS)}, not {what}: {LOADED_HERE}")
    check_loss(values, rounds.length_penalty)
    if rounds.lora is not None and rounds.lora.dropout > 0 and values.get("disable_dropout", True):
        raise UserError(
            f"rounds.lora.dropout {rounds.lora.dropout}: TRL switches it off; set train.disable_dropout to false"
        )


def check_loss(values: Mapping[str, Any], length_penalty: float) -> None:
    """Refuses a length penalty where adding alpha (|y_w| - |y_l|) to the margin would not be what the loss sees.

    The penalty is put on the reference log-probabilities. Losses of the margin alone see it as it is written. The
    others score each response by itself, per token, or sort the batch, so that the shift would mean something else.

    Raises:
        UserError: an unknown loss, or one that does not go with the penalty.
    """
    given = values.get("loss_type", "sigmoid")
    loss_types = [given] if isinstance(given, str) else list(given)
    for name in loss_types:
        if name not in LOSS_TYPES:
            near = difflib.get_close_matches(str(name), LOSS_TYPES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(LOSS_TYPES)}"
            raise UserError(f"train.loss_type {name!r} is unknown; {hint}")
    if length_penalty == 0:
        return
    start = f"rounds.length_penalty {length_penalty} does not go with train."
    for name in loss_types:
        if name not in (*MARGIN_LOSSES, "sft"):
            raise UserError(
                f"{start}loss_type {name}, which is no function of the margin: "
                f"choose from {', '.join(MARGIN_LOSSES)}, or set the penalty to 0"
            )
    if set(loss_types) == {"sft"}:
        raise UserError(f"{start}loss_type sft, which has no margin: add sigmoid, or set the penalty to 0")
    if values.get("ld_alpha") is not None:
        raise UserError(f"{start}ld_alpha, which weighs lengths in another way: leave one of them out")
    if values.get("f_divergence_type", "reverse_kl") != "reverse_kl":
        raise UserError(f"{start}f_divergence_type {values['f_divergence_type']}: leave that out, or the penalty")
    beta = values.get("beta", 0.1)
    if not (isinstance(beta, int | float) and math.isfinite(beta) and beta > 0):
        raise UserError(f"train.beta {beta}: must be above 0 where rounds.length_penalty is not 0")


def is_cpu(device: str) -> bool:
    """Whether `model.device` means the CPU for the trainer, which finds its own device otherwise.

    Raises:
        UserError: a device that the trainer cannot be put on.
    """
    if ":" in device:
        kind = device.partition(":")[0]
        raise UserError(f"model.device {device}: training takes auto, cpu or {kind}; choose with CUDA_VISIBLE_DEVICES")
    return pick_device(device).type == "cpu"


def make_dpo_config(values: Mapping[str, Any], output_dir: str, table: Mapping[str, Any], *, cpu: bool) -> Any:
    """TRL's `DPOConfig`. It also starts the process group where there are several processes.

    Raises:
        UserError: TRL or transformers refuse a value.
    """
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
    """What TRL says against a configuration, in one line."""
    return UserError(f"train: TRL refuses it ({' '.join(str(error).split())[:300]}); mend the section")


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that only TRL and PEFT can mend, and without the bars of each map over the rows."""
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

    def __init__(self) -> None:
        super().__init__()
        self.said = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "The tokenized prompt is not a prefix" not in str(record.msg):
            return True
        before, self.said = self.said, True
        return not before
