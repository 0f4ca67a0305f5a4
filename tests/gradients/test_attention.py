"""Attention over a pack against a dense mask, forward and backward, in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from congrad.errors import UserError
from congrad.gradients import attention
from congrad.gradients.attention import (
    AttentionSettings,
    PackedAttention,
    attention_within,
    fused_attention,
    packed_attention,
    query_blocks,
)
from congrad.gradients.packing import Segment

# In turn: both branches long, no chosen branch, no rejected branch, neither, a one-token trunk.
SEGMENTS = (
    Segment(0, 7, 12, 20),
    Segment(20, 25, 25, 29),
    Segment(29, 31, 36, 36),
    Segment(36, 39, 39, 39),
    Segment(39, 40, 43, 45),
)
LENGTH = SEGMENTS[-1].end
SETTINGS = {
    "causal": AttentionSettings(0.3, None, None),
    "window": AttentionSettings(0.3, 3, None),
    "window of one": AttentionSettings(0.3, 1, None),
    "softcap": AttentionSettings(0.3, None, 0.7),
    "window and softcap": AttentionSettings(0.3, 4, 0.7),
    "sinks": AttentionSettings(0.3, None, None, torch.tensor([-2.0, 0.0, 1.0, 3.0])),
    "sinks, window and softcap": AttentionSettings(0.3, 4, 0.7, torch.tensor([-2.0, 0.0, 1.0, 3.0])),
}
ON_A_GPU = ["causal", "window", "window of one"]


def visible_TT() -> torch.Tensor:
    """Whether token t may see token u, and how far back it lies: position in the pair, or -1 for out of sight."""
    distance = torch.full((LENGTH, LENGTH), -1)
    for s in SEGMENTS:
        for side in (range(s.fork, s.turn), range(s.turn, s.end)):
            sequence = [*range(s.start, s.fork), *side]
            for i, t in enumerate(sequence):
                for j, u in enumerate(sequence[: i + 1]):
                    distance[t, u] = i - j
    return distance


def dense(query_HTD, key_GTD, value_GTD, settings):
    repeat = len(query_HTD) // len(key_GTD)
    scores = query_HTD @ key_GTD.repeat_interleave(repeat, 0).transpose(1, 2) * settings.scaling
    if settings.softcap is not None:
        scores = (scores / settings.softcap).tanh() * settings.softcap
    distance = visible_TT()
    seen = (distance >= 0) & (distance < (settings.sliding_window or LENGTH))
    scores = scores.masked_fill(~seen, float("-inf"))
    if settings.sinks_H is not None:
        scores = torch.cat([scores, settings.sinks_H.to(scores)[:, None, None].expand(-1, LENGTH, 1)], dim=-1)
    weights = scores.softmax(-1)[..., :LENGTH]
    return (weights @ value_GTD.repeat_interleave(repeat, 0)).transpose(0, 1)


def inputs(heads=4, groups=2, width=3, value_width=None):
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(count, LENGTH, size, generator=generator, dtype=torch.float64).requires_grad_()
        for count, size in ((heads, width), (groups, width), (groups, value_width or width))
    )


def assert_equal_with_gradients(function, settings, tensors):
    found, expected = function(*tensors, SEGMENTS, settings), dense(*tensors, settings)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, tensors, weights), torch.autograd.grad(expected, tensors, weights), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("block", [1, 4, 256])
@pytest.mark.parametrize("kind", SETTINGS)
def test_equals_dense_attention(kind, block, monkeypatch):
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    assert_equal_with_gradients(PackedAttention.apply, SETTINGS[kind], inputs())


@pytest.mark.parametrize("kind", ON_A_GPU)
def test_fused_kernel_equals_dense_attention(kind):
    assert_equal_with_gradients(fused_attention, SETTINGS[kind], inputs())


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 1), (6, 2)])
def test_any_grouping_of_heads(heads, groups):
    for function in (PackedAttention.apply, fused_attention):
        assert_equal_with_gradients(function, SETTINGS["window"], inputs(heads, groups))


@pytest.mark.parametrize("value_width", [2, 5])
@pytest.mark.parametrize("kind", SETTINGS)
def test_values_may_have_another_width(kind, value_width):
    tensors = inputs(value_width=value_width)
    assert_equal_with_gradients(PackedAttention.apply, SETTINGS[kind], tensors)
    if kind in ON_A_GPU:
        assert_equal_with_gradients(fused_attention, SETTINGS[kind], tensors)


@pytest.mark.parametrize("kind", SETTINGS)
def test_gradient_equals_finite_differences(kind, monkeypatch):
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)
    torch.manual_seed(0)
    segments = SEGMENTS[:2]
    tensors = tuple(x.detach()[:, : segments[-1].end].requires_grad_() for x in inputs(width=2))
    assert torch.autograd.gradcheck(
        lambda *x: PackedAttention.apply(*x, segments, SETTINGS[kind]), tensors, fast_mode=True
    )


def test_views_of_one_projection_are_read_rightly():
    """GPT-2's query, key and value are slices of one tensor, transposed; none is contiguous."""
    whole = torch.randn(LENGTH, 3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tensors = tuple(whole[:, i].transpose(0, 1).detach().requires_grad_() for i in range(3))
    assert not tensors[0].is_contiguous()
    assert_equal_with_gradients(PackedAttention.apply, SETTINGS["causal"], tensors)


def test_blocks_cover_every_query_once(monkeypatch):
    monkeypatch.setattr(attention, "QUERY_BLOCK", 3)
    blocks = query_blocks(SEGMENTS)
    assert [token for b in blocks for token in range(b.start, b.stop)] == list(range(LENGTH))
    assert all(b.stop - b.start <= 3 for b in blocks)


def test_interface_takes_and_gives_what_transformers_expects():
    query, key, value = (x.detach()[None] for x in inputs())
    with attention_within(SEGMENTS):
        out, weights = packed_attention(nn.Module(), query, key, value, None, scaling=0.3)
        by_width, _ = packed_attention(nn.Module(), query, key, value, None)
    assert weights is None
    torch.testing.assert_close(out[0], dense(query[0], key[0], value[0], SETTINGS["causal"]))
    torch.testing.assert_close(by_width[0], dense(query[0], key[0], value[0], AttentionSettings(3**-0.5, None, None)))


def test_a_window_that_the_call_leaves_out_is_the_module_s():
    query, key, value = (x.detach()[None] for x in inputs())
    module = SimpleNamespace(sliding_window=3)
    with attention_within(SEGMENTS):
        found, _ = packed_attention(module, query, key, value, None, scaling=0.3)
        whole, _ = packed_attention(module, query, key, value, None, scaling=0.3, sliding_window=None)
    torch.testing.assert_close(found[0], dense(query[0], key[0], value[0], SETTINGS["window"]))
    torch.testing.assert_close(whole[0], dense(query[0], key[0], value[0], SETTINGS["causal"]))


def test_sinks_of_the_call_are_taken():
    query, key, value = (x.detach()[None] for x in inputs())
    settings = SETTINGS["sinks"]
    with attention_within(SEGMENTS):
        found, _ = packed_attention(nn.Module(), query, key, value, None, scaling=0.3, s_aux=settings.sinks_H)
    torch.testing.assert_close(found[0], dense(query[0], key[0], value[0], settings))


@pytest.mark.parametrize("name", ["position_bias", "cache"])
def test_unknown_kinds_of_attention_are_refused(name):
    query, key, value = (x.detach()[None] for x in inputs())
    with pytest.raises(UserError, match=f"attention of the kind '{name}' is not supported"):
        packed_attention(nn.Module(), query, key, value, None, **{name: torch.ones(1)})


def test_attention_that_looks_ahead_is_refused():
    query, key, value = (x.detach()[None] for x in inputs())
    with pytest.raises(UserError, match="'bidirectional' is not supported"):
        packed_attention(SimpleNamespace(is_causal=False), query, key, value, None)
