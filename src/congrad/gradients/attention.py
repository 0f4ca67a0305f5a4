"""Attention over a pack: chosen and rejected each see the trunk and themselves, never one another or another pair.

No mask of tokens x tokens is ever made. On the CPU, each pair is two runs of plain matrix products (trunk and chosen;
rejected against trunk and rejected) in blocks of queries that skip what causality hides, with a backward pass written
out by hand: at these lengths that is several times faster than the fused CPU kernel's. Elsewhere the two sides are
gathered into rows for the fused causal kernel, which needs no mask for padding on the right.

Shapes: H query heads, G key heads, R = H / G query heads per key head, T tokens, D width of query and key heads (values
may have another, which is the output's), Q queries and K keys of one block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface

from congrad.errors import UserError
from congrad.gradients.memory import shape_multiple
from congrad.gradients.packing import Segment

IMPLEMENTATION = "congrad_packed"
SEGMENTS: ContextVar[tuple[Segment, ...]] = ContextVar("SEGMENTS")  # not every family hands keyword arguments on
QUERY_BLOCK = 128  # at 250 tokens a side, a quarter of the products fall away; 64 is slower, for its many small calls


@contextmanager
def attention_within(segments: tuple[Segment, ...]) -> Iterator[None]:
    """While open, attention of this thread is that of a pack of these segments."""
    token = SEGMENTS.set(segments)
    try:
        yield
    finally:
        SEGMENTS.reset(token)


@dataclass(frozen=True)
class AttentionSettings:
    scaling: float
    sliding_window: int | None
    softcap: float | None
    sinks_H: torch.Tensor | None = None  # scores of a key that every query sees, and that has no value


@dataclass(frozen=True)
class Block:
    """Queries [start, stop) of the pack against keys [first, ...) of the trunk and [branch, stop)."""

    start: int
    stop: int
    trunk: tuple[int, int]
    branch: int

    @property
    def num_queries(self) -> int:
        return self.stop - self.start

    @property
    def num_shared(self) -> int:
        return self.trunk[1] - self.trunk[0]

    @property
    def num_keys(self) -> int:
        return self.num_shared + self.stop - self.branch


def query_blocks(segments: tuple[Segment, ...]) -> list[Block]:
    """Cuts every pair's queries into blocks; a block's keys are the trunk's slice and then its own branch up to it."""
    blocks = []
    for segment in segments:
        for begin, end, trunk in (
            (segment.start, segment.turn, (segment.start, segment.start)),
            (segment.turn, segment.end, (segment.start, segment.fork)),
        ):
            for start in range(begin, end, QUERY_BLOCK):
                blocks.append(Block(start, min(start + QUERY_BLOCK, end), trunk, begin))
    return blocks


