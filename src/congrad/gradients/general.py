"""The general pass: the sketches of `sketch.py` from a model's own forward, one pair at a time.

It asks nothing of a model but its forward. Prompt and chosen, prompt and rejected run one after the other, unpadded and
without a mask; one backward pass serves both where they are short. Plain linear layers are hooked as in the packed
pass: their inputs and output gradients are sketched, and no gradient of their weight is made. The other matrices of the
space require a gradient; each is taken as it arrives, projected to P G Q^T with the projections of the packed pass,
added to the pair's sketch and freed, so that gradients take the memory of one matrix. What arrives in several parts (a
block that is recomputed, or used twice) adds up all the same.

A forward may read a layer's weight without calling the layer. That is found by trying (`called_layers`): on a few
tokens the gradient of every such weight is taken both ways.

Shapes: B sequences (mostly 1) of T tokens, N predicted tokens, V vocabulary, p the projection size, E experts, O x I a
matrix of outputs x inputs.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from congrad.errors import UserError
from congrad.gradients.experts import ExpertSketch, ExpertSketches
from congrad.gradients.packing import IntArray, Triple, side_weights
from congrad.gradients.projection import CountSketch, count_sketch
from congrad.gradients.sketch import PairSketches, hooked
from congrad.gradients.space import Space, SpaceLayer
from congrad.models.device import CHOSEN, PROMPT, REJECTED
from congrad.settings.index import Normalise

PLAIN = (nn.Linear, Conv1D)
PROBE_SIZE = 16
SAME = 0.05  # relative: rounding of half precision is below, a gradient of another place in the forward above
TOGETHER = 1024  # tokens of both sequences that one backward pass serves: their gradients are projected once

Project = Callable[[torch.Tensor], torch.Tensor]
"""From a parameter's gradient to its p x p sketch."""


def own_logits(model: PreTrainedModel, ids_BT: torch.Tensor, num_last: int) -> torch.Tensor:
    """The logits of the last tokens, B x num_last x V, by the model's own forward."""
    takes = inspect.signature(model.forward).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values())
    options: dict[str, Any] = {"use_cache": False} if takes_any or "use_cache" in takes else {}
    if "logits_to_keep" in takes:
        options["logits_to_keep"] = num_last
    forget_lengths(model)
    logits: torch.Tensor = model(input_ids=ids_BT, **options).logits
    if logits.shape[1] not in (ids_BT.shape[1], num_last):  # such as a diffusion model's, of what it would write
        raise ValueError(f"its logits are of {logits.shape[1]} tokens")
    return logits[:, -num_last:]


def forget_lengths(model: PreTrainedModel) -> None:
    """Takes dynamic RoPE back to its first frequencies: it keeps those of the longest sequence so far, and a pair's
    sketch may not depend on what ran before it."""
    for module in model.modules():
        if not hasattr(module, "max_seq_len_cached") or not hasattr(module, "original_max_seq_len"):
            continue
        for name in [name for name in vars(module) | module._buffers if name.endswith("original_inv_freq")]:
            setattr(module, name.replace("original_", ""), getattr(module, name).to(model.device, copy=True))
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
            setattr(module, name, module.original_max_seq_len)


def as_ids(model: PreTrainedModel, *parts: IntArray) -> torch.Tensor:
    """1 x T, on the model's device."""
    return torch.from_numpy(np.concatenate(parts)).long()[None].to(model.device)


