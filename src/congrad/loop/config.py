"""A run's configuration: one YAML file, with dotted overrides, into checked settings; and back into the run.

A section is the dataclass of the stage that reads it, so whatever a stage takes can be said here, by the same name.
`train` alone is TRL's: a mapping that passes untouched to its `DPOConfig`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.evaluation.settings import Evaluate
from congrad.loop.build import Source, build, located, shown
from congrad.loop.filter_settings import Filter
from congrad.loop.yaml_file import KeyPath, dump_yaml, parse_yaml, read_yaml
from congrad.models.settings import Model
from congrad.preferences.load import glance_at_pairs
from congrad.progress import SILENT, Listener
from congrad.selfreward.generate import Generate
from congrad.selfreward.judge import Judge
from congrad.selfreward.pair import Pair
from congrad.selfreward.prompts import Prompts, glance_at_prompts
from congrad.training.settings import Rounds


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run. Only `model` and `prompts` have no default."""

    model: Model
    prompts: Prompts
    generate: Generate = field(default_factory=Generate)
    judge: Judge = field(default_factory=Judge)
    pair: Pair = field(default_factory=Pair)
    filter: Filter = field(default_factory=Filter)
    train: dict[str, Any] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)
    evaluate: Evaluate = field(default_factory=Evaluate)


SECTIONS = tuple(each.name for each in fields(RunConfig))
PLACEHOLDERS = {"model": {"name": "none"}, "prompts": {"source": "none"}}


def is_override(word: str) -> bool:
    """Whether a word of the command line begins with the dotted key of a section."""
    key, sign, _ = word.partition("=")
    section, dot, rest = key.partition(".")
    return bool(sign and dot and rest) and section in SECTIONS


def read_config(
    path: Path | None,
    overrides: Sequence[str] = (),
    *,
    given: Mapping[str, Any] | None = None,
    unread: Sequence[str] = (),
    glances: bool = False,
    listener: Listener = SILENT,
) -> RunConfig:
    """The configuration of a file with overrides; without a file, of the overrides alone.

    Args:
        overrides: `generate.temperature=0.5`: a dotted key and a value as YAML writes it.
        given: values by dotted key that a command's own arguments say; they have the last word.
        unread: sections that the caller does not read, and that need not be there.
        glances: look at the files that it names, too.
        listener: told before TRL is imported, which takes seconds.

    Raises:
        UserError: what is wrong, by file, line and key, with the nearest name for an unknown one.
    """
    values, lines = read_yaml(path) if path else ({}, {})
    overridden = override(values, overrides)
    for key, value in (given or {}).items():
        put(values, tuple(key.split(".")), value, key)
    for section in SECTIONS:
        if section in values and values[section] is None:  # left empty
            values[section] = {}
    for section in unread:
        values.setdefault(section, PLACEHOLDERS[section])
    source = Source(str(path or ""), lines, overridden)
    config = build(RunConfig, values, (), source)
    if glances:
        glance_at_inputs(config, [name for name in SECTIONS if name not in unread])
    if config.train:  # TRL takes seconds to import, and there is nothing to check without
        listener.on_stage("starting PyTorch")
        check_train(config, source)
    return config


def glance_at_inputs(config: RunConfig, sections: Sequence[str]) -> None:
    """Raises:
    UserError: prompts or pairs are not there, or a glance at them finds a mistake.
    """
    prompts, evaluate = config.prompts, config.evaluate
    if "prompts" in sections and prompts.source is not None:
        glance_at_prompts(prompts)
    if "prompts" in sections and prompts.pairs is not None:
        glance_at_pairs(prompts.pairs, prompts.split, prompts.language_column)
    if "evaluate" in sections and evaluate.pairs is not None:
        glance_at_pairs(evaluate.pairs, evaluate.split, evaluate.language_column)


def put(values: dict[str, Any], path: KeyPath, value: Any, word: str) -> None:
    """Sets a value in nested mappings, in place.

    Raises:
        UserError: a key on the way has a value that is no mapping.
    """
    inner: Any = values
    for number, name in enumerate(path[:-1], 1):
        if inner.get(name) is None:
            inner[name] = {}
        inner = inner[name]
        if not isinstance(inner, dict):
            raise UserError(f"{word!r}: {'.'.join(path[:number])} is {shown(inner)} and has no keys; set it whole")
    inner[path[-1]] = value


def override(values: dict[str, Any], words: Sequence[str]) -> dict[KeyPath, str]:
    """Puts overrides into `values`, in place.

    Returns:
        Which word gave the value of each path.

    Raises:
        UserError: a word is no `KEY=VALUE`, or its key lies beneath a value.
    """
    given: dict[KeyPath, str] = {}
    for word in words:
        key, sign, text = word.partition("=")
        path = tuple(key.strip().split("."))
        if not sign or not all(path):
            raise UserError(f"{word!r} is no override; write KEY=VALUE, for instance generate.temperature=0.5")
        put(values, path, parse_yaml(text, word), word)
        given[path] = word
    return given


def check_train(config: RunConfig, source: Source) -> None:
    """Raises:
    UserError: TRL is not installed, or a key or value of `train` is none of its.
    """
    from congrad.training.config import check_dpo_config

    try:
        check_dpo_config(config.train, config.rounds)
    except ImportError as error:
        raise UserError("training needs TRL: pip install 'congrad[loop]'") from error
    except UserError as error:
        raise located(error, ("train",), source) from error


def resolved(config: RunConfig) -> dict[str, Any]:
    """All settings with their defaults, as plain values that YAML and JSON take."""
    return {key: plain(value) for key, value in asdict(config).items()}


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def as_yaml(config: RunConfig) -> str:
    """The resolved configuration as a file that `congrad run` takes."""
    return dump_yaml(resolved(config))
