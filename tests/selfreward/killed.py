"""Generates in a process of its own that says when a group is written and then rests, to be killed there.

python killed.py PROMPTS MODEL OUTPUT
"""

import sys
import time
from pathlib import Path

import torch

from congrad.progress import Listener, Progress
from congrad.selfreward.generate import run_generate
from congrad.selfreward.prompts import load_prompts
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.settings.selfreward import Generate, Prompts


def rest(progress: Progress) -> None:
    if 0 < progress.done < progress.total:
        print(progress.done, progress.total, flush=True)
        time.sleep(60)


torch.set_num_threads(1)
prompts, model, output = sys.argv[1:]
settings = Generate(samples=3, max_tokens=8, engine=Engine(batch_size=4))
run_generate(
    load_prompts(Prompts(prompts)),
    Model(model, dtype="float32"),
    settings,
    Path(output),
    listener=Listener(on_progress=rest),
)
