"""The estimate of what compression does to the ranking, against the truth where that is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from congrad.consensus import score_pairs
from congrad.files import write_json
from congrad.filtering.fidelity import estimate_fidelity, spearman
from congrad.filtering.score import pair_factors
from congrad.gradients import GradientIndex, open_index
from congrad.gradients.build import write_pairs
from congrad.gradients.index import FORMAT, encode, shards_of, write_tensors
from congrad.gradients.projection import count_sketch, half_sketches
from congrad.preferences import TokenisedPairs
from congrad.settings.consensus import Consensus, Loss


def test_spearman_by_hand():
    first = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0])
    second = torch.tensor([0.2, 0.1, 0.3, 0.5, 0.4])  # rank differences 1, 1, 0, 1, 1: 1 - 6 * 4 / (5 * 24)
    assert spearman(first, second) == pytest.approx(0.8)
    assert spearman(first, first.exp()) == pytest.approx(1)
    assert spearman(first, -first) == pytest.approx(-1)


def test_spearman_leaves_out_what_has_no_score():
    nan = torch.nan
    first, second = torch.tensor([1.0, nan, 2.0, 3.0, 9.0]), torch.tensor([5.0, 1.0, 6.0, 7.0, nan])
    assert spearman(first, second) == pytest.approx(1)
    assert math.isnan(spearman(first[:3], second[:3]))


def store(directory: Path, sketches_PD: torch.Tensor, size: int, **plans: Any) -> GradientIndex:
    """An index of these sketches, in three languages; the responses have one token each and equal probabilities."""
    num_pairs, dims = sketches_PD.shape
    directory.mkdir()
    ids = [np.array([number], dtype=np.int32) for number in range(num_pairs)]
    languages = [("de", "sw", "th")[number % 3] for number in range(num_pairs)]
    write_pairs(
        directory / "pairs.parquet",
        TokenisedPairs(list(range(num_pairs)), languages, ids, ids, ids, [""] * num_pairs),
    )
    settings = {"projection_size": size, "normalise": "sum"}
    plan = {"format": FORMAT, "model": "", "reference": None, "data": "", "dtype": "float32", "settings": settings}
    plan |= {"num_rows": num_pairs, "num_pairs": num_pairs, "num_weights": dims, "num_weights_outside": 0}
    plan |= {"dims": dims, "shard_pairs": num_pairs, **plans}
    write_json(directory / "plan.json", plan)
    (shard,) = shards_of(plan)
    unit, scales = encode(sketches_PD)
    logps = torch.full((num_pairs, 2), -1.0)
    write_tensors(shard.path(directory, "sketches"), {"sketches": unit, "scales": scales, "logps": logps})
    write_json(directory / "index.json", {})
    return open_index(directory)


def draw_gradients(num_pairs: int, noise: float, rank: int) -> torch.Tensor:
    """Gradients of two layers (P x 2 x 48 x 48): what languages share, scaled per pair, and noise of a given rank."""
    generator = torch.Generator().manual_seed(0)

    def matrices(*shape: int) -> torch.Tensor:
        left = torch.randn(*shape, 48, rank, generator=generator)
        return left @ torch.randn(*shape, rank, 48, generator=generator) / rank**0.5

    strength_P = torch.randn(num_pairs, generator=generator) + 1
    return strength_P[:, None, None, None] * matrices(2) + noise * matrices(num_pairs, 2)


@pytest.mark.parametrize(("noise", "rank", "size"), [(1.0, 4, 16), (3.0, 4, 8), (2.0, 48, 8), (6.0, 4, 6)])
def test_the_estimate_is_near_the_truth_and_not_above_it(tmp_path, noise, rank, size):
    """The truth: scores of the gradients themselves."""
    gradients = draw_gradients(300, noise, rank)
    generator = torch.Generator().manual_seed(1)
    left, right = torch.randn(2, 2, 48, size, generator=generator)
    sketches = (left.transpose(1, 2) @ gradients @ right).sum(1).flatten(1)  # of the two layers
    index, consensus = store(tmp_path / "index", sketches, size), Consensus(num_resamples=1)
    language_P = torch.arange(300) % 3
    common = {"scale_P": torch.ones(300), "weight_P": pair_factors(index, Loss()), "language_P": language_P}
    common |= {"num_languages": 3, "group_P": torch.arange(300), "consensus": consensus}
    exact = score_pairs(gradients.flatten(1), **common).score_P
    truth = spearman(score_pairs(sketches, **common).score_P, exact)
    estimate = estimate_fidelity(index, Loss(), consensus)
    assert estimate["pairs"] == 300
    assert estimate["half_size_spearman"] < estimate["estimated_spearman"]
    assert truth - 0.15 < estimate["estimated_spearman"] < truth + 0.03


@pytest.mark.parametrize(("noise", "ranks"), [(4.0, 2), (4.0, 4), (8.0, 4)])
def test_the_ranks_of_a_new_adapter_are_a_compression_that_counts(tmp_path, noise, ranks):
    """The truth: scores of the gradients of the layers' weights. Halves of the sketch alone would not see A's part."""
    size, device, generator = 32, torch.device("cpu"), torch.Generator().manual_seed(1)
    gradients = draw_gradients(300, noise, rank=4)
    sketches = torch.zeros(300, size, size)
    for layer in (0, 1):
        a_RI = torch.rand(ranks, 48, generator=generator) * 2 - 1
        left = count_sketch(f"{layer}", "left", 48, size, 0, device).matrix()
        right = half_sketches(f"{layer}", "right", ranks, size, 0, device).matrix()
        sketches += left.T @ gradients[:, layer] @ a_RI.T @ right
    consensus = Consensus(num_resamples=1)
    index = store(tmp_path / "index", sketches.flatten(1), size, lora={"r": ranks})
    common = {"scale_P": torch.ones(300), "weight_P": pair_factors(index, Loss()), "language_P": torch.arange(300) % 3}
    common |= {"num_languages": 3, "group_P": torch.arange(300), "consensus": consensus}
    exact = score_pairs(gradients.flatten(1), **common).score_P
    truth = spearman(score_pairs(sketches.flatten(1), **common).score_P, exact)
    estimate = estimate_fidelity(index, Loss(), consensus)["estimated_spearman"]
    plain = store(tmp_path / "plain", sketches.flatten(1), size)
    without = estimate_fidelity(plain, Loss(), consensus)["estimated_spearman"]
    assert truth - 0.15 < estimate < truth + 0.03
    assert without > truth + 0.02


@pytest.mark.parametrize(("num_pairs", "size"), [(60, 3), (60, 1), (7, 4)])
def test_nothing_is_said_where_there_is_nothing_to_compare(tmp_path, num_pairs, size):
    sketches = torch.randn(num_pairs, size**2, generator=torch.Generator().manual_seed(0))
    estimate = estimate_fidelity(store(tmp_path / "index", sketches, size), Loss(), Consensus())
    assert estimate == {"pairs": 0, "half_size_spearman": None, "estimated_spearman": None}


def test_a_new_adapter_of_rank_1_has_no_halves(tmp_path):
    sketches = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    index = store(tmp_path / "index", sketches, 4, lora={"r": 1})
    assert estimate_fidelity(index, Loss(), Consensus())["estimated_spearman"] is None


def test_unrelated_quarters_give_no_trust(tmp_path):
    sketches = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
    estimate = estimate_fidelity(store(tmp_path / "index", sketches, 4), Loss(), Consensus())
    assert abs(estimate["half_size_spearman"]) < 0.3
    assert 0 <= estimate["estimated_spearman"] < 0.7


def test_pairs_without_a_gradient_do_not_count(tmp_path):
    sketches = draw_gradients(60, 1.0, 4)[:, :1, :8, :8].flatten(1).contiguous()
    whole = estimate_fidelity(store(tmp_path / "whole", sketches[2:], 8), Loss(), Consensus())
    sketches[0], sketches[1] = 0, torch.nan
    part = estimate_fidelity(store(tmp_path / "part", sketches, 8), Loss(), Consensus())
    assert part["half_size_spearman"] == pytest.approx(whole["half_size_spearman"], abs=0.1)
