"""Stages of training in a process of their own, one after another, as the JSON in the first argument says.

Each is {"pairs": [...], "model": ..., "initial": ..., "rounds": {...}, "train": {...}, "output": ..., "rest_at": step}.
A stage with `rest_at` says so at that step, once its checkpoint is written, and then rests, to be killed there.
In a launch of several processes all stages share one group.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch.distributed as dist

from congrad.progress import Listener, Progress
from congrad.settings.model import Model
from congrad.settings.training import Lora, Rounds
from congrad.training.train import train

if "WORLD_SIZE" in os.environ:
    dist.init_process_group()
for stage in json.loads(sys.argv[1]):

    def rest(progress: Progress, at: int | None = stage.get("rest_at")) -> None:
        done, total = progress.done, progress.total
        if at is not None and done == at + 1:  # the checkpoint of a step is written after the listener is told of it
            print(f"{done} of {total}", flush=True)
            time.sleep(120)

    lora = stage["rounds"].pop("lora", None)
    train(
        [Path(path) for path in stage["pairs"]],
        Model(stage["model"]),
        Model(stage["initial"]),
        Rounds(**stage["rounds"], lora=None if lora is None else Lora(**lora)),
        stage["train"],
        Path(stage["output"]),
        listener=Listener(on_progress=rest),
    )
if dist.is_initialized():
    dist.destroy_process_group()
