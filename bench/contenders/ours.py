"""The gradient pass: `build_index` at its defaults, with the index written to disk.

Timed is the call, the drawing of the projections and the files included; what a run takes once, whatever the number of
its pairs, is left out: the fingerprint of the weights, and the check before the pass with what the space leaves out,
whose time is told by itself.
`--layers upper` cuts the gradient space to the upper half of the blocks; `--route general` is the model's own forward.
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
from congrad.gradients.build import measured, triples
from congrad.gradients.check import check_start, check_whole
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


def check(model: PreTrainedModel, workload: Workload, settings: PassSettings) -> None:
    """What `build_index` does before it writes anything."""
    pairs = triples(as_pairs(workload), range(len(workload)))
    settings = settings.resolved(len(pairs), model.device)
    settings = check_whole(model, pairs, check_start(model, pairs, settings))
    measured(model, pairs, settings, lambda note: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", help="decoder blocks that count, as index.layers")
    parser.add_argument("--route", default="auto", help="as index.route")
    parser.add_argument("--keep", type=Path, help="leave the index in this directory")
    task = parse(parser)
    model = load(task)
    settings = PassSettings(layers=task.options.layers, route=task.options.route)
    memory = Memory()
    with tempfile.TemporaryDirectory() as scratch:
        sketch(model, task.workload.head(2), Path(scratch) / "warm-up", settings)
        directory = task.options.keep or Path(scratch) / "index"
        checked = timed(lambda: check(model, task.workload, settings))
        span = timed(lambda: sketch(model, task.workload, directory, settings)) - checked
        plan = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
        sizes = {key: plan[key] for key in ("settings", "dims", "num_weights")}
        emit(task, span, model, memory, check_seconds=checked.seconds, **sizes)


if __name__ == "__main__":
    main()
