"""What a table is of: the sources, and the machine."""

import subprocess
from pathlib import Path

import congrad


def commit() -> str:
    """Of the sources that are tried."""
    command = ["git", "-C", str(Path(congrad.__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
