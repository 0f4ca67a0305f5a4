"""The loop: rounds M0 -> M1 -> M2, each of which generates, judges, pairs, filters and trains; then an evaluation.

Every stage is a function that reads directories and writes one, returns at once where it is finished, and continues
where it was killed. So the loop keeps no state: to continue is to call it again.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from congrad.engines.open import tell_of_keys
from congrad.errors import UserError
from congrad.evaluation.run import opponents, row_name, run_evaluate
from congrad.filtering.baselines import filter_baseline
from congrad.filtering.rankings import Baseline
from congrad.filtering.run import filter_preferences
from congrad.gradients.index import INDEX, open_index
from congrad.loop.check import check, filter_config, wants_held_out
from congrad.loop.growth import LOOP, dtype_of_run, take_config
from congrad.loop.pairings import compare_ways
from congrad.loop.plan import INDEXED, NOT_FROM_PAIRS, Layout, Stage, Step, layout, steps_until
from congrad.loop.take_pairs import PAIRS, take_pairs
from congrad.models.compute import settle_dtype
from congrad.models.ranks import Rank, is_first, ranks, wait_for_all
from congrad.progress import SILENT, Listener
from congrad.selfreward.generate import run_generate
from congrad.selfreward.judge import run_judge
from congrad.selfreward.pair import run_pair
from congrad.selfreward.prompts import load_prompts
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import METHODS, RunConfig
from congrad.stage import alone, is_finished
from congrad.training.loss import max_length
from congrad.training.train import train

TOGETHER = ("filter", "train")  # what all processes of a launcher do together; the rest is the first one's
HELD_OUT = "held-out"
INITIAL = "M0"


@dataclass(frozen=True)
class RunListener:
    """What is called for each step, and for what happens within one; by default nothing."""

    within: Listener = SILENT
    on_step: Callable[[Step], None] = lambda step: None
    on_finished: Callable[[Step], None] = lambda step: None


def run_loop(
    config: RunConfig, output: str | Path, *, until: Stage | None = None, listener: RunListener | None = None
) -> None:
    """Runs all stages of all rounds, or continues them.

    Args:
        until: stop as soon as this stage is finished in the first round in which it is not yet.

    Raises:
        UserError: whatever stops the run, in one line. What is done stays done.
    """
    output = Path(output)
    check(config)
    first = is_first()
    listener = listener if listener is not None and first else RunListener()
    with alone(output, LOOP) if first else nullcontext(), ranks() as rank:
        config = with_dtype(config, output, rank, listener.within)
        if first:
            for note in take_config(config, output):
                listener.within.on_note(f"note: {note}")
            tell_of_keys(listener.within, config.engines)
        wait_for_all()
        place = layout(config, output)
        steps = steps_until(list(place.steps(config.rounds.count)), until)
        finished = [step.finished for step in steps]
        wait_for_all()  # else the first process might finish one while another looks
        for step, was_finished in zip(steps, finished, strict=True):
            listener.on_step(step)
            try:
                run_step(config, place, step, listener.within)
            except UserError as error:
                error.during = step.title
                raise
            if not was_finished or step.stage == "evaluate":
                listener.on_finished(step)


def with_dtype(config: RunConfig, output: Path, rank: Rank, listener: Listener) -> RunConfig:
    """The configuration with the dtype of the whole run, which its own copy of the configuration keeps."""
    began_in = dtype_of_run(output)
    if began_in == "auto" and config.model.dtype == "auto":
        problem = f"{output} was begun by an older congrad, which read model.dtype auto as the checkpoint's dtype"
        raise UserError(problem, "choose another output directory")
    initial, rounds = config.model, config.rounds
    model = settle_dtype(
        initial,
        began_in=began_in,
        together=[initial] if rounds.reference == "initial" and rounds.count > 1 else [],
        at_other_times=judges_in_process(config),
        rank=rank,
        listener=listener,
    )
    return replace(config, model=model)


def judges_in_process(config: RunConfig) -> list[Model]:
    """The models that judge beside the run's own, as far as they are loaded here."""
    named = [(config.judge.model, config.judge.engine or config.generate.engine)]
    if (contest := config.evaluate.win_rate) is not None:
        named.append((contest.judge_model, contest.judge or config.evaluate.engine))
    return [config.model.other(name) for name, engine in named if name is not None and engine.kind == "transformers"]


