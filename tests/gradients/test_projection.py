"""Seeded signs: pinned for ever, the same everywhere, balanced and uncorrelated."""

import hashlib

import pytest
import torch

from congrad.gradients.projection import projection, signs

CPU = torch.device("cpu")


def test_signs_are_pinned():
    """An index on disk depends on these: a change of generator must raise `congrad.gradients.index.FORMAT`."""
    first = signs("model.layers.0.mlp.up_proj", "left", 3, 8, seed=0)
    assert first.tolist() == [
        [1, 1, -1, 1, -1, -1, -1, -1],
        [-1, 1, -1, -1, 1, -1, -1, 1],
        [1, 1, -1, 1, 1, -1, -1, -1],
    ]
    digest = hashlib.sha256(signs("a", "right", 1000, 16, seed=7).numpy().tobytes()).hexdigest()
    assert digest == "316a4ca5b72aac6ba3fb11990db631140a1e36bbc25cb001d7914cd209104398"


@pytest.mark.parametrize(
    "other",
    [
        {"name": "model.layers.1"},
        {"side": "right"},
        {"seed": 1},
    ],
)
def test_name_side_and_seed_give_other_signs(other):
    arguments = {"name": "model.layers.0", "side": "left", "rows": 64, "size": 16, "seed": 0}
    agreement = (signs(**arguments) == signs(**(arguments | other))).float().mean().item()
    assert abs(agreement - 0.5) < 0.1  # 1024 signs: 6 standard errors


def test_global_generators_are_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    signs("a", "left", 64, 16, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_precision_changes_no_sign():
    exact = projection("a", "left", 50, 9, 0, device=CPU, dtype=torch.float64)
    assert exact.abs().allclose(torch.tensor(1 / 3, dtype=torch.float64))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        rounded = projection("a", "left", 50, 9, 0, device=CPU, dtype=dtype)
        assert rounded.dtype == dtype
        assert torch.equal(rounded.sign().double(), exact.sign())
        assert rounded.unique().numel() == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_changes_nothing():
    on_gpu = projection("a", "left", 50, 16, 0, device=torch.device("cuda"), dtype=torch.float32)
    assert torch.equal(on_gpu.cpu(), projection("a", "left", 50, 16, 0, device=CPU, dtype=torch.float32))


def test_signs_are_balanced_in_every_column():
    drawn = signs("a", "left", 4096, 16, 0).float()
    assert drawn.abs().eq(1).all()
    assert drawn.mean(0).abs().max().item() < 5 / 4096**0.5


def test_projections_are_orthonormal_on_average():
    """E[P P^T] = I over seeds, entry by entry, to within 6 standard errors; the diagonal is 1 for every seed."""
    rows, size, num_seeds = 8, 4, 2000
    drawn = torch.stack(
        [projection("a", "left", rows, size, seed, device=CPU, dtype=torch.float64) for seed in range(num_seeds)]
    )
    products = drawn @ drawn.transpose(1, 2)
    assert products.diagonal(dim1=1, dim2=2).allclose(torch.ones(num_seeds, rows, dtype=torch.float64))
    standard_error = (1 / size / num_seeds) ** 0.5
    assert (products.mean(0) - torch.eye(rows)).abs().max().item() < 6 * standard_error
