"""The stage `train`: preference pairs and M_t in, M_{t+1} out.

    stage.json       what the stage was begun with
    checkpoints/     TRL's, to continue from after a kill; removed in the end unless the user asked for them
    log.jsonl        a line per log of the trainer: loss, rewards, per-language evaluation
    model/           M_{t+1}: a plain checkpoint with its tokenizer
    adapter/         with LoRA, what was added to M_t
    manifest.json    written last

Under `torchrun` or `accelerate launch` every process calls the stage, and the first one writes.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist

from congrad.errors import UserError
from congrad.machine import ran_out
from congrad.models.compute import in_dtype_of, settle_stage
from congrad.models.identity import as_loaded
from congrad.models.memory import enough_memory
from congrad.models.ranks import Rank
from congrad.progress import SILENT, Listener
from congrad.settings.input import Columns
from congrad.settings.model import Model
from congrad.settings.train import check_dpo_config
from congrad.settings.training import Rounds
from congrad.stage import begin, finish, forget, is_finished, write_rows
from congrad.training.config import REFUSALS, defaults, is_cpu, make_dpo_config, quiet, refused
from congrad.training.pairs import by_language, check_lengths, check_template, fingerprint_pairs, load, read_pairs
from congrad.words import one_line

CHECKPOINTS, LOG, TRAINED = "checkpoints", "log.jsonl", ".trained"
MUCH_ROUNDING = 0.3


def train(
    pairs_paths: Sequence[Path],
    model: Model,
    initial_model: Model,
    rounds: Rounds,
    dpo_config: Mapping[str, Any],
    output: Path,
    *,
    eval_path: Path | None = None,
    language_column: str = "language",
    max_length: int = 1024,
    listener: Listener = SILENT,
) -> None:
    """Trains M_t into M_{t+1} on kept pairs; returns at once where that is done already.

    TRL seeds the global generators of Python, NumPy and PyTorch.

    Args:
        pairs_paths: `kept.jsonl` of this round, or of all rounds so far where `rounds.data` is "accumulated". A round
            whose file is empty adds nothing.
        model: M_t.
        initial_model: M_0, for the reference "initial".
        rounds: what the reference is, the length penalty, LoRA; `count` and `data` are the caller's to follow.
        dpo_config: names and values of TRL's `DPOConfig`.
        eval_path: held-out pairs, evaluated per language on the way: `eval_de_loss`, `eval_de_rewards/accuracies`.
        language_column: of both.
        max_length: prompt and response in tokens, where `dpo_config` has none: the filter's.

    Raises:
        UserError: whatever is wrong with the pairs, the models or the settings, or too little memory.
    """
    try:
        import trl  # noqa: F401
    except ImportError as error:
        raise UserError("training needs TRL: pip install 'congrad[loop]'") from error
    check_dpo_config(dpo_config, rounds)
    if model.reference is not None:
        fix = "set rounds.reference to previous or initial to train against it"
        raise UserError("is for the filter only", fix, key="model.reference")
    model.check_plain()
    cpu = is_cpu(model.device)
    with processes(cpu):
        lora, evaluates = rounds.lora is not None, eval_path is not None
        table = defaults(max_length=max_length, cpu=cpu, lora=lora, evaluates=evaluates)
        args = make_dpo_config(dpo_config, str(output / CHECKPOINTS), table, cpu=cpu)
        first = args.process_index == 0
        fingerprints = [fingerprint_pairs(path) for path in pairs_paths] if first else []
        held_out = None if eval_path is None or not first else fingerprint_pairs(eval_path)
        rank, device = Rank(args.process_index, args.world_size), torch.device("cpu") if cpu else args.device
        model = settle_stage(model, output, listener, device=device, rank=rank)
        initial_model = in_dtype_of(model, initial_model)
        # Where M_t is M_0, the two references are one and the same.
        reference = initial_model if rounds.reference == "initial" and initial_model != model else None
        if first:
            settings = {
                "pairs": fingerprints,
                "eval": held_out,
                "language_column": language_column,
                "model": as_loaded(model),
                "reference": None if reference is None else as_loaded(reference),
                "length_penalty": rounds.length_penalty,
                "lora": None if rounds.lora is None else asdict(rounds.lora),
                "train": {**table, **dpo_config},
                "processes": args.world_size,  # a batch is what they take in together
            }
            if begin(output, "train", settings):
                tidy(output, dpo_config)  # a kill may have come between the manifest and this
        args.distributed_state.wait_for_everyone()
        if is_finished(output):
            return
        with taken_back_if_refused(output, writes=args.process_index == 0):
            run(pairs_paths, model, reference, rounds, dpo_config, args, output, eval_path, language_column, listener)


def run(
    pairs_paths: Sequence[Path],
    model: Model,
    reference: Model | None,
    rounds: Rounds,
    dpo_config: Mapping[str, Any],
    args: Any,
    output: Path,
    eval_path: Path | None,
    language_column: str,
    listener: Listener,
) -> None:
    """The stage once it is begun. `reference` is None where it is M_t."""
    from transformers.trainer_callback import PrinterCallback

    from congrad.models.load import give_memory_back, tokenizer_of
    from congrad.models.towers import tower_modules
    from congrad.training.lp_dpo import LPDPOTrainer
    from congrad.training.progress import StageCallback
    from congrad.training.weights import lora_config, save_next, trainable

    pairs, languages = read_pairs(pairs_paths, language_column)
    held_out = None if eval_path is None else by_language(load(eval_path, columns=Columns(language=language_column)))
    tokenizer = tokenizer_of(model)
    for dataset in (pairs, *(held_out or {}).values()):
        check_template(dataset, tokenizer, model.name)
    lora, init = rounds.lora is not None, dict(dpo_config.get("model_init_kwargs") or {})
    load_options = (init.get("dtype"), init.get("attn_implementation"))
    listener.on_stage(f"loading {model.name} and preparing the training")
    with quiet(), explained_memory(args):
        policy = trainable(model, *load_options, lora=lora)
        frozen = None
        # Without a reference of its own, TRL asks the adapter's base, or when it precomputes the untrained policy.
        if reference is not None or not (lora or args.precompute_ref_log_probs):
            frozen = trainable(reference or model, *load_options, lora=lora).requires_grad_(False)
        try:
            trainer = LPDPOTrainer(
                model=policy,
                ref_model=frozen,
                args=args,
                train_dataset=pairs,
                eval_dataset=held_out,
                processing_class=tokenizer,
                peft_config=lora_config(rounds.lora) if rounds.lora is not None else None,
                callbacks=[StageCallback(output / LOG, listener)],
                length_penalty=rounds.length_penalty,
            )
        except REFUSALS as error:
            raise refused(error) from error
        check_lengths(trainer, args.max_length)
        trainer.remove_callback(PrinterCallback)  # it prints every log
        trained_pairs = len(trainer.train_dataset)
        checkpoint = last_checkpoint(output / CHECKPOINTS)
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except (UnpicklingError, EOFError) as error:  # PyTorch reads tensors alone, and nothing that would be run
            problem = "cannot be resumed: a file of it is damaged, or holds other things than tensors"
            raise UserError(problem, "remove it and run the same command again", at=checkpoint) from error
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            if trainer.state.global_step or not tower_modules(policy) or ran_out(error):
                raise
            problem = f"model {model.name}: TRL cannot train a {type(policy).__name__} on text ({one_line(error, 100)})"
            raise UserError(problem, "train it with a library that can, or train another model") from error
        if trainer.is_fsdp_enabled:  # each process would write its own part
            trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        trainer.save_model(str(output / TRAINED))
        history, steps = trainer.state.log_history, trainer.state.global_step
        del trainer, policy, frozen
    give_memory_back()
    if args.process_index == 0:
        with quiet():
            rounding = save_next(model, output / TRAINED, tokenizer, output, lora=lora)
        write_rows(output / LOG, history)
        losses = [line["loss"] for line in history if "loss" in line]
        lost = (
            f"rounding to the model's dtype lost {rounding:.0%} of the update; set model.dtype to float32, or train "
            "for longer or at a higher learning rate"
        )
        content = {
            "model": model.name,
            "reference": (reference or model).name,
            "device": str(args.device),
            "pairs": len(pairs),
            "pairs_too_long": len(pairs) - trained_pairs,
            "pairs_per_language": dict(sorted(Counter(languages).items())),
            "steps": steps,
            "first_loss": losses[0] if losses else None,
            "last_loss": losses[-1] if losses else None,
            "rounding": rounding,
            "warnings": [lost] if rounding > MUCH_ROUNDING else [],
        }
        finish(output, content)
        tidy(output, dpo_config)
    args.distributed_state.wait_for_everyone()


def tidy(output: Path, dpo_config: Mapping[str, Any]) -> None:
    """Removes what a finished stage no longer needs. Checkpoints that the user asked for in `dpo_config` stay."""
    shutil.rmtree(output / TRAINED, ignore_errors=True)
    if {"save_strategy", "save_steps", "save_total_limit"} & set(dpo_config):
        return
    directory = output / CHECKPOINTS
    for path in directory.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    (directory / "README.md").unlink(missing_ok=True)  # TRL's card of the checkpoints
    if directory.is_dir() and not any(directory.iterdir()):  # a tracker may keep its log there
        directory.rmdir()


# The course of a run


@contextmanager
def processes(cpu: bool) -> Iterator[None]:
    """Closes the process group in the end if this stage began it; one that is open already is used and left.

    Who calls several stages in one launch opens the group around them all (`init_process_group()` without a backend
    serves CPU and CUDA): to open a second one is a race, because the launcher's store still has the first one's
    addresses.
    """
    from accelerate.state import AcceleratorState, PartialState

    if not cpu and torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        fix = "start with `accelerate launch -m congrad ...` to use them all, or set CUDA_VISIBLE_DEVICES to one"
        raise UserError(f"{torch.cuda.device_count()} GPUs and one process", fix)
    began = not dist.is_initialized()
    try:
        yield
    finally:
        if began and dist.is_initialized():
            dist.destroy_process_group()
        if began and PartialState._shared_state:
            AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def taken_back_if_refused(output: Path, *, writes: bool) -> Iterator[None]:
    """A stage refused before its first checkpoint is undone, because the corrected settings will differ."""
    try:
        yield
    except UserError:
        if writes and last_checkpoint(output / CHECKPOINTS) is None and not (output / TRAINED).exists():
            forget(output, CHECKPOINTS, LOG)
        raise


def last_checkpoint(directory: Path) -> str | None:
    """The newest whole checkpoint: the trainer's state is what is written last, and a kill may have come before it."""
    from transformers.trainer_callback import TrainerState

    found = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    for path in sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        try:
            TrainerState.load_from_json(str(path / "trainer_state.json"))
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        return str(path)
    return None


def explained_memory(args: Any) -> AbstractContextManager[None]:
    """Too little memory, in one line with what to do."""
    return enough_memory(
        "out of memory",
        f"lower train.per_device_train_batch_size ({args.per_device_train_batch_size}) and raise "
        f"train.gradient_accumulation_steps ({args.gradient_accumulation_steps}) by the same factor, lower "
        f"train.max_length ({args.max_length}), set train.precompute_ref_log_probs, or use rounds.lora",
    )
