"""Quality: does the score find labels that were flipped at random, and do baselines that look at no gradient?

    python -m bench.flipped runs/real

reads the index of a finished run. To flip a pair is to negate its sketch and to swap its log-probabilities and
lengths (`tests/bench/test_flipped.py` proves it on the pass itself), so a quarter of the labels is flipped in the
index, many times with different seeds, and each time the whole scoring runs anew without knowing which.

AUROC is of clean against flipped pairs: 1 is perfect, 0.5 chance, 0 means that the clean ones would be thrown out. The
baselines are the policy's log-probability margin, chosen minus rejected, summed and per token, and the length
difference in tokens.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.ranking import auroc
from congrad.filtering import score
from congrad.gradients import GradientIndex, open_index

SHARE = 0.25
TARGET = 0.85


def flip(index: GradientIndex, flipped_P: torch.Tensor) -> GradientIndex:
    """The index that the pass would make had chosen and rejected of these pairs been swapped."""
    swapped_P = flipped_P[:, None]
    chosen, rejected = (index.pairs[f"{side}_tokens"].to_numpy().copy() for side in ("chosen", "rejected"))
    flipped_N = np.zeros(len(chosen), dtype=bool)
    flipped_N[index.positions_P.numpy()] = flipped_P.numpy()
    pairs = index.pairs
    for name, values in (
        ("chosen_tokens", np.where(flipped_N, rejected, chosen)),
        ("rejected_tokens", np.where(flipped_N, chosen, rejected)),
    ):
        pairs = pairs.set_column(pairs.column_names.index(name), pairs.schema.field(name), [values])
    return replace(
        index,
        pairs=pairs,
        scales_P=torch.where(flipped_P, -index.scales_P, index.scales_P),
        policy_logps_P2=torch.where(swapped_P, index.policy_logps_P2.flip(1), index.policy_logps_P2),
        reference_logps_P2=torch.where(swapped_P, index.reference_logps_P2.flip(1), index.reference_logps_P2),
    )


def trial(index: GradientIndex, seed: int) -> dict[str, float]:
    """AUROC of the score and of the baselines, clean against flipped, for one draw of flips."""
    num_flipped = round(SHARE * len(index))
    flipped_P = torch.zeros(len(index), dtype=torch.bool)
    flipped_P[torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))[:num_flipped]] = True
    mixed = flip(index, flipped_P)
    position_P, clean_P = mixed.positions_P.numpy(), ~flipped_P.numpy()
    tokens_P2 = np.stack([mixed.pairs[f"{side}_tokens"].to_numpy()[position_P] for side in ("chosen", "rejected")], 1)
    logps_P2 = mixed.policy_logps_P2.numpy()
    per_token_P2 = logps_P2 / tokens_P2
    return {
        "score": auroc(score(mixed).score_N.numpy()[position_P], clean_P),
        "log-probability margin, summed": auroc(logps_P2[:, 0] - logps_P2[:, 1], clean_P),
        "log-probability margin, per token": auroc(per_token_P2[:, 0] - per_token_P2[:, 1], clean_P),
        "length difference": auroc(tokens_P2[:, 0] - tokens_P2[:, 1], clean_P),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of a finished run, or an index")
    parser.add_argument("--draws", type=int, default=20, help="how often a quarter of the labels is flipped")
    parser.add_argument("--output", type=Path, default=Path("runs/flipped.json"))
    options = parser.parse_args()
    directory = options.run / "index" if (options.run / "index").is_dir() else options.run
    index = open_index(directory)
    trials = [trial(index, seed) for seed in range(options.draws)]
    names = list(trials[0])
    summary = {
        name: {"median": statistics.median(t[name] for t in trials), "lowest": min(t[name] for t in trials)}
        for name in names
    }
    result = {"run": str(options.run), "pairs": len(index), "share": SHARE, "draws": options.draws, "auroc": summary}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"AUROC of clean against flipped, {len(index)} pairs, a quarter flipped, {options.draws} draws")
    for name, values in summary.items():
        print(f"  {name:36s} median {values['median']:.3f}  lowest {values['lowest']:.3f}")
    verdict = "met" if summary["score"]["median"] >= TARGET else "NOT met"
    print(f"  target for the score: {TARGET} or more: {verdict}")


if __name__ == "__main__":
    main()
