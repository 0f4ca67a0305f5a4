"""The gradient space: which weight matrices of the model a pair's gradient is taken over.

These are the linear layers in the decoder blocks (`nn.Linear`, GPT-2's `Conv1D`) and the experts of mixtures; with a
LoRA adapter, its two matrices per adapted layer and nothing else. Embeddings, the LM head, routers, norms and biases
stay out.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from congrad.errors import UserError
from congrad.gradients.experts import Experts, is_experts
from congrad.settings.index import PassSettings, layer_slice


@dataclass(frozen=True)
class SpaceLayer:
    """One weight matrix of the space: a module computing `input @ W^T`, seen as num_outputs x num_inputs."""

    name: str
    module: nn.Module
    block: int  # index of the decoder block it sits in
    num_inputs: int
    num_outputs: int


def decoder_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The qualified name and the list of the decoder blocks: `config.num_hidden_layers` of them."""
    num_blocks = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_blocks:
            return name, module
    raise UserError(
        f"model {model.config.name_or_path!r}: no list of {num_blocks} decoder blocks in {type(model).__name__}",
        "congrad filters with decoder-only causal language models",
    )


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


def gradient_space(model: PreTrainedModel, layers: str | None = None) -> list[SpaceLayer]:
    """The weight matrices that gradients are taken over, from the lowest block up, in the model's own order.

    Raises:
        UserError: `layers` is malformed, the weights are quantised, or the selected blocks hold no linear layer.
    """
    prefix, blocks = decoder_blocks(model)
    selected = parse_layers(layers, len(blocks))
    adapted = has_adapter(model)
    space = []
    for block in selected:
        for path, module in blocks[block].named_modules():
            is_adapter = ".lora_A." in path or ".lora_B." in path
            if not isinstance(module, nn.Linear | Conv1D) or is_adapter != adapted:
                continue
            if not module.weight.is_floating_point():  # packed, so that its shape is not the layer's
                fix = "name the checkpoint that it was made from"
                raise UserError(f"model {model.config.name_or_path!r} is quantised", fix)
            shape = tuple(module.weight.shape)
            num_inputs, num_outputs = shape if isinstance(module, Conv1D) else shape[::-1]
            space.append(SpaceLayer(f"{prefix}.{block}.{path}", module, block, num_inputs, num_outputs))
    if not space:
        raise UserError(
            f"model {model.config.name_or_path!r}: no linear layer in decoder blocks {selected}",
            "if it is quantised, name the checkpoint that it was made from",
        )
    return space


def expert_space(model: PreTrainedModel, layers: str | None = None) -> list[Experts]:
    """The experts that gradients are taken over beside `gradient_space`; none with a LoRA adapter."""
    if has_adapter(model):
        return []
    prefix, blocks = decoder_blocks(model)
    return [
        Experts(f"{prefix}.{block}.{path}", module)
        for block in parse_layers(layers, len(blocks))
        for path, module in blocks[block].named_modules()
        if is_experts(module)
    ]


def count_weights(model: PreTrainedModel, space: list[SpaceLayer], experts: list[Experts]) -> tuple[int, int]:
    """How many numbers the space has, and how many more are in matrices of its decoder blocks that are not part of it:
    none with a LoRA adapter, whose matrices are all that is trained.
    """
    num_inside = sum(layer.num_inputs * layer.num_outputs for layer in space)
    num_inside += sum(parameter.numel() for each in experts for parameter in each.parameters)
    if has_adapter(model):
        return num_inside, 0
    _, blocks = decoder_blocks(model)
    selected = {layer.block for layer in space}
    matrices = [parameter for block in selected for parameter in blocks[block].parameters() if parameter.ndim > 1]
    return num_inside, sum(parameter.numel() for parameter in matrices) - num_inside
