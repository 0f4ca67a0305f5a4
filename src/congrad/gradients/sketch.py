"""Pair sketches: one packed forward and backward pass over frozen weights, every weight gradient compressed on the way.

A linear layer's weight gradient is sum_t d_t a_t^T over its inputs a and output gradients d. Hooks project both as they
appear, and the sketch of pair i is sum_t (P d_t)(Q a_t)^T over the pair's tokens: the gradient itself is never formed.

Shapes: T tokens in the pack, B pairs, M layers of the space, p the projection size, D = dims of a whole sketch.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from congrad.gradients.attention import IMPLEMENTATION
from congrad.gradients.head import Head, log_probabilities
from congrad.gradients.memory import keep_freed_memory, shape_multiple
from congrad.gradients.norm import faster_norms
from congrad.gradients.packing import Pack
from congrad.gradients.projection import projection
from congrad.gradients.space import SpaceLayer, gradient_space


def slot_of_layers(space: list[SpaceLayer], slots: int) -> torch.Tensor:
    """The slot of every layer (M, ascending from 0): runs of decoder blocks as equal as can be, one block at the least.

    The projections of two layers are independent, so a sum of their sketches is a sketch of both. Many layers in one
    slot cost little: p decides how well scores rank, not the number of slots (docs/performance.md).
    """
    blocks = sorted({layer.block for layer in space})
    slots = min(slots, len(blocks))
    return torch.tensor([blocks.index(layer.block) * slots // len(blocks) for layer in space])


@dataclass(frozen=True)
class PairSketches:
    """What one pack gives: sketches (B x D, float32) and summed log-probabilities of both sides (B x 2, float32)."""

    sketches_BD: torch.Tensor
    logps_B2: torch.Tensor


class Recorder:
    """Hooks on the layers of the space that keep, per layer, the projected inputs and output gradients of one pass."""

    def __init__(
        self, space: list[SpaceLayer], size: int, seed: int, device: torch.device, slots: int | None = None
    ) -> None:
        self.slot_M = None if slots is None else slot_of_layers(space, slots)
        self.left_MTp: list[torch.Tensor | None] = [None] * len(space)
        self.right_MTp: list[torch.Tensor | None] = [None] * len(space)
        self._last_input: torch.Tensor | None = None
        self._last_right: tuple[torch.Tensor, torch.Tensor] | None = None
        self._handles: list[RemovableHandle] = []
        rights: dict[tuple[str, int], torch.Tensor] = {}
        for index, layer in enumerate(space):
            assert isinstance(layer.module.weight, torch.Tensor)
            dtype = layer.module.weight.dtype
            left = projection(layer.name, "left", layer.num_outputs, size, seed, device=device, dtype=dtype)
            # Layers that may read the same input (query, key and value; gate and up) share its projection.
            parent = layer.name.rpartition(".")[0]
            key = (parent, layer.num_inputs)
            if key not in rights:
                rights[key] = projection(
                    f"{parent}/{layer.num_inputs}", "right", layer.num_inputs, size, seed, device=device, dtype=dtype
                )
            self._handles.append(layer.module.register_forward_hook(self._hook(index, left, rights[key])))

    def _hook(self, index: int, left_Op: torch.Tensor, right_Ip: torch.Tensor) -> Callable[..., torch.Tensor]:
        def record_gradient(gradient: torch.Tensor) -> None:
            self.left_MTp[index] = (gradient.flatten(0, -2) @ left_Op).float()

        def record_input(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            (inputs,) = args
            if self._last_input is not inputs or self._last_right is None or self._last_right[0] is not right_Ip:
                self._last_input = inputs
                self._last_right = (right_Ip, (inputs.detach().flatten(0, -2) @ right_Ip).float())
            self.right_MTp[index] = self._last_right[1]
            if not output.requires_grad:  # the lowest layers: the backward pass ends at their outputs
                output.requires_grad_(True)
            output.register_hook(record_gradient)
            return output

        return record_input

    def sketches(self, pack: Pack) -> torch.Tensor:
        """The sketch of every pair of the pack, layer by layer or slot by slot (B x D, float32 throughout)."""
        assert all(part is not None for part in self.left_MTp), "a layer of the space took no part in the pass"
        left_MTp = torch.stack([part for part in self.left_MTp if part is not None])
        right_MTp = torch.stack([part for part in self.right_MTp if part is not None])
        self.left_MTp = [None] * len(self.left_MTp)
        self._last_input = self._last_right = None
        rows = []
        for s in pack.segments:
            blocks = torch.bmm(left_MTp[:, s.start : s.end].transpose(1, 2), right_MTp[:, s.start : s.end])
            if self.slot_M is not None:
                slots = blocks.new_zeros(int(self.slot_M[-1]) + 1, *blocks.shape[1:])
                blocks = slots.index_add_(0, self.slot_M.to(blocks.device), blocks)
            rows.append(blocks.flatten())
        return torch.stack(rows)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


def final_hidden_states(decoder: nn.Module, pack: Pack) -> torch.Tensor:
    """The decoder's output for a pack, T x width, with rows of no meaning after it up to a multiple."""
    extra = -len(pack.tokens_T) % shape_multiple(next(decoder.parameters()))
    output = decoder(
        input_ids=F.pad(pack.tokens_T, (0, extra))[None],
        position_ids=F.pad(pack.position_ids_T, (0, extra))[None],
        use_cache=False,
        segments=pack.segments,
    )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden


