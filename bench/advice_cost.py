"""What the advice costs on a large index: all options and all that is said of languages, without a model.

python -m bench.advice_cost                          100,000 pairs as the index keeps them
python -m bench.advice_cost --pairs 20000 --every    of all pairs, not of a sample
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.where import commit, processor
from congrad.advice.advise import advise
from congrad.advice.languages import advise_on_languages
from congrad.consensus.score import score_pairs
from congrad.settings.advice import Advice
from congrad.settings.consensus import Consensus

CHUNK = 2_000
NOISE = 3.0  # length of a pair's noise by that of what all pairs have in common, as in the demo


def fill(path: Path, num_pairs: int, num_dims: int) -> torch.Tensor:
    """Random sketches on disk (float16), which the system may drop from memory again."""
    sketch_PD = np.memmap(path, np.float16, "w+", shape=(num_pairs, num_dims))
    generator = np.random.default_rng(0)
    common_D = generator.standard_normal(num_dims, np.float32)
    for start in range(0, num_pairs, CHUNK):
        rows = sketch_PD[start : start + CHUNK]
        rows[:] = common_D + NOISE * generator.standard_normal(rows.shape, np.float32)
    sketch_PD.flush()
    return torch.from_numpy(sketch_PD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=16_384, help="that the index keeps from 20,000 pairs on")
    parser.add_argument("--languages", type=int, default=13)
    parser.add_argument("--every", action="store_true", help="measure all pairs instead of a sample")
    options = parser.parse_args()
    settings = Advice()
    if options.every:
        settings = replace(settings, max_pairs=options.pairs)
    language_P = torch.arange(options.pairs) % options.languages
    pairs = {"factor_N": torch.ones(options.pairs), "language_N": language_P, "group_N": torch.arange(options.pairs)}
    scores = np.random.default_rng(1).random((4, options.pairs))
    seconds = {}
    with tempfile.TemporaryDirectory() as scratch:
        sketches = fill(Path(scratch) / "sketches", options.pairs, options.dims)
        began = time.monotonic()
        score_pairs(
            sketches,
            scale_P=torch.ones(options.pairs),
            weight_P=torch.ones(options.pairs),
            language_P=language_P,
            num_languages=options.languages,
            group_P=pairs["group_N"],
            consensus=Consensus(),
        )
        seconds["scoring"], began = time.monotonic() - began, time.monotonic()
        advice = advise(
            sketches,
            **pairs,
            length_N=scores[0],
            given=dict(zip(("random", "loss", "longest", "difficulty"), scores, strict=True)),
            consensus=Consensus(),
            settings=settings,
        )
        seconds["options"], began = time.monotonic() - began, time.monotonic()
        advise_on_languages(sketches, **pairs, settings=settings)
        seconds["languages"] = time.monotonic() - began
    found = {
        "pairs": options.pairs,
        "measured": advice.num_pairs,
        "rows": len(advice.options),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "processor": processor(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
