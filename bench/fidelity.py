"""Fidelity against size: how scores from p x p sketches rank beside the scores of the exact gradients.

    python -m bench.fidelity --model gemma3-270m --pairs 100

The exact scores come from explicit float32 gradients by plain autograd. Scoring needs inner products only, so their
Gramian (pairs x pairs, float64) stands for them: a factor F with F F^T equal to it goes through the scorer in place of
the sketches, with the same folds and languages. The Gramian is summed over groups of layers, each with its own forward
and backward passes, so that no more than `--memory` of gradients is held. It is kept beside the result and found again.

With `--wide` the reference is the widest sketch instead, from the same pass: no coordinate of a layer narrower than
`--size` meets another, so only layers blur one another, by 1 / size^2. It is what many pairs can afford; how it ranks
beside the exact scores is the last line of a curve without `--wide`.

The sketches come from one pass at `--size`. A sketch folded once more is one of half the size, and each of the four
pairs of signs is another draw: their spread is shown.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from bench.contenders.ours import as_pairs
from bench.exact import pair_gradient, space_weights
from bench.ranking import spearman
from bench.workload import Workload, build
from congrad.consensus import score_pairs
from congrad.filtering.score import language_codes, pair_inputs
from congrad.gradients import GradientIndex, build_index
from congrad.gradients.projection import halved
from congrad.models.load import load_model
from congrad.models.packaged import resolve
from congrad.settings.consensus import Consensus, Loss
from congrad.settings.index import PassSettings


def groups_of(weights: list[torch.Tensor], num_pairs: int, max_bytes: int) -> list[list[torch.Tensor]]:
    """Runs of weights whose float32 gradients of all pairs fit `max_bytes` together; a larger weight goes alone."""
    groups: list[list[torch.Tensor]] = []
    room = 0
    for weight in weights:
        size = 4 * num_pairs * weight.numel()
        if size > room or not groups:
            groups.append([])
            room = max_bytes
        groups[-1].append(weight)
        room -= size
    return groups


def exact_gramian(model: PreTrainedModel, workload: Workload, max_bytes: int) -> np.ndarray:
    """Inner products of the explicit pair gradients (P x P), accumulated in float64 over layer groups."""
    num_pairs = len(workload)
    groups = groups_of(space_weights(model), num_pairs, max_bytes)
    gramian_PP = torch.zeros(num_pairs, num_pairs, dtype=torch.float64)
    for number, group in enumerate(groups, start=1):
        started = time.monotonic()
        gradient_PW = torch.empty(num_pairs, sum(weight.numel() for weight in group))
        for i in range(num_pairs):
            gradient = pair_gradient(model, workload, i, group)
            torch.cat([part.flatten() for part in gradient], out=gradient_PW[i])
        gramian_PP += (gradient_PW @ gradient_PW.T).double()
        seconds = time.monotonic() - started
        print(f"exact gradients: layer group {number} of {len(groups)}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return gramian_PP.numpy()


def factor(gramian_PP: np.ndarray) -> torch.Tensor:
    """F with F F^T = the Gramian (P x P, float64): vectors with the gradients' norms and angles."""
    values_P, vectors_PP = np.linalg.eigh((gramian_PP + gramian_PP.T) / 2)
    return torch.from_numpy(vectors_PP * np.sqrt(values_P.clip(min=0)))


def scores_of(features_PD: torch.Tensor, index: GradientIndex, scale_P: torch.Tensor) -> np.ndarray:
    """The default score of every pair, from any vectors that stand for the gradients; the rest comes from the index."""
    inputs = pair_inputs(index, Loss()) | {"scale_P": scale_P}
    num_languages = len(language_codes(index)[0])
    detail = score_pairs(features_PD, **inputs, num_languages=num_languages, consensus=Consensus())
    return detail.score_P.numpy()


def curve(index: GradientIndex, exact_P: np.ndarray) -> list[dict[str, float | int]]:
    """For the index's size and every half of it down to 8: Spearman of the sketches' scores with the exact ones."""
    size = int(index.plan["settings"]["projection_size"])
    draws = [index[0 : len(index)].unflatten(1, (size, size))]
    points: list[dict[str, float | int]] = []
    while True:
        found = [spearman(scores_of(draw_Ppp.flatten(1), index, index.scales_P), exact_P) for draw_Ppp in draws]
        points.append({"size": size, "draws": len(found), "spearman": statistics.median(found), "lowest": min(found)})
        if size <= 8:
            return points[::-1]
        size //= 2
        draws = [halved(draws[0], left, right) for left in (1, -1) for right in (1, -1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma3-270m", help="short name or directory")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--size", type=int, default=512, help="largest projection size, a power of two")
    parser.add_argument("--memory", type=float, default=6.0, help="GiB of explicit gradients held at once")
    parser.add_argument("--wide", action="store_true", help="the widest sketch is the reference; try --size 2048")
    parser.add_argument("--output", type=Path, default=Path("runs/fidelity"))
    options = parser.parse_args()
    path = resolve(options.model)
    workload = build("answers", path, options.pairs, options.max_length)
    model = load_model(path, dtype="float32")
    options.output.mkdir(parents=True, exist_ok=True)
    name = f"{Path(options.model).name}-{options.pairs}-{options.max_length}{'-wide' if options.wide else ''}"
    with tempfile.TemporaryDirectory() as scratch:
        index = build_index(model, as_pairs(workload), scratch, PassSettings(projection_size=options.size))
        gramian_path = options.output / f"{name}.npz"
        if options.wide:
            exact_P = scores_of(index[0 : len(index)], index, index.scales_P)
        else:
            if not gramian_path.exists():
                gramian_PP = exact_gramian(model, workload, int(options.memory * 2**30))
                np.savez(gramian_path, gramian=gramian_PP, rows=workload.rows, languages=workload.languages)
            gramian_PP = np.load(gramian_path)["gramian"]
            exact_P = scores_of(factor(gramian_PP).float(), index, torch.ones(len(index)))
        points = curve(index, exact_P)
    result = {
        "model": options.model,
        "pairs": options.pairs,
        "languages": sorted(set(workload.languages)),
        "max_length": options.max_length,
        "dtype": "float32",
        "reference": "the widest sketch" if options.wide else "exact gradients",
        "score_std": float(np.nanstd(exact_P)),
        "curve": points,
    }
    (options.output / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{'size':>6}{'Spearman':>10}{'lowest':>8}{'draws':>7}")
    for point in points:
        print(f"{point['size']:>6}{point['spearman']:>10.4f}{point['lowest']:>8.4f}{point['draws']:>7}")


if __name__ == "__main__":
    main()
