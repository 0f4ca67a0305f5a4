"""Draws of tokens against transformers' own warpers and a walk along the cumulative distribution."""

import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

import congrad.engines.draw
from congrad.engines.draw import draw, uniforms


def walked(logits: torch.Tensor, uniform: float, temperature: float, top_p: float) -> int:
    """One row's token: warp, order by probability (by id where all may be taken), and walk until it is reached."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    p = warpers(None, logits[None].float())[0].double().softmax(-1).tolist()
    order = sorted(range(len(p)), key=lambda token: (-p[token], token)) if top_p < 1 else range(len(p))
    total = 0.0
    for token in order:
        total += p[token]
        if total > uniform:
            return token
    raise AssertionError("past the end")


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.5])
@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("candidates", [8, 1024])
def test_the_token_is_the_one_that_transformers_warpers_leave_at_that_place(
    temperature, top_p, candidates, monkeypatch
):
    monkeypatch.setattr(congrad.engines.draw, "CANDIDATES", candidates)
    generator = torch.Generator().manual_seed(0)
    logits_BV = torch.randn(60, 50, generator=generator) * torch.linspace(0.1, 4, 60)[:, None]  # flat to peaked
    uniform_B = torch.rand(60, generator=generator, dtype=torch.float64)
    token_B = draw(logits_BV, uniform_B, temperature=temperature, top_p=top_p)
    expected = [walked(row, u, temperature, top_p) for row, u in zip(logits_BV, uniform_B.tolist(), strict=True)]
    assert token_B.tolist() == expected
    assert len(set(expected)) > 3


def test_ties_and_neighbours_change_nothing(monkeypatch):
    """bfloat16 logits are full of ties; few candidates and many, one row and sixty must agree on them."""
    generator = torch.Generator().manual_seed(1)
    logits_BV = (torch.randn(60, 300, generator=generator) * 2).round() / 2
    uniform_B = torch.rand(60, generator=generator, dtype=torch.float64)
    together = draw(logits_BV, uniform_B, temperature=0.8, top_p=0.7)
    monkeypatch.setattr(congrad.engines.draw, "CANDIDATES", 40)
    few = draw(logits_BV, uniform_B, temperature=0.8, top_p=0.7)
    alone = [draw(logits_BV[i : i + 1], uniform_B[i : i + 1], temperature=0.8, top_p=0.7).item() for i in range(60)]
    assert together.tolist() == few.tolist() == alone


@pytest.mark.parametrize("top_p", [0.6, 1.0])
def test_the_largest_number_there_is_stays_within_the_nucleus(top_p):
    logits_BV = torch.tensor([[0.0, 1.0, 5.0, 5.0, -torch.inf]])
    last = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert draw(logits_BV, last, temperature=1.0, top_p=top_p).item() == 3
    assert draw(logits_BV, torch.zeros(1).double(), temperature=1.0, top_p=top_p).item() == (2 if top_p < 1 else 0)


def test_a_row_draws_from_its_seed_alone_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    numbers = uniforms([3, 4, 3], 100)
    assert torch.equal(numbers[0], numbers[2])
    assert not torch.equal(numbers[0], numbers[1])
    assert torch.equal(numbers[0], torch.rand(100, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.random.get_rng_state(), before)
