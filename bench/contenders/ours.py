"""The gradient pass: `build_index` at its defaults, with the index written to disk.

Timed is the whole call, the drawing of the projections and the files included; only the fingerprint of the weights,
which a run takes once, is left out. `--layers upper` cuts the gradient space to the upper half of the blocks.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from bench.measure import Memory, emit, load, parse, timed
from bench.workload import Workload
from congrad.gradients import build_index
from congrad.preferences import TokenisedPairs
from congrad.settings.index import PassSettings


def as_pairs(workload: Workload) -> TokenisedPairs:
    def arrays(side: list[list[int]]) -> list[np.ndarray]:
        return [np.array(ids, dtype=np.int32) for ids in side]

    prompts, chosen, rejected = map(arrays, (workload.prompt_ids, workload.chosen_ids, workload.rejected_ids))
    reasons = [""] * len(workload)
    return TokenisedPairs(workload.rows, workload.languages, prompts, chosen, rejected, reasons)


def sketch(model: PreTrainedModel, workload: Workload, directory: Path, settings: PassSettings) -> None:
    build_index(model, as_pairs(workload), directory, settings, model_fingerprint="bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", help="decoder blocks that count, as index.layers")
    parser.add_argument("--keep", type=Path, help="leave the index in this directory")
    task = parse(parser)
    model = load(task)
    settings = PassSettings(layers=task.options.layers)
    memory = Memory()
    with tempfile.TemporaryDirectory() as scratch:
        sketch(model, task.workload.head(2), Path(scratch) / "warm-up", settings)
        directory = task.options.keep or Path(scratch) / "index"
        span = timed(lambda: sketch(model, task.workload, directory, settings))
        plan = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
        sizes = {key: plan[key] for key in ("settings", "dims", "num_weights")}
        emit(task, span, model, memory, **sizes)


if __name__ == "__main__":
    main()
