"""A run's configuration: read, checked together with the files that it names, and written back into the run."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from congrad.preferences.load import glance_at_pairs
from congrad.selfreward.prompts import glance_at_prompts
from congrad.settings.read import Given, read
from congrad.settings.tree import RunConfig
from congrad.settings.yaml_file import dump_yaml
from congrad.training.loss import BUDGET


def read_config(path: Path | None, words: Sequence[str] = ()) -> RunConfig:
    """The configuration of a file with KEY=VALUE of the command line; see `run_config`."""
    return run_config(read(path, words))


def run_config(given: Given) -> RunConfig:
    """The configuration of a run of the loop, or a `UserError` by the place where the mistake was typed."""
    given.check_for_loop()
    return given.sections(RunConfig)


def glance_at_inputs(config: RunConfig) -> None:
    """Looks for mistakes in the files that a configuration names, without `datasets`."""
    prompts, evaluate = config.prompts, config.evaluate
    if prompts.source is not None:
        glance_at_prompts(prompts)
    if prompts.pairs is not None:
        glance_at_pairs(prompts.pairs, prompts.read_as(prompts.pairs))
    if evaluate.pairs is not None:
        glance_at_pairs(evaluate.pairs, evaluate.held_out)


def resolved(config: RunConfig) -> dict[str, Any]:
    """All settings with their defaults, as plain values that YAML and JSON take."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    del content["index"]["normalise"]  # it follows the loss
    for name in (*BUDGET, "watch"):  # the training's, and what no loop reads
        del content["advice"][name]
    return content


def as_yaml(config: RunConfig) -> str:
    """The resolved configuration as a file that `congrad run` takes."""
    return dump_yaml(resolved(config))
