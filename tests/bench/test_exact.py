"""The exact reference on a tiny model: Gramians of explicit gradients, and flipping a pair in the index."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bench.contenders.ours import as_pairs
from bench.exact import pair_gradient, space_weights
from bench.fidelity import exact_gramian, factor, groups_of
from bench.flipped import flip
from bench.workload import Workload
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from congrad.gradients import build_index
from congrad.settings.index import PassSettings

LANGUAGES = ["de", "en", "de", "en", "de", "en"]


@pytest.fixture
def model() -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=31, num_key_value_heads=1, **shape))
    return model.eval().requires_grad_(False)


@pytest.fixture
def workload() -> Workload:
    generator = np.random.default_rng(0)
    sides = [[generator.integers(3, 31, size).tolist() for size in generator.integers(2, 7, 6)] for _ in range(3)]
    return Workload("answers", "random", list(range(6)), LANGUAGES, *sides)


def test_gramian_in_groups_is_that_of_whole_gradients(model: PreTrainedModel, workload: Workload) -> None:
    weights = space_weights(model)
    whole = [torch.cat([part.flatten() for part in pair_gradient(model, workload, i, weights)]) for i in range(6)]
    gradient_PW = torch.stack(whole).double()
    one_at_a_time = exact_gramian(model, workload, max_bytes=1)
    assert len(groups_of(weights, 6, max_bytes=1)) == len(weights)
    assert len(groups_of(weights, 6, max_bytes=2**30)) == 1
    np.testing.assert_allclose(one_at_a_time, gradient_PW @ gradient_PW.T, rtol=1e-4, atol=1e-7)


def test_factor_has_the_gramian(model: PreTrainedModel, workload: Workload) -> None:
    gramian_PP = exact_gramian(model, workload, max_bytes=2**30)
    factor_PP = factor(gramian_PP).numpy()
    symmetric_PP = (gramian_PP + gramian_PP.T) / 2  # float32 sums differ with the order of the factors
    np.testing.assert_allclose(factor_PP @ factor_PP.T, symmetric_PP, rtol=1e-9, atol=1e-9)


def test_flipping_in_the_index_is_swapping_the_answers(
    model: PreTrainedModel, workload: Workload, tmp_path: Path
) -> None:
    flipped = torch.tensor([True, False, False, True, True, False])
    sides = zip(workload.chosen_ids, workload.rejected_ids, flipped.tolist(), strict=True)
    chosen, rejected = zip(*((b, a) if swap else (a, b) for a, b, swap in sides), strict=True)
    swapped = Workload("answers", "random", workload.rows, LANGUAGES, workload.prompt_ids, list(chosen), list(rejected))
    settings = PassSettings(projection_size=4)
    made = build_index(model, as_pairs(swapped), tmp_path / "swapped", settings, model_fingerprint="tiny")
    index = build_index(model, as_pairs(workload), tmp_path / "index", settings, model_fingerprint="tiny")
    found = flip(index, flipped)

    def sketches(one: object) -> torch.Tensor:
        return one[0:6].float() * one.scales_P[:, None]  # type: ignore[index, attr-defined]

    # Swapping changes the order of the pack and so the rounding, and entries are stored as float16.
    torch.testing.assert_close(sketches(found), sketches(made), rtol=2e-3, atol=2e-3 * float(made.scales_P.max()))
    torch.testing.assert_close(found.policy_logps_P2, made.policy_logps_P2, rtol=1e-5, atol=1e-4)
    assert found.pairs.equals(made.pairs)
