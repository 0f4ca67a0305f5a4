"""The loop: rounds M0 -> M1 -> M2, each of which generates, judges, pairs, filters and trains; then an evaluation.

Every stage is a function that reads directories and writes one, returns at once where it is finished, and continues
where it was killed. So the loop keeps no state: to continue is to call it again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from congrad.errors import UserError
from congrad.evaluation.run import opponents, row_name, run_evaluate
from congrad.files import cannot_write
from congrad.loop.check import check, wants_held_out
from congrad.loop.filter import filter_round
from congrad.loop.growth import LOOP, dtype_of_run, take_config
from congrad.loop.plan import INDEXED, NOT_FROM_PAIRS, Layout, Stage, Step, layout, steps_until
from congrad.loop.take_pairs import PAIRS, take_pairs
from congrad.models.compute import settle_dtype
from congrad.models.ranks import Rank, is_first, ranks, wait_for_all
from congrad.progress import SILENT, Listener
from congrad.selfreward.generate import run_generate
from congrad.selfreward.judge import run_judge
from congrad.selfreward.pair import run_pair
from congrad.selfreward.prompts import load_prompts
from congrad.settings.input import Columns, Input
from congrad.settings.model import Model
from congrad.settings.tree import METHODS, RunConfig
from congrad.stage import make
from congrad.training.loss import max_length
from congrad.training.train import train

TOGETHER = ("filter", "train")  # what all processes of a launcher do together; the rest is the first one's
LOCK, HELD_OUT = ".lock", "held-out"
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
        output: the run's directory.
        until: stop as soon as this stage is finished in the first round in which it is not yet.
        listener: notified of everything.

    Raises:
        UserError: whatever stops the run, in one line. What is done stays done.
    """
    output = Path(output)
    check(config)
    first = is_first()
    listener = listener if listener is not None and first else RunListener()
    with only_run(output) if first else nullcontext(), ranks() as rank:
        config = with_dtype(config, output, rank, listener.within)
        if first:
            for note in take_config(config, output):
                listener.within.on_note(f"note: {note}")
        wait_for_all()
        steps = steps_until(list(layout(config, output).steps(config.rounds.count)), until)
        finished = [step.finished for step in steps]
        wait_for_all()  # else the first process might finish one while another looks
        for step, was_finished in zip(steps, finished, strict=True):
            listener.on_step(step)
            try:
                run_step(config, layout(config, output), step, listener)
            except UserError as error:
                error.during = step.title
                raise
            if not was_finished or step.stage == "evaluate":
                listener.on_finished(step)


def with_dtype(config: RunConfig, output: Path, rank: Rank, listener: Listener) -> RunConfig:
    """The configuration with the dtype of the whole run, which its own copy of the configuration keeps.

    Raises:
        UserError: the run was begun when `auto` was something else.
    """
    began_in = dtype_of_run(output)
    if began_in == "auto" and config.model.dtype == "auto":
        raise UserError(
            f"{output} was begun by an older congrad, which read model.dtype auto as the checkpoint's dtype",
            "choose another output directory",
        )
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


def run_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    """One stage, by all processes of a launcher or by the first while the others wait."""
    run = STAGE_RUNNERS[step.stage]
    if step.stage in TOGETHER:
        run(config, place, step, listener)
        return
    if is_first():
        run(config, place, step, listener)
    wait_for_all()


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Holds the run's lock. The kernel lets go of it when the process ends, however it ends.

    Raises:
        UserError: another process has it, or `output` holds something else.
    """
    make(output, LOOP)
    lock = FileLock(output / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            "another congrad is running there", "wait until it ends, or choose another output directory", at=output
        ) from error
    except OSError as error:
        raise cannot_write(output, error) from error
    try:
        yield
    finally:
        lock.release()


def policy(config: RunConfig, place: Layout, round: int, arm: str | None) -> Model:
    """M_{round - 1}: the model that a round starts from, and M_0 for round 1."""
    if round == 1:
        return config.model
    trained = place.step("train", round - 1, arm).directory / "model"
    return config.model.other(str(trained))


def generate_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    model = policy(config, place, step.round, step.arm)
    run_generate(load_prompts(config.prompts), model, config.generate, step.directory, listener=listener.within)


def judge_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    run_judge(
        place.step("generate", step.round, step.arm).directory,
        policy(config, place, step.round, step.arm),
        config.judge,
        step.directory,
        engine=config.generate.engine,
        reference=reference(config, place, step.round, step.arm),
        listener=listener.within,
    )


def reference(config: RunConfig, place: Layout, round: int, arm: str | None) -> Model:
    """What M_{round - 1} was trained against, which its implicit reward is measured by; M_0 itself for round 1."""
    return policy(config, place, max(round - 1, 1) if config.rounds.reference == "previous" else 1, arm)


def pair_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    if place.starts_from_pairs and step.round == 1:
        take_pairs(given_pairs(config), step.directory)
        return
    generated, judged = (place.step(stage, step.round, step.arm).directory for stage in NOT_FROM_PAIRS)
    run_pair(generated, judged, config.pair, step.directory, listener=listener.within)


def given_pairs(config: RunConfig) -> Input:
    """The preference dataset that round 1 starts from."""
    prompts = config.prompts
    assert prompts.pairs is not None
    columns = Columns(prompts.columns.language)
    return Input(prompts.pairs, prompts.split, columns, limit=prompts.limit, seed=prompts.seed)


def filter_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    method = step.arm or place.arms[0]
    index = None
    if step.round == 1 and method != INDEXED and INDEXED in place.arms:  # later on each arm has its own model
        index = place.step("filter", 1, INDEXED).directory / "index"
    filter_round(
        config,
        method,
        place.step("pair", step.round, step.arm).directory / PAIRS,
        policy(config, place, step.round, step.arm),
        step.directory,
        index=index,
        listener=listener.within,
    )


def train_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    held_out = None
    if wants_held_out(config):
        if is_first():
            take_pairs(config.evaluate.held_out, place.output / HELD_OUT)
        wait_for_all()
        held_out = place.output / HELD_OUT / PAIRS
    first = 1 if config.rounds.data == "accumulated" else step.round
    kept = [place.step("filter", round, step.arm).directory / "kept.jsonl" for round in range(first, step.round + 1)]
    train(
        kept,
        policy(config, place, step.round, step.arm),
        config.model,
        config.rounds,
        config.train,
        step.directory,
        eval_path=held_out,
        max_length=max_length(config.train),
        listener=listener.within,
    )


def evaluate_step(config: RunConfig, place: Layout, step: Step, listener: RunListener) -> None:
    rounds = evaluated_rounds(config)
    models = {INITIAL: config.model}
    for method in sorted(place.arms, key=METHODS.index):
        for number in rounds:
            models[row_name(method, number)] = policy(config, place, number + 1, method)
    against = opponents(place.arms, rounds)
    run_evaluate(models, config.evaluate, step.directory, against=against, listener=listener.within)


def evaluated_rounds(config: RunConfig) -> list[int]:
    """Every round of a single filter; of several, which are compared with each other, the last."""
    last = config.rounds.count
    return list(range(1, last + 1)) if len(config.filter.methods) == 1 else [last]


STAGE_RUNNERS: dict[Stage, Callable[[RunConfig, Layout, Step, RunListener], None]] = {
    "generate": generate_step,
    "judge": judge_step,
    "pair": pair_step,
    "filter": filter_step,
    "train": train_step,
    "evaluate": evaluate_step,
}
