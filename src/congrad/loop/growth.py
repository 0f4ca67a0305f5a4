"""A run's own copy of its configuration, and which changes of it a run that has begun can take.

A section may change until the first stage that reads it has begun. Afterwards only what cannot spoil a result may: more
rounds, another evaluation, how an endpoint is reached, another device.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.files import write_atomically
from congrad.loop.config import as_yaml, read_config, resolved
from congrad.loop.plan import STAGES, Stage, Step, layout
from congrad.settings.section import shown
from congrad.settings.tree import RunConfig
from congrad.stage import Kind, is_begun, make

LOOP = Kind("run", first="config.yaml")  # what is finished are its stages
READ_BY: dict[str, tuple[Stage, ...]] = {
    "model": STAGES[:-1],
    "prompts": STAGES[:-1],
    "generate": ("generate",),
    "judge": ("judge",),
    "pair": ("pair",),
    "filter": ("filter", "train"),
    "index": ("filter",),
    "consensus": ("filter", "train"),
    "selection": ("filter", "train"),
    "train": ("filter", "train"),
    "rounds": ("filter", "train"),
}
HARMLESS = (
    "evaluate.*",
    "report.*",
    "model.device",
    *(f"*.engine.{key}" for key in ("url", "api_key_env", "concurrency", "timeout", "retries", "command")),
)
NEEDS_EVALUATION = ("evaluate.*", "rounds.count", "filter.methods")


def take_config(config: RunConfig, output: Path) -> list[str]:
    """Writes the configuration into a new run, or checks that a run that has begun can continue with it.

    An evaluation that no longer fits is kept under another name.

    Returns:
        What changes, a line each.

    Raises:
        UserError: `output` holds something else, or a key has changed that something there was made with.
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
    if any(fnmatch(key, pattern) for key, _, _ in changes for pattern in NEEDS_EVALUATION):
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
    """The configuration that a run has begun with, as its own copy says.

    Raises:
        UserError: another version of congrad wrote it, with settings that this one does not read.
    """
    try:
        return read_config(output / LOOP.first)
    except UserError as error:
        problem = f"was begun by another version of congrad ({error})"
        raise UserError(problem, "choose another output directory", at=output) from error


def changes_since(old: RunConfig, new: RunConfig, output: Path) -> list[tuple[str, Any, Any]]:
    """The keys that differ, with both values, each of which the run can take.

    Raises:
        UserError: a key that it cannot, and what has been made with the old value.
    """
    before, after = dict(flatten(resolved(old))), dict(flatten(resolved(new)))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    steps = [step for step in layout(old, output).steps(max(old.rounds.count, new.rounds.count)) if step.holds_work]
    for key in keys:
        made = hindered_by(key, old, new, steps)
        if made is not None:
            raise UserError(
                f"{output} was begun with {key} {shown(before.get(key))}, now "
                f"{shown(after.get(key))}, and holds {made.directory.relative_to(output)}",
                "restore the old setting, or choose another output directory",
            )
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


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; a list is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def put_away(directory: Path) -> list[str]:
    """Renames a directory to the first free of its name with a number."""
    if not directory.exists():
        return []
    number = 1
    while (kept := directory.with_name(f"{directory.name}-{number}")).exists():
        number += 1
    directory.rename(kept)
    return [f"the evaluation so far is kept as {kept}"]
