"""The gradient space: which weight matrices of the model a pair's gradient is taken over.

These are the linear layers in the decoder blocks (`nn.Linear`, GPT-2's `Conv1D`), the experts of mixtures, and what is
a matrix without being either (fused projections, experts of another kind, Mamba's A), which only the general pass can
see; with a LoRA adapter, its two matrices per adapted layer and nothing else, and of a new one only B, since the
gradient of A is zero. Quantised weights have no gradient. Embeddings, the LM head, whatever shares its weight with
these, routers, norms, convolutions and biases stay out, and so do towers for images and sound with what leads from them
to the text.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from congrad.errors import UserError
from congrad.gradients.experts import Experts, is_experts
from congrad.gradients.projection import CountSketch, count_sketch, half_sketches
from congrad.models.lora import NEW
from congrad.models.quantised import is_quantised
from congrad.models.towers import text_part, tower_modules
from congrad.settings.index import PassSettings, layer_slice

NO_MATRICES = ("bias", "norm", "scale")  # in names of parameters: vectors, one for every head or expert


@dataclass(frozen=True)
class SpaceLayer:
    """One weight matrix of the space: a module computing `input @ W^T`, seen as num_outputs x num_inputs."""

    name: str
    module: nn.Module
    block: int  # index of the decoder block it sits in
    num_inputs: int
    num_outputs: int

    @property
    def right_name(self) -> str:
        """Layers that may read the same input (query, key and value; gate and up) share its sketch."""
        return f"{self.name.rpartition('.')[0]}/{self.num_inputs}"

    def left(self, size: int, seed: int, device: torch.device) -> CountSketch:
        return count_sketch(self.name, "left", self.num_outputs, size, seed, device)

    def right(self, size: int, seed: int, device: torch.device) -> CountSketch:
        """Of a new adapter's B, one that tells halves of the ranks apart: A is a projection, too, and its error is then
        estimated from them (`congrad.filtering.fidelity`)."""
        is_new = self.name.endswith(f".lora_B.{NEW}") and min(self.num_inputs, size) > 1
        draw = half_sketches if is_new else count_sketch
        return draw(self.right_name, "right", self.num_inputs, size, seed, device)


@dataclass(frozen=True)
class Matrix:
    """A parameter of two or more dimensions that no linear layer holds: one matrix, or one for every index before."""

    name: str
    parameter: nn.Parameter


@dataclass(frozen=True)
class Space:
    """All that gradients are taken over.

    Attributes:
        matrices: what the packed pass does not see.
        tied: names of layers that are left out because their weight is an embedding's or the LM head's.
        blocks: the decoder blocks that count.
    """

    layers: list[SpaceLayer]
    experts: list[Experts]
    matrices: list[Matrix]
    tied: list[str]
    blocks: list[int]

    @staticmethod
    def of(model: PreTrainedModel, layers: str | None = None, *, packed: bool = False) -> "Space":
        """The space of the general pass, or of the packed one.

        Raises:
            UserError: `layers` is malformed, quantised weights have no adapter, or the selected blocks hold no matrix.
        """
        linear, tied = _linear_layers(model, layers)
        experts = expert_space(model, layers)
        matrices = [] if packed else matrix_space(model, layers)
        blocks = [number for number, _, _ in _selected(model, layers)]
        if not linear and not experts and not matrices:
            raise _nothing(model, blocks)
        return Space(linear, experts, matrices, tied, blocks)

    def parameters(self) -> set[int]:
        """The ids of the parameters."""
        experts = [id(parameter) for each in self.experts for parameter in each.parameters]
        matrices = [id(matrix.parameter) for matrix in self.matrices]
        return {*(id(layer.module.weight) for layer in self.layers), *experts, *matrices}

    def count(self, model: PreTrainedModel) -> tuple[int, int]:
        """See `count_weights`."""
        inside, outside = count_weights(model, self.layers, self.experts)
        num_matrices = sum(matrix.parameter.numel() for matrix in self.matrices)
        return inside + num_matrices, outside - num_matrices


def decoder_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The qualified name and the list of the decoder blocks: `config.num_hidden_layers` of them, in the decoder."""
    num_blocks = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.ModuleList)]
    aside = tower_modules(model)  # which may be as deep
    found = [(name, each) for name, each in lists if len(each) == num_blocks and id(each) not in aside]
    in_decoder = {id(module) for module in model.get_decoder().modules()}
    for name, module in sorted(found, key=lambda each: id(each[1]) not in in_decoder):
        return name, module
    raise UserError(
        f"model {model.config.name_or_path!r}: no list of {num_blocks} decoder blocks in {type(model).__name__}",
        "leave index.layers out: all of the model's matrices count then",
    )


def _selected(model: PreTrainedModel, layers: str | None) -> Iterator[tuple[int, str, nn.Module]]:
    """Number, name and module of the decoder blocks that count; all of the decoder where it has no list of them."""
    try:
        prefix, blocks = decoder_blocks(model)
    except UserError:
        if layers is not None:
            raise
        yield 0, *text_part(model)
        return
    for number in parse_layers(layers, len(blocks)):
        yield number, f"{prefix}.{number}.", blocks[number]


