"""The tree in words: the lines of `congrad settings`, and the page of the documentation, docs/settings-reference.md.

python -m congrad.settings.reference > docs/settings-reference.md
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from congrad.settings.engine import Engine
from congrad.settings.input import Bounds
from congrad.settings.section import described, fields_of, is_section, section_in
from congrad.settings.selfreward import Prompts
from congrad.settings.tree import SECTIONS

HEAD = """# Reference of the settings

Every key with its default, as `congrad settings` prints it. A key is an attribute in Python, a key of a YAML file, and
KEY=VALUE on the command line of every command, with the value as YAML 1.2 writes it: `generate.temperature=0.5`,
`rounds.lora={r: 8}`. Nothing is coerced: `"5"` is not a number. An unknown key is an error that names the nearest.

This page is made of the settings themselves (`python -m congrad.settings.reference`), and a test compares the two.
"""
TRAIN = """Names and values of TRL's `DPOConfig`, which gets them as they are; TRL's documentation lists them. Where
nothing is given, the defaults are TRL's except for these: no tracker (`report_to: none`), `logging_steps: 1`,
and checkpoints every tenth of the steps, of which the last is kept until the stage is finished. The loop
chooses the directory and resumes automatically. With `eval_strategy` the trainer evaluates on `evaluate.pairs`,
per language.
"""
TOLD_ONCE = {
    Engine: "generate.engine",
    Prompts: "prompts",
    Bounds: "input.bounds",
}  # the same keys wherever there is another


@dataclass(frozen=True)
class Line:
    """One key: its default ("required" where it has none, "" for a section), what it allows, and what it means."""

    key: str
    default: str
    allows: str
    meaning: str


def lines(prefix: str = "") -> Iterator[Line]:
    """Every key of the tree that begins with a prefix, in the tree's order."""
    for name, kind in SECTIONS.items():
        train = Line(name, "{}", "a mapping of keys", " ".join(TRAIN.split()))
        own = lines_of(kind, name) if is_section(kind) else [train]
        yield from (line for line in own if line.key.startswith(prefix))


def lines_of(kind: Any, prefix: str) -> Iterator[Line]:
    for name, each in fields_of(kind).items():
        key, (inner, many) = f"{prefix}.{name}", section_in(each.annotation)
        yield Line(key, default_of(each), described(each.annotation), " ".join(each.description.split()))
        if inner is not None and TOLD_ONCE.get(inner, key) == key:
            yield from lines_of(inner, f"{key}[]" if many else key)


def default_of(each: Any) -> str:
    if each.is_required():
        return "required"
    value = each.get_default(call_default_factory=True)
    if is_section(type(value)):
        return ""
    return value if isinstance(value, str) and value else json.dumps(value if value is not PydanticUndefined else None)


def reference() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for name, kind in SECTIONS.items():
        parts.append(f"## {name}\n")
        if not is_section(kind):
            parts.append(TRAIN)
            continue
        parts += ["| key | default | |", "|---|---|---|"]
        for line in lines_of(kind, name):
            default = f"`{line.default}`" if line.default not in ("", "required") else line.default
            parts.append(f"| `{line.key}` | {default} | {line.meaning.replace('|', chr(92) + '|')} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    print(reference(), end="")
