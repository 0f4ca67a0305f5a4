"""The command that re-filters a run with its own settings: what is not given has its default."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from congrad.settings.consensus import Consensus, Loss


def refilter_command(directory: Path, manifest: dict[str, Any]) -> str:
    """`congrad filter RUN` with the keys of loss and consensus that are not the defaults."""
    words = ["congrad", "filter", str(directory)]
    for part, defaults in (("loss", asdict(Loss())), ("consensus", asdict(Consensus()))):
        for name, value in manifest["config"][part].items():
            if value is not None and value != defaults[name]:
                words.append(f"{part}.{name}={value}")
    return shlex.join(words)
