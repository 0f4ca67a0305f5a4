"""Pairs whose gradients are made of numbers, and the advice on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from congrad.advice.advise import Advice, advise
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus


def made(
    seed: int,
    *,
    num_languages: int = 3,
    each: int = 40,
    dims: int = 24,
    signal: float = 0.0,
    flipped: float = 0.0,
    parallel: bool = False,
) -> dict[str, Any]:
    """Gradients of noise, with a direction that all share and a part of the labels swapped, as `advise` takes them."""
    rng = np.random.default_rng(seed)
    num_pairs = num_languages * each
    gradient_PD = rng.normal(size=(num_pairs, dims))
    gradient_PD[:, 0] += signal
    is_flipped_P = rng.random(num_pairs) < flipped
    gradient_PD[is_flipped_P] *= -1
    prompt_P = np.tile(np.arange(each), num_languages)
    language_P = np.repeat(np.arange(num_languages), each)
    return {
        "sketches": torch.from_numpy(gradient_PD).float(),
        "factor_N": torch.ones(num_pairs),
        "language_N": torch.from_numpy(language_P),
        "group_N": torch.from_numpy(prompt_P if parallel else np.arange(num_pairs)),
        "length_N": rng.integers(-5, 6, num_pairs).astype(float),
        "given": {"random": rng.random(num_pairs)},
    }


@pytest.fixture
def advised() -> Callable[..., Advice]:
    """The advice on what `made` makes, with settings that tests can wait for."""

    def run(seed: int, **how: Any) -> Advice:
        settings = Settings(num_resamples=10, batch_size=8)
        return advise(**made(seed, **how), consensus=Consensus(aggregator="mean"), settings=settings, aggregators=())

    return run