def run_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    """One stage, by all processes of a launcher or by the first while the others wait."""
    if step.stage in TOGETHER or is_first():
        STAGE_RUNNERS[step.stage](config, place, step, listener)
    if step.stage not in TOGETHER:
        wait_for_all()


def policy(config: RunConfig, place: Layout, round: int, arm: str | None) -> Model:
    """M_{round - 1}: the model that a round starts from, and M_0 for round 1."""
    if round == 1:
        return config.model
    return config.model.trained(str(place.step("train", round - 1, arm).directory / "model"))


def generate_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    model = policy(config, place, step.round, step.arm)
    run_generate(load_prompts(config.prompts), model, config.generate, step.directory, listener=listener)


def judge_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    # The implicit reward of M_{round - 1} is measured by what it was trained against; by M_0 itself for round 1.
    trained_against = max(step.round - 1, 1) if config.rounds.reference == "previous" else 1
    run_judge(
        place.step("generate", step.round, step.arm).directory,
        policy(config, place, step.round, step.arm),
        config.judge,
        step.directory,
        engine=config.generate.engine,
        reference=policy(config, place, trained_against, step.arm),
        listener=listener,
    )


def pair_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    if place.starts_from_pairs and step.round == 1:
        take_pairs(given_pairs(config), step.directory)
        return
    generated, judged = (place.step(stage, step.round, step.arm).directory for stage in NOT_FROM_PAIRS)
    run_pair(generated, judged, config.pair, step.directory, listener=listener)


def given_pairs(config: RunConfig) -> Input:
    """The preference dataset that round 1 starts from."""
    assert config.prompts.pairs is not None
    return config.prompts.read_as(config.prompts.pairs)


def filter_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    """The filter of `congrad filter`, or a baseline, at the round's model; returns at once where that is done."""
    method = step.arm or place.arms[0]
    pairs = place.step("pair", step.round, step.arm).directory / PAIRS
    wanted = filter_config(config, method, pairs, policy(config, place, step.round, step.arm))
    if method == INDEXED:
        if not step.finished:
            filter_preferences(wanted, step.directory, settled=True, listener=listener)
        if config.filter.pairings and not (place.starts_from_pairs and step.round == 1):
            generated, judged = (place.step(stage, step.round, step.arm).directory for stage in NOT_FROM_PAIRS)
            compared = step.directory.with_name("pairings")
            compare_ways(config, wanted, generated, judged, step.directory, compared, listener)
        return
    shared = None
    if step.round == 1 and INDEXED in place.arms:  # later on each arm has its own model
        index = place.step("filter", 1, INDEXED).directory / "index"
        shared = open_index(index) if is_finished(index, INDEX) else None
    baseline = Baseline(cast("Any", method), selection=config.selection, loss=wanted.loss, seed=config.consensus.seed)
    filter_baseline(baseline, wanted.input, wanted.model, step.directory, index=shared, listener=listener)


def train_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    held_out = place.output / HELD_OUT if wants_held_out(config) else None
    if held_out is not None:
        if is_first():
            take_pairs(config.evaluate.held_out, held_out)
        wait_for_all()
    first = 1 if config.rounds.data == "accumulated" else step.round
    kept = [place.step("filter", round, step.arm).directory / "kept.jsonl" for round in range(first, step.round + 1)]
    train(
        kept,
        policy(config, place, step.round, step.arm),
        config.model,
        config.rounds,
        config.train,
        step.directory,
        eval_path=held_out and held_out / PAIRS,
        max_length=max_length(config.train),
        listener=listener,
    )


def evaluate_step(config: RunConfig, place: Layout, step: Step, listener: Listener) -> None:
    rounds = evaluated_rounds(config)
    models = {INITIAL: config.model}
    for method in sorted(place.arms, key=METHODS.index):
        for number in rounds:
            models[row_name(method, number)] = policy(config, place, number + 1, method)
    against = opponents(place.arms, rounds)
    run_evaluate(models, config.evaluate, step.directory, against=against, listener=listener)


def evaluated_rounds(config: RunConfig) -> list[int]:
    """Every round of a single filter; of several, which are compared with each other, the last."""
    last = config.rounds.count
    return list(range(1, last + 1)) if len(config.filter.methods) == 1 else [last]


STAGE_RUNNERS: dict[Stage, Callable[[RunConfig, Layout, Step, Listener], None]] = {
    "generate": generate_step,
    "judge": judge_step,
    "pair": pair_step,
    "filter": filter_step,
    "train": train_step,
    "evaluate": evaluate_step,
}
