"""Pair sketches: one packed forward and backward pass over frozen weights, every weight gradient compressed on the way.

A linear layer's weight gradient is sum_t d_t a_t^T over its inputs a and output gradients d. Hooks sketch both as they
appear, and the sketch of pair i is the sum over layers and the pair's tokens of (P d_t)(Q a_t)^T, with P and Q of the
layer's own: the gradient itself is never formed.

Shapes: T tokens in the pack, B pairs of at most L tokens, p the projection size, D = p^2 dims of a sketch.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from congrad.errors import UserError
from congrad.gradients.attention import IMPLEMENTATION, attention_within
from congrad.gradients.experts import Experts, ExpertsForward
from congrad.gradients.head import Head, log_probabilities
from congrad.gradients.memory import keep_freed_memory, shape_multiple
from congrad.gradients.norm import faster_norms
from congrad.gradients.packing import Pack
from congrad.gradients.projection import CountSketch
from congrad.gradients.space import SpaceLayer, expert_space, gradient_space

PLAIN = (nn.Linear.forward, Conv1D.forward)


@dataclass(frozen=True)
class PairSketches:
    """What one pack gives: sketches (B x D, float32) and summed log-probabilities of both sides (B x 2, float32)."""

    sketches_BD: torch.Tensor
    logps_B2: torch.Tensor


@dataclass
class InputRecord:
    """One input that layers of the space have read (query, key and value read the same), how many of them have not got
    their output gradient yet, and the sum of the gradients that have come."""

    right_Tp: torch.Tensor
    readers: int = 0
    left_Tp: torch.Tensor | None = None


class Recorder:
    """Hooks on the layers of the space that add up the pairs' sketches while the backward pass goes down.

    The projections of two layers are independent, so the sum of the layers' sketches is a sketch of the whole gradient.
    Keeping them apart would take many times the memory and hardly rank better: p decides (docs/performance.md).

    A layer may be called several times, or not at all. The weight of one that has not been called yet requires a
    gradient, so that a forward that reads it without a call is noticed.

    Raises:
        UserError: a layer of the space is not a plain linear layer.
    """

    def __init__(
        self, space: list[SpaceLayer], experts: list[Experts], size: int, seed: int, device: torch.device
    ) -> None:
        for layer in space:
            if "forward" in vars(layer.module) or type(layer.module).forward not in PLAIN:
                raise UserError(f"{layer.name} ({type(layer.module).__name__}) has a forward of its own")
        self.size = size
        self._last: tuple[torch.Tensor, CountSketch, InputRecord] | None = None
        self._handles: list[RemovableHandle] = []
        rights: dict[str, CountSketch] = {}
        for layer in space:
            left = layer.left(size, seed, device)
            if layer.right_name not in rights:
                rights[layer.right_name] = layer.right(size, seed, device)
            hook = self._hook(left, rights[layer.right_name])
            self._handles.append(layer.module.register_forward_pre_hook(self._called))
            self._handles.append(layer.module.register_forward_hook(hook))
        for each in experts:
            self._handles.append(each.module.register_forward_pre_hook(self._called))
        self._experts = [ExpertsForward(each, size, seed, device, self._read) for each in experts]
        self._not_called = {layer.module: (layer.name, [layer.module.get_parameter("weight")]) for layer in space}
        self._not_called |= {each.module: (each.name, each.parameters) for each in experts}

    def begin(self, pack: Pack, num_rows: int) -> None:
        """Sets the sums to zero; hooks add to them until the backward pass has gone through every layer.

        Args:
            num_rows: that a layer reads at a time: the pack's tokens, and rows of no meaning after them.
        """
        device, self._num_tokens, self._num_rows = pack.tokens_T.device, len(pack.tokens_T), num_rows
        starts_B = torch.tensor([segment.start for segment in pack.segments], device=device)
        ends_B = torch.tensor([segment.end for segment in pack.segments], device=device)
        longest = max(segment.end - segment.start for segment in pack.segments)
        row_BL = starts_B[:, None] + torch.arange(longest, device=device)
        # Row T is zeros: packs hold pairs of like length, so there is little of it.
        self._row_BL = torch.where(row_BL < ends_B[:, None], row_BL, self._num_tokens)
        self._sums_Bpp = torch.zeros(pack.num_pairs, self.size, self.size, device=device)
        self._waiting: dict[int, InputRecord] = {}
        for _, weights in self._not_called.values():
            for weight in weights:
                weight.requires_grad_(True)

    def _called(self, module: nn.Module, args: tuple[object, ...]) -> None:
        _, weights = self._not_called.pop(module, ("", []))
        for weight in weights:
            weight.requires_grad_(False)

    def _hook(self, left: CountSketch, right: CountSketch) -> Callable[..., torch.Tensor]:
        def record_input(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            (inputs,) = args
            if self._last is None or self._last[0] is not inputs or self._last[1] is not right:
                self._last = (inputs, right, InputRecord(right(inputs.detach().flatten(0, -2))))
            return self._listen(self._last[2], output, lambda gradient: left(gradient.flatten(0, -2)))

        return record_input

    def _read(
        self, right_Tp: torch.Tensor, output: torch.Tensor, left: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """For experts: an input that nothing else reads, and the output that its gradient comes from."""
        return self._listen(InputRecord(right_Tp), output, left)

    def _listen(
        self, record: InputRecord, output: torch.Tensor, left: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Waits for the output's gradient, which `left` sketches (T x p), as one more reader of the record's input.
        Gives the output that the model goes on with."""
        if len(record.right_Tp) != self._num_rows:
            problem = f"a linear layer reads {len(record.right_Tp)} rows of {self._num_rows} tokens"
            raise UserError(problem, "set index.route to general")
        record.readers += 1
        return hooked(output, lambda gradient: self._add(record, left(gradient)))

    def _add(self, record: InputRecord, left_Tp: torch.Tensor) -> None:
        """Takes the gradient of one reader; when the last has come, the input's outer products go to the sums."""
        record.readers -= 1
        record.left_Tp = left_Tp if record.left_Tp is None else record.left_Tp.add_(left_Tp)
        self._waiting[id(record)] = record
        if record.readers == 0:
            self._sum(record)

    def _sum(self, record: InputRecord) -> None:
        assert record.left_Tp is not None
        self._sums_Bpp.baddbmm_(self._by_pair(record.left_Tp).transpose(1, 2), self._by_pair(record.right_Tp))
        record.left_Tp = None
        del self._waiting[id(record)]

    def _by_pair(self, rows_Tp: torch.Tensor) -> torch.Tensor:
        """The rows of every pair, B x L x p, zeros after the shorter ones' ends."""
        rows_Tp = rows_Tp[: self._num_tokens]
        if len(self._row_BL) == 1:
            return rows_Tp[None]
        return F.pad(rows_Tp, (0, 0, 0, 1))[self._row_BL]

    def sketches(self) -> torch.Tensor:
        """The sketch of every pair of the pack (B x D, float32 throughout).

        Raises:
            UserError: a layer's weight is read without a call, so that the sketches are not whole.
        """
        for record in list(self._waiting.values()):  # no gradient comes from their other readers
            self._sum(record)
        self._last = None
        for name, weights in self._not_called.values():
            if any(weight.grad is not None for weight in weights):
                problem = f"the forward reads the weight of {name} without calling it"
                raise UserError(problem, "set index.route to general")
        return self._sums_Bpp.flatten(1)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        for each in self._experts:
            each.close()
        for _, weights in self._not_called.values():
            for weight in weights:
                weight.requires_grad_(False)
                weight.grad = None


