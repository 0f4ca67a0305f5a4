"""The upper half of the blocks against all of them: the rank correlation of the scores.

A layer's sketch does not depend on which other layers are sketched, so both scores come from one index: all dimensions,
and those of the upper blocks. Without a finished run to read, an index of `--pairs` pairs is built.
"""

import argparse
import json
import tempfile
from pathlib import Path

from bench.contenders.ours import as_pairs
from bench.fidelity import scores_of
from bench.ranking import spearman
from bench.workload import build
from congrad.gradients import PassSettings, build_index, open_index
from congrad.models.load import load_model
from congrad.models.packaged import resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="short name or directory")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--index", type=Path, help="of a finished run of the same model, all layers")
    options = parser.parse_args()
    path = resolve(options.model)
    model = load_model(path, dtype=options.dtype)
    with tempfile.TemporaryDirectory() as scratch:
        if options.index is not None:
            index = open_index(options.index)
        else:
            pairs = as_pairs(build("answers", path, options.pairs))
            index = build_index(model, pairs, scratch, PassSettings(), model_fingerprint="bench")
        num_upper = index.shape[1] // 2  # the slots of the upper half of the blocks
        sketches_PD = index[0 : len(index)]
        full_P = scores_of(sketches_PD, index, index.scales_P)
        upper_P = scores_of(sketches_PD[:, -num_upper:], index, index.scales_P)
    print(json.dumps({"pairs": len(index), "spearman": spearman(full_P, upper_P)}))


if __name__ == "__main__":
    main()
