"""`congrad` that says when a shard is written and then rests for a moment, to be stopped there."""

import signal
import time
from pathlib import Path

import torch

import congrad.gradients.build
from congrad.cli import main

write_tensors = congrad.gradients.build.write_tensors


def write_and_rest(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    write_tensors(path, tensors)
    print(path.name, flush=True)
    time.sleep(60)


# A test runner in the background of a shell has interrupts ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
congrad.gradients.build.write_tensors = write_and_rest
main()
