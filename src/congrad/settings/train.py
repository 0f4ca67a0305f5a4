"""Mistakes in the section `train`, found before anything heavy is imported.

Names are those of TRL's `DPOConfig`. To import it takes seconds, so its source is read instead.
"""

import ast
import importlib.util
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.settings.section import NAMES, did_you_mean, shown
from congrad.settings.training import Rounds

LOADED_HERE = "the section `model` says how the model is loaded"
NOTHING_LEAVES = "nothing is uploaded; push the model yourself when the run is done"
OWNED = {
    "output_dir": "the stage has a directory of its own, which the command names",
    "resume_from_checkpoint": "the stage resumes from its last checkpoint automatically",
    "save_only_model": "without the optimiser's state a stopped stage would not continue to the same result",
    "do_train": "the stage always trains",
    "do_eval": "the stage evaluates when it is given pairs to evaluate on",
    "do_predict": "the stage predicts nothing",
    "use_cpu": "set model.device to cpu",
    "trust_remote_code": LOADED_HERE,
    "push_to_hub": NOTHING_LEAVES,
    "hub_model_id": NOTHING_LEAVES,
    "hub_token": "a key does not belong in a file, and " + NOTHING_LEAVES,
    "hub_strategy": NOTHING_LEAVES,
}
COUNTS = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
# What may be in `model_init_kwargs`; the rest is the section `model`'s.
INIT_KWARGS = ("attn_implementation", "dtype")

MARGIN_LOSSES = ("sigmoid", "hinge", "robust", "exo_pair", "discopop")  # functions of the margin m alone
OTHER_LOSSES = ("ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down")
PLAIN: Mapping[str, Any] = {"float": float, "int": int, "bool": bool, "str": str, "None": type(None)}
LOSS_TYPES = (*MARGIN_LOSSES, *OTHER_LOSSES, "sigmoid_norm", "sft")


def check_dpo_config(values: Mapping[str, Any], rounds: Rounds) -> None:
    """Finds mistakes before any model is loaded.

    Raises:
        UserError: a name that `DPOConfig` does not have (with the nearest), one that the stage owns (with the reason),
            a value of another type, a loss that does not go with the length penalty, or dropout that TRL would switch
            off.
    """
    fields = dpo_fields()
    for name, value in values.items():
        if name in OWNED:
            raise UserError("cannot be set here", OWNED[name], key=f"train.{name}")
        if fields and name not in fields:
            fix = did_you_mean(str(name), fields, "see TRL's documentation for its names")
            raise UserError("is not a field of TRL's DPOConfig", fix, key=f"train.{name}")
        wanted = _plain_types(fields[name]) if fields else ()
        if wanted and not any(_is_a(value, kind) for kind in wanted):
            words = " or ".join(NAMES[kind] for kind in wanted if kind is not type(None))
            raise UserError(f"must be {words}", key=f"train.{name}", value=shown(value))
        if name in COUNTS and isinstance(value, int) and value < 1:
            raise UserError("must be 1 or more", key=f"train.{name}", value=value)
    init_kwargs = values.get("model_init_kwargs") or {}
    if not isinstance(init_kwargs, Mapping) or (others := sorted(set(init_kwargs) - set(INIT_KWARGS))):
        what = others[0] if isinstance(init_kwargs, Mapping) else repr(init_kwargs)
        raise UserError(f"takes {' and '.join(INIT_KWARGS)}, not {what}", LOADED_HERE, key="train.model_init_kwargs")
    check_loss(values, rounds.length_penalty)
    if rounds.lora is not None and rounds.lora.dropout > 0 and values.get("disable_dropout", True):
        fix = "set train.disable_dropout to false"
        raise UserError("would be ignored: TRL switches dropout off", fix, key="rounds.lora.dropout")


def check_loss(values: Mapping[str, Any], length_penalty: float) -> None:
    """Refuses a length penalty where adding alpha (|y_w| - |y_l|) to the margin would not be what the loss sees.

    The penalty is put on the reference log-probabilities. Losses of the margin alone see it as it is written. The
    others score each response separately, per token, or sort the batch, so that the shift would mean something else.
    """
    given = values.get("loss_type", "sigmoid")
    loss_types = [given] if isinstance(given, str) else list(given)
    for name in loss_types:
        if name not in LOSS_TYPES:
            fix = did_you_mean(str(name), LOSS_TYPES, f"choose from {', '.join(LOSS_TYPES)}")
            raise UserError("is unknown", fix, key="train.loss_type", value=shown(name))
    if length_penalty == 0:
        return
    for name in loss_types:
        if name not in (*MARGIN_LOSSES, "sft"):
            what = f"train.loss_type {name}, which is not a function of the margin"
            _no_penalty(what, f"choose from {', '.join(MARGIN_LOSSES)}")
    if set(loss_types) == {"sft"}:
        _no_penalty("train.loss_type sft, which has no margin", "add sigmoid")
    if values.get("ld_alpha") is not None:
        _no_penalty("train.ld_alpha, which weighs lengths in another way", "leave train.ld_alpha out")
    if values.get("f_divergence_type", "reverse_kl") != "reverse_kl":
        _no_penalty(f"train.f_divergence_type {values['f_divergence_type']}", "leave it out")
    beta = values.get("beta", 0.1)
    if not (isinstance(beta, int | float) and math.isfinite(beta) and beta > 0):
        raise UserError("must be above 0 where rounds.length_penalty is not 0", key="train.beta", value=shown(beta))


def _no_penalty(what: str, fix: str) -> None:
    raise UserError(f"does not go with {what}", f"{fix}, or set the penalty to 0", key="rounds.length_penalty")


@cache
def dpo_fields() -> dict[str, ast.expr]:
    """What `DPOConfig` takes with its annotations, from its own source and its bases'; none where TRL is missing."""
    if importlib.util.find_spec("trl") is None:
        return {}
    return dict(_fields("trl.trainer.dpo_config", "DPOConfig"))


def _plain_types(annotation: ast.expr) -> tuple[Any, ...]:
    """The types that an annotation allows, where all of them are plain: `float`, `int | None`; else none."""
    names = ast.unparse(annotation).split(" | ")
    return tuple(PLAIN[name] for name in names) if all(name in PLAIN for name in names) else ()


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; a whole number is a number, and true is neither."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _fields(module: str, name: str) -> Iterator[tuple[str, ast.expr]]:
    """The annotated names of a dataclass and of its bases, which it imports by name; the bases' first."""
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    package = module.rpartition(".")[0]
    imported = {
        alias.asname or alias.name: importlib.util.resolve_name("." * each.level + (each.module or ""), package)
        for each in tree.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    found = next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)
    for base in found.bases:
        if isinstance(base, ast.Name) and base.id in imported:
            # transformers names its classes at its top, lazily; this one is in a module of its own.
            where = imported[base.id]
            yield from _fields("transformers.training_args" if where == "transformers" else where, base.id)
    for each in found.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, each.annotation


def _source(module: str) -> Path:
    """The file of a module, found without importing its package."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]).joinpath(*rest).with_suffix(".py")
