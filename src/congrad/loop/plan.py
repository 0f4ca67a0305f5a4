"""What a run does, in order: which stage, in which round, for which arm, and where.

One filter:     OUT/round-1/{generate,judge,pair,filter,train}, OUT/round-2/..., OUT/evaluate
Several (arms): OUT/round-1/{generate,judge,pair} for all, as all start from M0; then OUT/ARM/round-1/{filter,train},
                OUT/ARM/round-2/{generate,judge,pair,filter,train}, ..., OUT/evaluate

A run that starts from a preference dataset generates and judges nothing in round 1; `pair` takes the dataset in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from congrad.errors import UserError
from congrad.settings.tree import RunConfig
from congrad.stage import holds_work, is_finished

Stage = Literal["generate", "judge", "pair", "filter", "train", "evaluate"]
STAGES: tuple[Stage, ...] = get_args(Stage)
MAKE_PAIRS = STAGES[:3]
NOT_FROM_PAIRS = STAGES[:2]
WORK: dict[Stage, tuple[str, ...]] = {  # where a stage's first work is
    "generate": ("samples.jsonl",),
    "judge": ("raw.jsonl",),
    "pair": ("pairs.jsonl",),
    "filter": ("index", "logps.jsonl"),
    "train": ("checkpoints",),
}
INDEXED = "congrad"  # first of all arms: others take log-probabilities from its index


@dataclass(frozen=True)
class Step:
    """One stage of one round. `evaluate` belongs to the last round, and to all arms.

    Attributes:
        arm: the filter's name; None where the step is for all arms.
    """

    stage: Stage
    round: int
    arm: str | None
    directory: Path

    @property
    def finished(self) -> bool:
        return is_finished(self.directory)

    @property
    def holds_work(self) -> bool:
        """Whether it holds anything that took work; a stage that stopped before that can begin again."""
        return self.finished or any(holds_work(self.directory / name) for name in WORK.get(self.stage, ()))

    @property
    def title(self) -> str:
        if self.stage == "evaluate":
            return "evaluate"
        return f"round {self.round}, {self.stage}" + (f", {self.arm}" if self.arm else "")


@dataclass(frozen=True)
class Layout:
    """Where everything of a run is."""

    output: Path
    arms: tuple[str, ...]
    starts_from_pairs: bool
    evaluates: bool

    def step(self, stage: Stage, round: int, arm: str | None = None) -> Step:
        """The step that makes `stage` of `round` for `arm`; of what the arms share, the shared one."""
        if stage == "evaluate":
            return Step(stage, round, None, self.output / "evaluate")
        shared = round == 1 and stage in MAKE_PAIRS
        if len(self.arms) == 1 or shared:
            return Step(stage, round, None, self.output / f"round-{round}" / stage)
        assert arm in self.arms
        return Step(stage, round, arm, self.output / arm / f"round-{round}" / stage)

    def steps(self, count: int) -> Iterator[Step]:
        """All steps of a run of `count` rounds, in the order in which they are done."""
        for number in range(1, count + 1):
            seen: set[Path] = set()
            for stage in STAGES[:-1]:
                if self.starts_from_pairs and number == 1 and stage in NOT_FROM_PAIRS:
                    continue
                for arm in sorted(self.arms, key=lambda arm: arm != INDEXED):
                    step = self.step(stage, number, arm)
                    if step.directory not in seen:
                        seen.add(step.directory)
                        yield step
        if self.evaluates:
            yield self.step("evaluate", count)


def layout(config: RunConfig, output: Path) -> Layout:
    return Layout(output, config.filter.methods, config.prompts.pairs is not None, not config.evaluate.measures_nothing)


def steps_until(steps: Sequence[Step], until: Stage | None) -> list[Step]:
    """The steps up to the first round in which `until` is not finished, that stage of it included.

    Without `until`, all. Where `until` is finished in every round, all up to its last: they return at once.
    """
    if until is None:
        return list(steps)
    own = [number for number, step in enumerate(steps) if step.stage == until]
    if not own:
        problem = "this run does not have this stage, because its one round starts from prompts.pairs"
        raise UserError(f"--until {until}: {problem}")
    last = next((steps[number].round for number in own if not steps[number].finished), steps[own[-1]].round)
    return list(steps[: max(number for number in own if steps[number].round == last) + 1])
