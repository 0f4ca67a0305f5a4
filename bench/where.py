"""What a table is of: the sources, and the machine."""

import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import congrad


def commit() -> str:
    """Of the sources that are tried."""
    command = ["git", "-C", str(Path(congrad.__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def origin(rows: Sequence[Mapping[str, Any]]) -> str:
    """In words: commits and processors of rows of a log, the date and versions."""
    commits, processors = (", ".join(sorted({row[name] for row in rows})) for name in ("commit", "processor"))
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return f"Commit {commits}, {date.today()}, {processors}, one core; {versions}."
