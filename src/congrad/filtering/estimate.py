"""What a pass will cost, measured on its longest pack before it starts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from congrad.gradients import PassSettings
from congrad.gradients.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from congrad.gradients.build import Pairs

FLOAT16_BYTES, ROW_BYTES = 2, 12  # of a sketch's entries; of its scale and two log-probabilities


@dataclass(frozen=True)
class Estimate:
    """Costs of sketching `num_pairs` pairs on `world_size` devices like this one."""

    num_pairs: int
    num_tokens: int
    seconds: float
    memory_bytes: int
    disk_bytes: int


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the GPU's memory, or of this process's resident memory on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def estimate(model: "PreTrainedModel", pairs: "Pairs", settings: PassSettings, world_size: int = 1) -> Estimate:
    """Runs the longest pack, which shows at once whether memory suffices, and scales its time by tokens."""
    from congrad.gradients.build import packed_lengths, pass_sketcher, triples

    lengths = packed_lengths(pairs)
    num_pairs, num_tokens = int((lengths > 0).sum()), int(lengths.sum())
    settings = settings.resolved(num_pairs, model.device)
    assert settings.projection_size is not None
    assert settings.token_budget is not None
    longest: list[int] = []
    for position in (-lengths).argsort(kind="stable").tolist():
        if not lengths[position] or (longest and lengths[[*longest, position]].sum() > settings.token_budget):
            break
        longest.append(position)
    prompt_packs = pack(triples(pairs, longest), settings.normalise)
    with pass_sketcher(model, settings) as sketch:
        run: Callable[[], object] = lambda: sketch(prompt_packs)  # noqa: E731
        run()  # the first call also warms allocators and kernels up
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
    return Estimate(
        num_pairs=num_pairs,
        num_tokens=num_tokens,
        seconds=seconds * num_tokens / int(lengths[longest].sum()) / world_size,
        memory_bytes=peak_memory(model.device),
        disk_bytes=num_pairs * (settings.projection_size**2 * FLOAT16_BYTES + ROW_BYTES),
    )
