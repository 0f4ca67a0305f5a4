"""A run's own copy of its configuration, and which changes of it a run that has begun can take.

A section may change until the first stage that reads it has begun. Afterwards only what cannot spoil a result may: more
rounds, another evaluation, how an endpoint is reached, another device.
"""

from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.files import write_atomically
from congrad.loop.config import as_yaml, read_config, resolved
from congrad.loop.plan import MAKE_PAIRS, STAGES, Stage, Step, layout
from congrad.settings.section import flatten, shown
from congrad.settings.tree import RunConfig
from congrad.stage import Kind, is_begun, make

LOOP = Kind("run", first="config.yaml")  # what is finished are its stages
READ_BY: dict[str, tuple[Stage, ...]] = {
    **dict.fromkeys(("model", "prompts"), STAGES[:-1]),
    **{stage: (stage,) for stage in MAKE_PAIRS},
    "index": ("filter",),
    **dict.fromkeys(("filter", "consensus", "selection", "advice", "train", "rounds"), ("filter", "train")),
}
HOW_ASKED = ("url", "api_key_env", "concurrency", "timeout", "retries", "max_reply_bytes", "command")
HARMLESS = (
    *("evaluate.*", "report.*", "model.device", "model.trust_remote_code", "*.bounds.*"),
    *(f"*.engine.{key}" for key in HOW_ASKED),
)
NEEDS_EVALUATION = ("evaluate.*", "rounds.count", "filter.methods")
NEEDS_NONE = (
    "evaluate.bounds.*",
    *(f"evaluate.{engine}.{key}" for engine in ("engine", "win_rate.judge") for key in HOW_ASKED),
)


def take_config(config: RunConfig, output: Path) -> list[str]:
    """Writes the configuration into a new run, or checks that a run that has begun can continue with it.

    An evaluation that no longer fits is kept under another name.

    Returns:
        What changes, a line each.
    """
    path = output / LOOP.first
    if not is_begun(output, LOOP):
        make(output, LOOP)
        write_atomically(path, as_yaml(config).encode())
        return []
    changes = changes_since(begun_config(output), config, output)
    if not changes:
        return []
    said = [f"{key} was {shown(old)}, is {shown(new)} from here on" for key, old, new in changes]
    keys = [key for key, _, _ in changes if not any(fnmatch(key, pattern) for pattern in NEEDS_NONE)]
    if any(fnmatch(key, pattern) for key in keys for pattern in NEEDS_EVALUATION):
        said += put_away(output / "evaluate")
    write_atomically(path, as_yaml(config).encode())
    return said


def dtype_of_run(output: Path) -> str | None:
    """The dtype that the run in `output` was begun in; None for a new run, or one that has made nothing yet."""
    if not is_begun(output, LOOP):
        return None
    old = begun_config(output)
    steps = layout(old, output).steps(old.rounds.count)
    return old.model.dtype if any(step.holds_work for step in steps) else None


def begun_config(output: Path) -> RunConfig:
    """The configuration that a run has begun with, as its own copy says."""
    try:
        return read_config(output / LOOP.first)
    except UserError as error:
        problem = f"was begun by another version of congrad ({error})"
        raise UserError(problem, "choose another output directory", at=output) from error


def changes_since(old: RunConfig, new: RunConfig, output: Path) -> list[tuple[str, Any, Any]]:
    """The keys that differ, with both values; a `UserError` where the run cannot take one of them."""
    before, after = dict(flatten(resolved(old))), dict(flatten(resolved(new)))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    steps = [step for step in layout(old, output).steps(max(old.rounds.count, new.rounds.count)) if step.holds_work]
    for key in keys:
        if (made := hindered_by(key, old, new, steps)) is not None:
            values = f"{key} {shown(before.get(key))}, now {shown(after.get(key))}"
            problem = f"{output} was begun with {values}, and holds {made.directory.relative_to(output)}"
            raise UserError(problem, "restore the old setting, or choose another output directory")
    return [(key, before.get(key), after.get(key)) for key in keys]


def hindered_by(key: str, old: RunConfig, new: RunConfig, begun: list[Step]) -> Step | None:
    """A step whose result the change of a key would make wrong; None if there is none."""
    if any(fnmatch(key, pattern) for pattern in HARMLESS):
        return None
    if key == "rounds.count":
        return next((step for step in begun if step.round > new.rounds.count and step.stage != "evaluate"), None)
    if key == "filter.methods" and min(len(old.filter.methods), len(new.filter.methods)) > 1:
        return None  # every arm has its own directory
    readers = READ_BY[key.split(".")[0]]
    return next((step for step in begun if step.stage in readers), None)


def put_away(directory: Path) -> list[str]:
    """Renames a directory to the first free of its name with a number."""
    if not directory.exists():
        return []
    names = (directory.with_name(f"{directory.name}-{number}") for number in count(1))
    kept = next(name for name in names if not name.exists())
    directory.rename(kept)
    return [f"the evaluation so far is kept as {kept}"]
