"""The reference of the configuration, made of the settings' own docstrings: docs/loop-settings.md.

python -m congrad.loop.reference > docs/loop-settings.md
"""

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterator
from typing import Any

from congrad.engines import Engine
from congrad.loop.build import is_required
from congrad.loop.config import RunConfig
from congrad.selfreward.prompts import Prompts

HEAD = """# Settings of the loop

Every key of a run's YAML file with its default. On the command line a key is written with dots and a value as YAML
writes it: `generate.temperature=0.5`, `rounds.lora={r: 8}`. An unknown key is an error that names the nearest.

This page is made of the code's docstrings (`python -m congrad.loop.reference`), and a test compares the two.
"""
TRAIN = """Names and values of TRL's `DPOConfig`, which gets them as they are; TRL's documentation lists them. Where
nothing is said, the defaults are TRL's but for these: no tracker (`report_to: none`), `logging_steps: 1`,
and checkpoints every tenth of the steps, of which the last is kept until the stage is finished. The loop
chooses the directory and resumes by itself. With `eval_strategy` the trainer evaluates on `evaluate.pairs`,
per language.
"""
TOLD_ONCE = {Engine: "generate", Prompts: "prompts"}  # the same keys wherever there is another
NONE = re.compile(r"\bNone\b")
ATTRIBUTE = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


def reference() -> str:
    """The page, in Markdown."""
    lines = [HEAD]
    hints = typing.get_type_hints(RunConfig)
    for each in dataclasses.fields(RunConfig):
        lines.append(f"## {each.name}\n")
        if each.name == "train":
            lines.append(TRAIN)
            continue
        lines += ["| key | default | |", "|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows_of(hints[each.name], each.name)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def rows_of(kind: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of every setting of a dataclass, and of those within it."""
    hints, told = typing.get_type_hints(kind), attributes(kind)
    for each in dataclasses.fields(kind):
        key, inner, many = f"{prefix}.{each.name}", *dataclass_in(hints[each.name])
        yield f"`{key}`", default_of(each), NONE.sub("null", told[each.name]).replace("|", "\\|")
        if inner is not None and (inner not in TOLD_ONCE or prefix == TOLD_ONCE[inner]):
            yield from rows_of(inner, f"{key}[]" if many else key)


def dataclass_in(hint: Any) -> tuple[type | None, bool]:
    """The dataclass that an annotation allows, and whether as a list of them."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint, False
    many = typing.get_origin(hint) in (list, tuple)
    for argument in typing.get_args(hint):
        found, _ = dataclass_in(argument)
        if found is not None:
            return found, many
    return None, False


def default_of(field: "dataclasses.Field[Any]") -> str:
    if is_required(field):
        return "required"
    factory = field.default_factory
    value = factory() if factory is not dataclasses.MISSING else field.default
    if dataclasses.is_dataclass(value):
        return ""
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def attributes(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says of each of its fields.

    Raises:
        AssertionError: it says nothing of one.
    """
    lines = iter(inspect.getdoc(kind).splitlines())  # type: ignore[union-attr]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line == "Attributes:":
            break
    for line in lines:
        match = ATTRIBUTE.match(line.removeprefix("    ")) if not line.startswith("     ") else None
        if match is not None:
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    missing = [each.name for each in dataclasses.fields(kind) if each.name not in found]
    assert not missing, f"{kind.__name__} says nothing of {', '.join(missing)}"
    return found


if __name__ == "__main__":
    print(reference(), end="")