def sum_by_side(pack: Pack, logp_N: torch.Tensor) -> torch.Tensor:
    """Summed log-probabilities of (chosen, rejected), B x 2."""
    sums_B2 = torch.zeros(pack.num_pairs, 2, device=logp_N.device)
    return sums_B2.index_add_(0, pack.pairs_N, logp_N[:, None] * pack.sides_N2)


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """While open, the model reads packs and its norms run fast; it is as it was afterwards."""
    assert not model.training
    if model.device.type == "cpu":
        keep_freed_memory()
    before = model.config._attn_implementation
    model.set_attn_implementation(IMPLEMENTATION)
    try:
        with faster_norms(model):
            yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def scorer(model: PreTrainedModel) -> Iterator[Callable[[Pack], PairSketches]]:
    """While open, a function from a pack to its log-probabilities alone (its sketches are empty)."""
    head, decoder = Head.of(model), model.get_decoder()
    with packed(model):

        @torch.no_grad()
        def score(pack: Pack) -> PairSketches:
            pack = pack.to(model.device)
            hidden_TE = final_hidden_states(decoder, pack)
            nothing_N = torch.zeros_like(pack.coefficients_N)
            logp_N, _ = log_probabilities(head, hidden_TE[pack.positions_N], pack.targets_N, nothing_N)
            return PairSketches(torch.empty(pack.num_pairs, 0), sum_by_side(pack, logp_N).cpu())

        yield score


@contextmanager
def sketcher(
    model: PreTrainedModel, *, size: int, seed: int, layers: str | None = None, slots: int | None = None
) -> Iterator[Callable[[Pack], PairSketches]]:
    """While open, a function from a pack to its sketches; the model is as it was afterwards.

    Args:
        model: a causal language model in evaluation mode; none of its weights may require a gradient.
        size: projection size p; a layer's sketch is p x p.
        layers: see `space.parse_layers`.
        slots: sum the layers' sketches in so many runs of decoder blocks; None keeps every layer's apart.
    """
    assert not any(parameter.requires_grad for parameter in model.parameters()), "freeze the model first"
    head, decoder, device = Head.of(model), model.get_decoder(), model.device
    recorder = Recorder(gradient_space(model, layers), size, seed, device, slots)
    with closing(recorder), packed(model):

        def sketch(pack: Pack) -> PairSketches:
            pack = pack.to(device)
            hidden_TE = final_hidden_states(decoder, pack)
            with torch.no_grad():
                logp_N, dhidden_NE = log_probabilities(
                    head, hidden_TE.detach()[pack.positions_N], pack.targets_N, pack.coefficients_N
                )
                dhidden_TE = torch.zeros_like(hidden_TE).index_add_(0, pack.positions_N, dhidden_NE)
            hidden_TE.backward(dhidden_TE)
            return PairSketches(recorder.sketches(pack).cpu(), sum_by_side(pack, logp_N).cpu())

        yield sketch