def hooked(output: torch.Tensor, take: Callable[[torch.Tensor], None]) -> torch.Tensor:
    """Has `take` called with the gradient of a layer's output (rows of tokens x outputs), whatever the model does with
    it, also in place. Gives the output that the model goes on with."""
    if not output.requires_grad:  # the lowest layers: the backward pass ends at their outputs
        output.requires_grad_(True).register_hook(take)
        return output.clone()  # since the model may go on in place
    # Where the output is a view, a change in place would lose its own hooks.
    made_by = (output if output._base is None else output._base).grad_fn
    assert made_by is not None
    made_by.register_prehook(lambda gradients: take(gradients[0]))
    return output


def padding_of(decoder: nn.Module, pack: Pack) -> int:
    """Rows of no meaning that a decoder reads after a pack's tokens, up to a multiple."""
    return -len(pack.tokens_T) % shape_multiple(next(decoder.parameters()))


def final_hidden_states(decoder: nn.Module, pack: Pack) -> torch.Tensor:
    """The decoder's output for a pack, T x width, with those of the padding after it."""
    extra = padding_of(decoder, pack)
    with attention_within(pack.segments):
        output = decoder(
            input_ids=F.pad(pack.tokens_T, (0, extra))[None],
            position_ids=F.pad(pack.position_ids_T, (0, extra))[None],
            use_cache=False,
        )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden


