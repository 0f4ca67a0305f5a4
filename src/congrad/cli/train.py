"""`congrad train`: preference pairs and a model in, the next model out."""

from pathlib import Path
from typing import Annotated

from congrad.cli.options import argument, option
from congrad.cli.stage_options import ConfigFile, ModelName, Output, Quiet, model_of, stage_screen, warn_if_slow
from congrad.errors import UserError
from congrad.stage import require_file

HELD_BY_STAGES = ("kept.jsonl", "pairs.jsonl")


def train_command(
    words: Annotated[
        list[str], argument("Files or directories of pairs; settings, train.max_steps=9.", "PAIRS... KEY=VALUE...")
    ],
    output: Output,
    model: ModelName = None,
    initial: Annotated[str | None, option("Reference of rounds.reference=initial. [model]", "--initial")] = None,
    held_out: Annotated[Path | None, option("Pairs to evaluate on, per language.", "--eval")] = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Train on preference pairs with DPO or LP-DPO (rounds.length_penalty), all weights or LoRA (rounds.lora).

    \bcongrad train runs/x --model gemma3-270m --output m1 train.learning_rate=1e-6
    accelerate launch -m congrad train runs/x --model gemma3-270m --output m1
    """
    from congrad.settings.read import is_override, read
    from congrad.settings.training import Rounds
    from congrad.training.loss import max_length

    overrides = [word for word in words if is_override(word)]
    pairs = [pairs_file(Path(word)) for word in words if not is_override(word)]
    if not pairs:
        raise UserError("no pairs to train on", "name a file, or a directory of congrad filter or congrad pair")
    given = read(config, overrides, {"model.name": ("--model", model)})
    policy, rounds, dpo_config = model_of(given), given.section(Rounds), given.section_values("train")
    m0 = policy if initial is None else policy.other(initial)
    with stage_screen("train", output, given, quiet=quiet) as listener:
        longest = max_length(dpo_config)
        listener.on_stage("starting PyTorch")
        from congrad.training.train import train

        warn_if_slow(policy, listener)
        train(pairs, policy, m0, rounds, dpo_config, output, eval_path=held_out, max_length=longest, listener=listener)


def pairs_file(path: Path) -> Path:
    """The pairs in a stage's directory; a file is itself."""
    if not path.is_dir():
        require_file(path)
        return path
    for name in HELD_BY_STAGES:
        if (path / name).is_file():
            return path / name
    problem = f"holds neither {' nor '.join(HELD_BY_STAGES)}"
    raise UserError(problem, "name the directory of a finished stage, or a file", at=path)