def parse_layers(layers: str | None, num_blocks: int) -> range:
    """The blocks that `index.layers` asks for: `None` all, `upper` the upper half, `12:` or `4:10` a Python slice."""
    PassSettings(layers=layers)  # checks it
    if layers is None:
        return range(num_blocks)
    if layers == "upper":
        return range(num_blocks // 2, num_blocks)
    blocks = range(num_blocks)[layer_slice(layers)]
    if not blocks:
        problem = f"selects none of the model's {num_blocks} decoder blocks"
        raise UserError(problem, key="index.layers", value=repr(layers))
    return blocks


def has_adapter(model: PreTrainedModel) -> bool:
    return any(".lora_A." in name for name, _ in model.named_modules())


def is_router(module: nn.Module) -> bool:
    """Whether the module chooses experts, as its class says. A plain linear layer that does counts as a layer."""
    return "Router" in type(module).__name__ or type(module).__name__.endswith("Gate")


def embedded(model: PreTrainedModel) -> set[int]:
    """The ids of the weights of embeddings and of the LM head."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    head = model.get_output_embeddings()
    return {id(weight) for weight in weights} | ({id(head.weight)} if isinstance(head, nn.Linear) else set())


def gradient_space(model: PreTrainedModel, layers: str | None = None) -> list[SpaceLayer]:
    """The linear layers that gradients are taken over, from the lowest block up, in the model's own order.

    Raises:
        UserError: `layers` is malformed, quantised weights have no adapter, or the blocks hold no linear layer.
    """
    space, _ = _linear_layers(model, layers)
    if not space:
        raise _nothing(model, [number for number, _, _ in _selected(model, layers)])
    return space


def _nothing(model: PreTrainedModel, blocks: list[int]) -> UserError:
    problem = f"model {model.config.name_or_path!r}: no linear layer in decoder blocks {blocks}"
    return UserError(problem, "choose others with index.layers, or use another model")


def _linear_layers(model: PreTrainedModel, layers: str | None) -> tuple[list[SpaceLayer], list[str]]:
    """Every linear layer once, by its first name; and the names of those that share an embedding's weight."""
    adapted, seen = has_adapter(model), embedded(model)
    if is_quantised(model) and not adapted:
        problem = f"model {model.config.name_or_path!r} is quantised, and such weights have no gradient"
        fix = "set model.adapter or model.lora, or name the checkpoint that it was made from"
        raise UserError(problem, fix)
    tied_to, head = set(seen), model.get_output_embeddings()
    space, tied = [], []
    for block, prefix, blocks in _selected(model, layers):
        for path, module in blocks.named_modules():
            is_adapter = (".lora_A." in path and not path.endswith(f".lora_A.{NEW}")) or ".lora_B." in path
            if not isinstance(module, nn.Linear | Conv1D) or is_adapter != adapted or module is head:
                continue
            if is_router(module):
                continue
            if id(module.weight) in seen:
                tied += [f"{prefix}{path}"] if id(module.weight) in tied_to else []
                continue
            seen.add(id(module.weight))
            shape = tuple(module.weight.shape)
            num_inputs, num_outputs = shape if isinstance(module, Conv1D) else shape[::-1]
            space.append(SpaceLayer(f"{prefix}{path}", module, block, num_inputs, num_outputs))
    return space, tied


def expert_space(model: PreTrainedModel, layers: str | None = None) -> list[Experts]:
    """The experts that gradients are taken over beside `gradient_space`; none with a LoRA adapter."""
    if has_adapter(model):
        return []
    return [
        Experts(f"{prefix}{path}", module)
        for _, prefix, block in _selected(model, layers)
        for path, module in block.named_modules()
        if is_experts(module)
    ]


def matrix_space(model: PreTrainedModel, layers: str | None = None) -> list[Matrix]:
    """The matrices beside both, by the parameters' names; none with a LoRA adapter."""
    if has_adapter(model):
        return []
    seen, found = embedded(model), []
    for _, prefix, block in _selected(model, layers):
        for path, module in block.named_modules():
            if isinstance(module, nn.Linear | Conv1D | nn.Embedding | _ConvNd) or is_experts(module):
                continue
            if "Norm" in type(module).__name__ or is_router(module):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                is_matrix = sum(size > 1 for size in parameter.shape) > 1 and parameter.is_floating_point()
                if id(parameter) in seen or not is_matrix or any(word in name for word in NO_MATRICES):
                    continue
                seen.add(id(parameter))
                found.append(Matrix(f"{prefix}{path}.{name}" if path else f"{prefix}{name}", parameter))
    return found


def count_weights(model: PreTrainedModel, space: list[SpaceLayer], experts: list[Experts]) -> tuple[int, int]:
    """How many numbers the space has, and how many more are in matrices of its decoder blocks that are not part of it:
    none with a LoRA adapter, whose matrices are all that is trained.
    """
    num_inside = sum(layer.num_inputs * layer.num_outputs for layer in space)
    num_inside += sum(parameter.numel() for each in experts for parameter in each.parameters)
    if has_adapter(model):
        return num_inside, 0
    selected = {layer.block for layer in space}
    outside = embedded(model)
    matrices = [
        parameter
        for number, _, block in _selected(model, None)
        if number in selected
        for parameter in block.parameters()
        if parameter.ndim > 1 and not (isinstance(block, PreTrainedModel) and id(parameter) in outside)
    ]
    return num_inside, sum(parameter.numel() for parameter in matrices) - num_inside
