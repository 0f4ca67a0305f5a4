"""What an export wrote, run with stand-ins for the trainers."""

import os
import subprocess
import sys
from pathlib import Path

STUBS = {"torch": "class accelerator:\n    is_available = staticmethod(lambda: False)\n"}
STUBS["datasets"] = "def load_dataset(*a, **b): pass\n"
STUBS["trl"] = "class DPOConfig:\n    def __init__(self, **a): pass\n"
STUBS["trl"] += "class DPOTrainer:\n    def __init__(self, **a): pass\n    train = save_model = lambda self: None\n"


def run_scripts(directory: Path) -> None:
    """Runs what an export wrote, with stand-ins for the trainers, which write down their arguments."""
    stubs = directory.parent / "stubs"
    stubs.mkdir(exist_ok=True)
    for name, text in STUBS.items():
        (stubs / f"{name}.py").write_text(text)
    for name in ("swift", "deepspeed"):
        (stubs / name).write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done > "$0.words"\n')
        (stubs / name).chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(stubs), "PATH": f"{stubs}:{os.environ['PATH']}"}
    for name, program in (("train_dpo.py", sys.executable), ("train_dpo.sh", "sh")):
        if (directory / name).exists():
            subprocess.run([program, name], cwd=directory, env=environment, check=True, capture_output=True)
