"""The command that re-filters a run with its own settings: what is not given has its default."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from congrad.consensus.settings import Consensus, Loss

OPTION_OF = {"name": "loss"}  # the other fields are named like their options
NO_OPTION = {"num_orders", "num_resamples"}


def refilter_command(directory: Path, manifest: dict[str, Any]) -> str:
    """`congrad filter RUN` with the options of loss and consensus that are not the defaults."""
    words = ["congrad", "filter", str(directory)]
    for part, defaults in (("loss", asdict(Loss())), ("consensus", asdict(Consensus()))):
        for name, value in manifest["config"][part].items():
            if value is not None and value != defaults[name] and name not in NO_OPTION:
                words += ["--" + OPTION_OF.get(name, name).replace("_", "-"), str(value)]
    return shlex.join(words)
