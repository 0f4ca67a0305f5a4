"""The upper half of the blocks against all of them: the rank correlation of the scores.

Two indexes of the same `--pairs` pairs, which differ in `--layers` alone.
"""

import argparse
import json
import tempfile
from pathlib import Path

from bench.contenders.ours import as_pairs
from bench.fidelity import scores_of
from bench.ranking import spearman
from bench.workload import build
from congrad.gradients import build_index
from congrad.models.load import load_model
from congrad.models.packaged import resolve
from congrad.settings.index import PassSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="short name or directory")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args()
    path = resolve(options.model)
    model = load_model(path, dtype=options.dtype)
    with tempfile.TemporaryDirectory() as scratch:
        pairs = as_pairs(build("answers", path, options.pairs))
        scores = []
        for layers in (None, "upper"):
            directory = Path(scratch) / (layers or "all")
            index = build_index(model, pairs, directory, PassSettings(layers=layers), model_fingerprint="bench")
            scores.append(scores_of(index[0 : len(index)], index, index.scales_P))
    print(json.dumps({"pairs": len(index), "spearman": spearman(*scores)}))


if __name__ == "__main__":
    main()
