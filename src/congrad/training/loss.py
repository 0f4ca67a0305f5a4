"""A training as the filter knows it: what it scores is what is trained, and what it predicts is for that budget."""

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from congrad.errors import UserError
from congrad.settings.advice import Advice
from congrad.settings.consensus import PER_TOKEN, Loss
from congrad.settings.index import Normalise
from congrad.settings.training import Rounds
from congrad.settings.tree import FROM_ELSEWHERE

DEFAULT_MAX_LENGTH = 1024  # TRL's
EPOCHS, BATCH = 3.0, {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}  # transformers'
BUDGET = ("epochs", "batch_size", "steps")  # of the section advice
NO_LIMIT = 2**31
LOSS_OF = {"sigmoid": "dpo", "hinge": "hinge", "robust": "robust", "ipo": "ipo"}  # TRL's names and the filter's
UNSCORED = ("sft",)  # terms besides the preference loss, which say nothing about a preference
OTHER_LOSSES = {"ld_alpha": None, "use_weighting": False, "f_divergence_type": "reverse_kl"}
FIX = "choose another, or use other filter.methods"


def preference_loss(train: Mapping[str, Any], rounds: Rounds) -> Loss:
    """The loss that `train` and `rounds` give; an error where the filter does not know it."""
    given = train.get("loss_type", "sigmoid")
    names = [name for name in ([given] if isinstance(given, str) else given) if name not in UNSCORED]
    if len(names) != 1 or names[0] not in LOSS_OF:
        problem = f"is not one that the filter scores, {', '.join(LOSS_OF)}"
        raise UserError(problem, FIX, key="train.loss_type", value=" + ".join(names) or given)
    for key, default in OTHER_LOSSES.items():
        if train.get(key, default) != default:
            raise UserError("is not scored by the filter", f"leave it out, or {FIX}", key=f"train.{key}")
    name, beta = LOSS_OF[names[0]], number(train, "beta", 0.1)
    if rounds.length_penalty and name != "dpo":
        raise UserError("is scored with train.loss_type sigmoid only", FIX, key="rounds.length_penalty")
    try:
        if rounds.length_penalty:
            return Loss("lp-dpo", beta, length_penalty=rounds.length_penalty)
        if name == "robust":
            return Loss("robust", beta, label_smoothing=number(train, "label_smoothing", 0.0))
        return Loss(name, beta)  # type: ignore[arg-type]
    except UserError as error:  # its user never saw the section loss
        error.key = FROM_ELSEWHERE.get(str(error.key), error.key)
        raise


def normalise(loss: Loss) -> Normalise:
    """Of the index that a loss needs."""
    return "mean" if loss.name in PER_TOKEN else "sum"


def max_length(train: Mapping[str, Any]) -> int:
    """Tokens of prompt and response that the trainer keeps."""
    limit = train.get("max_length", DEFAULT_MAX_LENGTH)
    if limit is None:
        return NO_LIMIT
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 2:
        raise UserError("must be a whole number, 2 or more", key="train.max_length", value=limit)
    return limit


def advice(train: Mapping[str, Any], settings: Advice) -> Advice:
    """The settings with the budget of the training: epochs, or steps where they are given, and pairs of one step.

    There are as many processes as there are now, with one device each: training refuses more in one process.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    sizes = [number(train, key, default) for key, default in BATCH.items()]
    steps = int(number(train, "max_steps", -1))
    try:
        return replace(
            settings,
            epochs=number(train, "num_train_epochs", EPOCHS),
            batch_size=int(math.prod(sizes)) * processes,
            steps=steps if steps > 0 else None,
        )
    except UserError as error:  # its user never saw the section advice
        error.key = FROM_ELSEWHERE.get(str(error.key), error.key)
        raise


def number(train: Mapping[str, Any], name: str, default: float) -> float:
    value = train.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError("must be a number", key=f"train.{name}", value=repr(value))
    return float(value)
