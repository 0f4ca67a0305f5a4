"""Builds an index as a process of its own, to be killed or run as several ranks: CASE INDEX SECONDS-AFTER-A-PACK."""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from congrad.gradients import build_index
from congrad.models.load import load_model
from congrad.models.ranks import Rank
from congrad.preferences.tokenise import TokenisedPairs
from congrad.settings.index import PassSettings


def read_case(case: Path) -> TokenisedPairs:
    """Pairs as `save_case` in conftest.py wrote them."""
    with np.load(case / "pairs.npz") as arrays:
        count = len(arrays["languages"])
        sides = [[arrays[f"{side}-{i}"] for i in range(count)] for side in ("prompt", "chosen", "rejected")]
        languages = arrays["languages"].tolist()
    return TokenisedPairs(list(range(count)), languages, *sides, [""] * count)


def main(case: Path, index: str, pause: float) -> None:
    torch.set_num_threads(1)
    rank, barrier = Rank(), lambda: None
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
        rank, barrier = Rank(dist.get_rank(), dist.get_world_size()), dist.barrier
    build_index(
        load_model(str(case / "model")),
        read_case(case),
        index,
        PassSettings(projection_size=3, token_budget=64),
        rank=rank,
        barrier=barrier,
        on_progress=lambda progress: time.sleep(pause),
    )
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