def response_logits(model: PreTrainedModel, prompt: IntArray, response: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits that predict the response, N x V, and its ids."""
    ids_1T = as_ids(model, prompt, response)
    return own_logits(model, ids_1T, len(response) + 1)[0, :-1], ids_1T[0, len(prompt) :]


def projections(
    space: Space, without: Collection[str], size: int, seed: int, device: torch.device
) -> Iterator[tuple[str, nn.Parameter, Project]]:
    """Name and weight of every layer but some, every other parameter of the space, and how the gradient is sketched."""
    own = (size, seed, device)
    for layer in space.layers:
        if layer.name in without:
            continue
        is_transposed = isinstance(layer.module, Conv1D)
        weight: nn.Parameter = layer.module.get_parameter("weight")
        yield layer.name, weight, of_matrix(layer.left(*own), layer.right(*own), is_transposed=is_transposed)
    for each in space.experts:
        drawn, is_transposed = ExpertSketches.draw(each, *own), each.module.is_transposed
        up, down = each.parameters
        yield each.name, up, of_experts(drawn.left_of_up, drawn.right_of_up, is_transposed=is_transposed)
        yield each.name, down, of_experts(drawn.left_of_down, drawn.right_of_down, is_transposed=is_transposed)
    for matrix in space.matrices:
        rows, columns = matrix.parameter.shape[-2:]
        left = ExpertSketch.draw(matrix.name, matrix.parameter.numel() // (rows * columns), "left", rows, *own)
        right = count_sketch(f"{matrix.name}/{columns}", "right", columns, *own)
        yield matrix.name, matrix.parameter, of_experts(left, right)


def of_matrix(left: CountSketch, right: CountSketch, *, is_transposed: bool) -> Project:
    return lambda gradient: left(right(gradient.T if is_transposed else gradient).T).T


def of_experts(
    left: CountSketch | ExpertSketch, right: CountSketch | ExpertSketch, *, is_transposed: bool = False
) -> Project:
    """One matrix after the other: all at once would take several times the memory of the parameter."""

    def project(gradient: torch.Tensor) -> torch.Tensor:
        gradient_EOI = gradient.reshape(-1, *gradient.shape[-2:])
        gradient_EOI = gradient_EOI.transpose(1, 2) if is_transposed else gradient_EOI
        parts = []
        for expert, gradient_OI in enumerate(gradient_EOI):
            one, other = (each.of(expert) if isinstance(each, ExpertSketch) else each for each in (left, right))
            parts.append(one(other(gradient_OI).T).T)
        return torch.stack(parts).sum(0)

    return project


Add = Callable[[str, torch.Tensor], None]
"""Takes a part of a sketch (p x p): of a parameter's gradient by the parameter's name, of a call by `name_of_call`."""


class GradientTaker:
    """Hooks on the layers and parameters of a space that give parts of a sketch while the backward pass goes down.

    Args:
        add: takes the parts.
        called: the layers whose inputs and output gradients are taken.
        without: the names of the layers whose weight's gradient is not.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        space: Space,
        size: int,
        seed: int,
        add: Add,
        called: Sequence[SpaceLayer],
        without: Collection[str],
    ) -> None:
        self._handles: list[RemovableHandle] = []
        self._parameters: list[nn.Parameter] = []
        self._add, self._read = add, (torch.empty(0), "", torch.empty(0))
        own = (size, seed, model.device)
        rights = {layer.right_name: layer.right(*own) for layer in called}
        for layer in called:
            hook = self._on_call(layer, layer.left(*own), rights[layer.right_name])
            self._handles.append(layer.module.register_forward_hook(hook, with_kwargs=True))
        for name, parameter, project in projections(space, without, *own):
            parameter.requires_grad_(True)
            self._parameters.append(parameter)
            self._handles.append(parameter.register_post_accumulate_grad_hook(self._on_gradient(name, project)))
        if 0 in space.blocks:
            # A block that is recomputed in the backward pass (reentrant checkpointing) needs an input with a gradient.
            embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
            self._handles += [module.register_forward_hook(with_gradient) for module in embeddings]

    def _on_call(self, layer: SpaceLayer, left: CountSketch, right: CountSketch) -> Callable[..., torch.Tensor]:
        def record(module: nn.Module, args: Any, options: dict[str, Any], output: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():  # it will be recomputed
                return output
            inputs = args[0] if args else options["input"]
            if self._read[0] is not inputs or self._read[1] != layer.right_name:  # query, key and value read the same
                self._read = (inputs, layer.right_name, right(inputs.detach().flatten(0, -2)))
            right_Tp = self._read[2]
            return hooked(output, lambda gradient: self._take(name, left(gradient.flatten(0, -2)).T @ right_Tp))

        name = name_of_call(layer)
        return record

    def _on_gradient(self, name: str, project: Project) -> Callable[[torch.Tensor], None]:
        @torch.no_grad()
        def take(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            self._take(name, project(parameter.grad))
            parameter.grad = None

        return take

    def _take(self, name: str, part_pp: torch.Tensor) -> None:
        self.num_taken += 1
        self._add(name, part_pp.mul_(self.weight))

    def take(
        self, model: PreTrainedModel, prompt: IntArray, sides: Sequence[tuple[IntArray, float]]
    ) -> list[torch.Tensor]:
        """Adds the sum of weight times the sketch of grad log p(response) over sides; returns each log p."""
        self.weight, self.num_taken = sides[0][1], 0
        logps = go_back(model, prompt, sides)
        self._read = (torch.empty(0), "", torch.empty(0))
        if self.num_taken == 0:
            raise no_gradient(model)
        return logps

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        for parameter in self._parameters:
            parameter.requires_grad_(False)
            parameter.grad = None  # of a pass that an error ended


def name_of_call(layer: SpaceLayer) -> str:
    return f"{layer.name}()"


def called_layers(model: PreTrainedModel, space: Space) -> list[SpaceLayer]:
    """The plain linear layers whose weight's gradient is that of their calls, by both on a few tokens."""
    plain = [layer for layer in space.layers if type(layer.module) in PLAIN and "forward" not in vars(layer.module)]
    sums: dict[str, torch.Tensor] = {}

    def add(name: str, part_pp: torch.Tensor) -> None:
        sums[name] = sums[name] + part_pp if name in sums else part_pp

    with closing(GradientTaker(model, space, PROBE_SIZE, 0, add, called=plain, without=())) as taker:
        taker.take(model, np.array(PROMPT), [(np.array(CHOSEN), 1.0), (np.array(REJECTED), -1.0)])
    zero = torch.zeros(PROBE_SIZE, PROBE_SIZE, device=model.device)
    both = [(sums.get(name_of_call(layer), zero), sums.get(layer.name, zero)) for layer in plain]
    return [
        layer
        for layer, (one, other) in zip(plain, both, strict=True)
        if float((one - other).norm()) <= SAME * float(other.norm())
    ]


def go_back(model: PreTrainedModel, prompt: IntArray, sides: Sequence[tuple[IntArray, float]]) -> list[torch.Tensor]:
    """One backward pass from the sum of weight times log p(response) over sides, over the first weight; returns each
    log p."""
    logits, gradients, logps = [], [], []
    for response, weight in sides:
        logits_NV, targets_N = response_logits(model, prompt, response)
        if not logits_NV.requires_grad:
            raise no_gradient(model)
        logp, gradient_NV = logp_and_gradient(logits_NV.detach(), targets_N)
        logits.append(logits_NV)
        gradients.append(gradient_NV.mul_(weight / sides[0][1]))  # about 1, as half precision likes it
        logps.append(logp)
    torch.autograd.backward(logits, gradients)
    return logps


def with_gradient(module: nn.Module, args: tuple[object, ...], output: object) -> object:
    """A forward hook of embeddings; a copy, since the model may go on in place. Some of positions return a tuple."""
    if isinstance(output, torch.Tensor) and torch.is_grad_enabled():
        return output.detach().requires_grad_(True).clone()
    return output


def no_gradient(model: PreTrainedModel) -> UserError:
    name, kind = model.config.name_or_path, type(model).__name__
    return UserError(f"model {name!r}: no gradient reaches the weights of {kind}", "use a model that can be trained")


@torch.no_grad()
def logp_and_gradient(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed log p of the targets (float32), and its gradient by the logits (of their dtype).

    The target's own term, 1 - p, is the sum of the others: precise where p is near 1.
    """
    logp_NV = logits_NV.float().log_softmax(-1)
    logp = logp_NV.gather(1, targets_N[:, None]).sum()
    gradient_NV = logp_NV.exp_().scatter_(1, targets_N[:, None], 0).neg_()
    return logp, gradient_NV.scatter_(1, targets_N[:, None], -gradient_NV.sum(1, keepdim=True)).to(logits_NV.dtype)


@contextmanager
def general_scorer(model: PreTrainedModel) -> Iterator[Callable[[Sequence[Triple]], PairSketches]]:
    """While open, a function from pairs to their log-probabilities alone (their sketches are empty)."""
    assert not model.training

    @torch.no_grad()
    def score(pairs: Sequence[Triple]) -> PairSketches:
        logps = [
            logp_and_gradient(*response_logits(model, prompt, response))[0].cpu()
            for prompt, *responses in pairs
            for response in responses
        ]
        return PairSketches(torch.empty(len(pairs), 0), torch.stack(logps).view(-1, 2))

    yield score


@contextmanager
def general_sketcher(
    model: PreTrainedModel,
    *,
    size: int,
    seed: int,
    layers: str | None = None,
    normalise: Normalise = "sum",
    packed: bool = False,
    hooks: bool = True,
) -> Iterator[Callable[[Sequence[Triple]], PairSketches]]:
    """While open, a function from pairs to their sketches; the model is as it was afterwards.

    Args:
        model: a causal language model in evaluation mode; none of its weights may require a gradient.
        size: projection size p; a sketch is p x p.
        layers: see `space.parse_layers`.
        normalise: as of `packing.pack`.
        packed: take the space of the packed pass.
        hooks: whether to hook the layers where that serves.
    """
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters()), "freeze the model first"
    space, sum_pp = Space.of(model, layers, packed=packed), torch.zeros(size, size, device=model.device)
    called = called_layers(model, space) if hooks else []
    without = {layer.name for layer in called}

    def add(name: str, part_pp: torch.Tensor) -> None:
        sum_pp.add_(part_pp)

    with closing(GradientTaker(model, space, size, seed, add, called, without)) as taker:

        def one(triple: Triple) -> tuple[torch.Tensor, torch.Tensor]:
            prompt, chosen, rejected = triple
            sum_pp.zero_()
            sides = list(zip((chosen, rejected), side_weights(chosen, rejected, normalise), strict=True))
            together = 2 * len(prompt) + len(chosen) + len(rejected) <= TOGETHER
            parts = [sides] if together else [[side] for side in sides]
            logps = [logp for part in parts for logp in taker.take(model, prompt, part)]
            return sum_pp.flatten().clone().cpu(), torch.stack(logps).cpu()

        def sketch(pairs: Sequence[Triple]) -> PairSketches:
            sketches, logps = zip(*(one(triple) for triple in pairs), strict=True)
            return PairSketches(torch.stack(sketches), torch.stack(logps))

        yield sketch
