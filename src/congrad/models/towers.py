"""Which part of a model runs on text alone.

Models that also take images or sound have a tower for each, a model of its own, and layers that lead from there to the
text decoder. On text none of these runs, though all are in memory.
"""

from torch import nn
from transformers import PreTrainedModel


def tower_modules(model: PreTrainedModel) -> set[int]:
    """The ids of the modules in towers: models in the model whose kind of configuration is not the text's."""
    text = model.config.get_text_config()
    kinds = {type(getattr(model.config, name, None)) for name in model.config.sub_configs} - {type(text), type(None)}
    towers = [each for each in model.modules() if isinstance(each, PreTrainedModel) and type(each.config) in kinds]
    return {id(module) for tower in towers for module in tower.modules()}


def text_part(model: PreTrainedModel) -> tuple[str, nn.Module]:
    """What runs on text but for the LM head, with its name and a dot: of a model with towers the decoder, else all."""
    decoder = model.get_decoder() if tower_modules(model) else model
    return next((f"{name}." if name else "", each) for name, each in model.named_modules() if each is decoder)
