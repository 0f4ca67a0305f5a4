"""Seeded count sketches: pinned for ever, the same everywhere, one sign a coordinate, right on average."""

import hashlib

import pytest
import torch

from congrad.gradients.projection import count_sketch, halved

CPU = torch.device("cpu")


def draw(num_coordinates, size, seed=0, name="a", side="left"):
    return count_sketch(name, side, num_coordinates, size, seed, CPU)


def test_draws_are_pinned():
    """An index on disk depends on these: a change must raise `congrad.gradients.index.FORMAT`."""
    sketch = draw(20, 8, name="model.layers.0.mlp.up_proj")
    assert sketch.sign_N.int().tolist() == [1, 1, -1, 1, -1, -1, -1, -1, -1, 1, -1, -1, 1, -1, -1, 1, 1, 1, -1, 1]
    assert sketch.shifts == [5, 6, 4]
    matrix = draw(1000, 16, seed=7, side="right").matrix().to(torch.int8)
    assert (
        hashlib.sha256(matrix.numpy().tobytes()).hexdigest()
        == "b1f7361f5cdcb7cc13b890549e68150b8b995c6bd7e6063815903ec447ea556c"
    )


@pytest.mark.parametrize("other", [{"name": "model.layers.1"}, {"side": "right"}, {"seed": 1}])
def test_name_side_and_seed_give_other_signs(other):
    arguments = {"name": "model.layers.0", "side": "left", "num_coordinates": 1024, "size": 16, "seed": 0}
    one, another = draw(**arguments), draw(**(arguments | other))
    assert abs((one.sign_N == another.sign_N).float().mean().item() - 0.5) < 0.1  # 6 standard errors
    assert one.shifts != another.shifts


def test_global_generators_are_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    draw(64, 16)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("num_coordinates", "size"), [(5, 8), (8, 8), (9, 8), (50, 16), (64, 16), (100, 1), (7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_both_ways_are_the_product_with_the_matrix(num_coordinates, size, dtype):
    sketch = draw(num_coordinates, size)
    values = torch.randn(6, num_coordinates, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = values.float() @ sketch.matrix()
    for found in (sketch.by_adding(values), sketch.by_gathering(values)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_changes_nothing():
    on_gpu = count_sketch("a", "left", 50, 16, 0, torch.device("cuda"))
    values = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(on_gpu(values.cuda()).cpu(), draw(50, 16)(values))


def test_every_coordinate_has_one_sign_and_no_two_of_a_run_meet():
    matrix = draw(1000, 64).matrix()
    assert matrix.abs().sum(1).eq(1).all()
    assert abs(matrix.sum().item()) < 6 * 1000**0.5
    for run in matrix.abs().split(64):
        assert run.sum(0).max() == 1


def test_a_vector_shorter_than_the_sketch_is_kept_whole():
    values = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw(10, 16)(values) @ draw(10, 16)(values).T, values @ values.T)


def test_runs_are_rotated_by_every_shift_alike():
    """Coordinates at equal places of two runs, such as the same place of two attention heads, meet as any others do."""
    met = [(draw(128, 64, seed).shifts[1] - draw(128, 64, seed).shifts[0]) % 64 for seed in range(640)]
    counts = torch.bincount(torch.tensor(met), minlength=64)
    assert counts.max() <= 10 + 6 * 10**0.5
    assert counts.min() >= 0
    assert len(set(met)) > 60


def test_sketches_keep_inner_products_on_average():
    """E[P^T P] = I over seeds, entry by entry, to within 6 standard errors; the diagonal is 1 for every seed."""
    rows, size, num_seeds = 12, 4, 2000
    matrices = torch.stack([draw(rows, size, seed).matrix() for seed in range(num_seeds)])
    products = matrices @ matrices.transpose(1, 2)
    assert products.diagonal(dim1=1, dim2=2).allclose(torch.ones(num_seeds, rows))
    standard_error = (1 / size / num_seeds) ** 0.5
    assert (products.mean(0) - torch.eye(rows)).abs().max().item() < 6 * standard_error


def test_the_error_is_no_larger_than_that_of_dense_signs():
    """Variance of <Px, Py> for dense signs: (|x|^2 |y|^2 + <x, y>^2 - 2 sum x_i^2 y_i^2) / p."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 400, generator=generator)
    size, num_seeds = 32, 3000
    found = torch.tensor(
        [float(sketch(x[None]) @ sketch(y[None]).T) for sketch in (draw(400, size, seed) for seed in range(num_seeds))]
    )
    dense = ((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 * y**2).sum()) / size
    assert (found - x @ y).pow(2).mean() < 1.1 * dense
    assert abs(found.mean() - x @ y) < 5 * (dense / num_seeds) ** 0.5


def test_halves_are_folded_once_more_and_agree_with_the_whole_on_average():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 6, 6, generator=generator)
    by_hand = first[..., :3, :3] - first[..., 3:, :3] + first[..., :3, 3:] - first[..., 3:, 3:]
    torch.testing.assert_close(halved(first, -1, 1), by_hand)
    products = [(halved(first, s, t) * halved(second, s, t)).sum((1, 2)) for s in (1, -1) for t in (1, -1)]
    torch.testing.assert_close(torch.stack(products).mean(0), (first * second).sum((1, 2)))