def keys_of(block: Block, x_GTD: torch.Tensor, multiple: int) -> torch.Tensor:
    """The rows of a block's keys, with zeros after them up to a multiple."""
    parts = [x_GTD[:, block.trunk[0] : block.trunk[1]]] if block.num_shared else []
    parts.append(x_GTD[:, block.branch : block.stop])
    if extra := -block.num_keys % multiple:
        parts.append(x_GTD.new_zeros(len(x_GTD), extra, x_GTD.shape[2]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def add_to_keys(block: Block, gradient_GTD: torch.Tensor, part_GKD: torch.Tensor) -> None:
    if block.num_shared:
        gradient_GTD[:, block.trunk[0] : block.trunk[1]] += part_GKD[:, : block.num_shared]
    gradient_GTD[:, block.branch : block.stop] += part_GKD[:, block.num_shared : block.num_keys]


def spread(x_GRTD: torch.Tensor, block: Block, multiple: int, scale: float = 1.0) -> torch.Tensor:
    """A block's rows times `scale`, the heads of a group one after the other, each with zeros up to a multiple."""
    groups, repeat, _, width = x_GRTD.shape
    rows = x_GRTD.new_zeros(groups, repeat, block.num_queries + -block.num_queries % multiple, width)
    torch.mul(x_GRTD[:, :, block.start : block.stop], scale, out=rows[:, :, : block.num_queries])
    return rows.flatten(1, 2)


def hide(scores_GRQK: torch.Tensor, block: Block, window: int | None) -> None:
    """Sets the scores of later keys, of keys out of the sliding window, and of padding to -inf in place. A block's last
    keys are its queries' own positions; the padding's own queries see all keys, and their output is not read."""
    num_queries, num_keys = block.num_queries, block.num_keys
    scores_GRQK[..., num_keys:] = float("-inf")
    scores_GRQK = scores_GRQK[..., :num_queries, :num_keys]
    own = scores_GRQK[..., num_keys - num_queries :]
    own += torch.full((num_queries, num_queries), float("-inf"), dtype=own.dtype, device=own.device).triu_(1)
    if window is not None and num_keys > window:
        ones = torch.ones(num_queries, num_keys, dtype=torch.bool, device=own.device)
        scores_GRQK.masked_fill_(ones.tril_(num_keys - num_queries - window), float("-inf"))


def softmax_beside(scores_GQK: torch.Tensor, sinks_H: torch.Tensor | None) -> torch.Tensor:
    """Softmax over keys and the head's sink, without the sink: its gradient by the scores is that of any softmax."""
    if sinks_H is None:
        return torch.softmax(scores_GQK, dim=-1)
    groups, rows, _ = scores_GQK.shape
    each_head = groups * rows // len(sinks_H)
    sinks_GQ1 = sinks_H.detach().to(scores_GQK.dtype).repeat_interleave(each_head).view(groups, rows, 1)
    return torch.softmax(torch.cat([scores_GQK, sinks_GQ1], dim=-1), dim=-1)[..., :-1].contiguous()


class PackedAttention(torch.autograd.Function):
    """softmax(scaling * Q K^T) V over a pack, by blocks, with its gradient. Rows of no segment give and get zeros."""

    @staticmethod
    def forward(
        ctx: Any,
        query_HTD: torch.Tensor,
        key_GTD: torch.Tensor,
        value_GTD: torch.Tensor,
        segments: tuple[Segment, ...],
        settings: AttentionSettings,
    ) -> torch.Tensor:
        heads, length, _ = query_HTD.shape
        groups, multiple = key_GTD.shape[0], shape_multiple(key_GTD)
        repeat = heads // groups
        key_GTD, value_GTD = key_GTD.contiguous(), value_GTD.contiguous()
        out_TGRD = query_HTD.new_zeros(length, groups, repeat, value_GTD.shape[2])
        query_GRTD = query_HTD.unflatten(0, (groups, repeat))
        saved = []
        for block in query_blocks(segments):
            query = spread(query_GRTD, block, multiple, settings.scaling)
            scores = torch.bmm(query, keys_of(block, key_GTD, multiple).transpose(1, 2))
            capped = scores
            if settings.softcap is not None:
                capped = scores.div_(settings.softcap).tanh_()
                scores = capped * settings.softcap
            hide(scores.unflatten(1, (repeat, -1)), block, settings.sliding_window)
            weights = softmax_beside(scores, settings.sinks_H)
            out = torch.bmm(weights, keys_of(block, value_GTD, multiple)).unflatten(1, (repeat, -1))
            out_TGRD[block.start : block.stop] = out[:, :, : block.num_queries].permute(2, 0, 1, 3)
            saved += [query, weights] if settings.softcap is None else [query, weights, capped]
        ctx.save_for_backward(key_GTD, value_GTD, *saved)
        ctx.segments, ctx.settings = segments, settings
        return out_TGRD.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, grad_THD: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        key_GTD, value_GTD, *saved = ctx.saved_tensors
        settings: AttentionSettings = ctx.settings
        groups, length, width = key_GTD.shape
        multiple = shape_multiple(key_GTD)
        grad_GRTD = grad_THD.unflatten(1, (groups, -1)).permute(1, 2, 0, 3)
        repeat = grad_GRTD.shape[1]
        dquery_GRTD = key_GTD.new_zeros(groups, repeat, length, width)
        dkey_GTD, dvalue_GTD = torch.zeros_like(key_GTD), torch.zeros_like(value_GTD)
        step = 2 if settings.softcap is None else 3
        for index, block in enumerate(query_blocks(ctx.segments)):
            query, weights = saved[step * index : step * index + 2]
            grad = spread(grad_GRTD, block, multiple)
            add_to_keys(block, dvalue_GTD, torch.bmm(weights.transpose(1, 2), grad))
            dweights = torch.bmm(grad, keys_of(block, value_GTD, multiple).transpose(1, 2))
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            if settings.softcap is not None:
                dscores *= 1 - saved[step * index + 2].square()
            add_to_keys(block, dkey_GTD, torch.bmm(dscores.transpose(1, 2), query))
            dquery = torch.bmm(dscores, keys_of(block, key_GTD, multiple)).unflatten(1, (repeat, -1))
            here = slice(block.start, block.stop)
            torch.mul(dquery[:, :, : block.num_queries], settings.scaling, out=dquery_GRTD[:, :, here])
        return dquery_GRTD.flatten(0, 1), dkey_GTD, dvalue_GTD, None, None


def fused_attention(
    query_HTD: torch.Tensor,
    key_GTD: torch.Tensor,
    value_GTD: torch.Tensor,
    segments: tuple[Segment, ...],
    settings: AttentionSettings,
) -> torch.Tensor:
    """The same by the fused kernel: each side of each pair becomes a row [trunk | side], padded on the right."""
    rows = [
        torch.cat([torch.arange(s.start, s.fork), torch.arange(*side)])
        for s in segments
        for side in ((s.fork, s.turn), (s.turn, s.end))
    ]
    length = max(len(row) for row in rows)
    device = query_HTD.device
    gather_BS = torch.stack([F.pad(row, (0, length - len(row))) for row in rows]).to(device)
    back_T = torch.zeros(query_HTD.shape[1], dtype=torch.long)
    for index, row in reversed(list(enumerate(rows))):  # reversed: the trunk is read from the chosen side's row
        back_T[row] = index * length + torch.arange(len(row))
    query, key, value = (x[:, gather_BS].transpose(0, 1) for x in (query_HTD, key_GTD, value_GTD))
    mask = None
    if settings.sliding_window is not None and length > settings.sliding_window:
        ones = torch.ones(length, length, dtype=torch.bool, device=device)
        mask = ones.tril() & ones.triu(1 - settings.sliding_window)
    out_BHSD = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=settings.scaling, enable_gqa=True
    )
    return out_BHSD.transpose(1, 2).flatten(0, 1)[back_T.to(device)]


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (1, heads, T, D) in, (1, T, heads, D) out, within segments.

    A family that leaves its window to the mask names it in the module.
    """
    unknown = [name for name in ("position_bias", "cache") if others.get(name) is not None]
    if unknown or not getattr(module, "is_causal", True):
        kind = unknown[0] if unknown else "bidirectional"
        raise UserError(f"{type(module).__name__}: attention of the kind {kind!r} is not supported")
    window = others["sliding_window"] if "sliding_window" in others else getattr(module, "sliding_window", None)
    sinks_H = others.get("s_aux")
    settings = AttentionSettings(query.shape[-1] ** -0.5 if scaling is None else scaling, window, softcap, sinks_H)
    segments = SEGMENTS.get()
    if query.device.type != "cpu" and softcap is None and sinks_H is None:
        out_THD = fused_attention(query[0], key[0], value[0], segments, settings)
    else:
        out_THD = PackedAttention.apply(query[0], key[0], value[0], segments, settings)  # type: ignore[no-untyped-call]
    return out_THD[None], None


AttentionInterface.register(IMPLEMENTATION, packed_attention)