def sum_by_side(pack: Pack, logp_N: torch.Tensor) -> torch.Tensor:
    sums_B2 = torch.zeros(pack.num_pairs, 2, device=logp_N.device)
    return sums_B2.index_add_(0, pack.pairs_N, logp_N[:, None] * pack.sides_N2)


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[Head]:
    """While open, the model reads packs and its norms run fast; it is as it was afterwards. Yields its head."""
    assert not model.training
    head = Head.of(model)
    if model.device.type == "cpu":
        keep_freed_memory()
    decoder = model.get_decoder()  # a tower may have an attention that cannot be set
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation(IMPLEMENTATION)
    try:
        with faster_norms(model):
            yield head
    finally:
        decoder.set_attn_implementation(before)


@torch.no_grad()
def packed_logps(model: PreTrainedModel, head: Head, pack: Pack) -> torch.Tensor:
    """log p of every predicted token (N, float32) of a model that is `packed`, which gave its head."""
    hidden_TE = final_hidden_states(model.get_decoder(), pack)
    nothing_N = torch.zeros_like(pack.coefficients_N)
    logp_N, _ = log_probabilities(head, hidden_TE[pack.positions_N], pack.targets_N, nothing_N)
    return logp_N


@contextmanager
def scorer(model: PreTrainedModel) -> Iterator[Callable[[Pack], PairSketches]]:
    """While open, a function from a pack to its log-probabilities alone (its sketches are empty)."""
    with packed(model) as head:

        def score(pack: Pack) -> PairSketches:
            pack = pack.to(model.device)
            logps_B2 = sum_by_side(pack, packed_logps(model, head, pack))
            return PairSketches(torch.empty(pack.num_pairs, 0), logps_B2.cpu())

        yield score


@contextmanager
def sketcher(
    model: PreTrainedModel, *, size: int, seed: int, layers: str | None = None
) -> Iterator[Callable[[Pack], PairSketches]]:
    """While open, a function from a pack to its sketches; the model is as it was afterwards.

    Args:
        model: a causal language model in evaluation mode; none of its weights may require a gradient.
        size: projection size p; a sketch is p x p.
        layers: see `space.parse_layers`.
    """
    assert not any(parameter.requires_grad for parameter in model.parameters()), "freeze the model first"
    decoder, device = model.get_decoder(), model.device
    space, experts = gradient_space(model, layers), expert_space(model, layers)
    # The head is measured before there are hooks.
    with packed(model) as head, closing(Recorder(space, experts, size, seed, device)) as recorder:

        def sketch(pack: Pack) -> PairSketches:
            pack = pack.to(device)
            recorder.begin(pack, len(pack.tokens_T) + padding_of(decoder, pack))
            hidden_TE = final_hidden_states(decoder, pack)
            with torch.no_grad():
                logp_N, dhidden_NE = log_probabilities(
                    head, hidden_TE.detach()[pack.positions_N], pack.targets_N, pack.coefficients_N
                )
                dhidden_TE = torch.zeros_like(hidden_TE).index_add_(0, pack.positions_N, dhidden_NE)
            hidden_TE.backward(dhidden_TE)
            return PairSketches(recorder.sketches().cpu(), sum_by_side(pack, logp_N).cpu())

        yield sketch
