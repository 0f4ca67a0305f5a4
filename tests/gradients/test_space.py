"""Which weight matrices count, and which blocks `--layers` asks for."""

import pytest
import torch
import transformers as tf
from torch import nn
from transformers.pytorch_utils import Conv1D

from congrad.errors import UserError
from congrad.gradients.space import (
    count_weights,
    decoder_blocks,
    expert_space,
    gradient_space,
    matrix_space,
    parse_layers,
)


def test_space_is_every_linear_layer_of_the_blocks_and_no_other(tiny_model, family):
    model = tiny_model(family)
    prefix, blocks = decoder_blocks(model)
    found = {layer.name: layer.module for layer in gradient_space(model)}
    expected = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(f"{prefix}.")
    }
    assert found == expected
    assert len(blocks) == 3
    assert len(found) == 3 * (4 if family in ("gpt2", "gpt2-untied", "qwen3-moe", "mixtral") else 7)
    assert model.get_output_embeddings() not in found.values()


def test_a_linear_layer_whose_class_is_a_router_is_none(tiny_model):
    class TopKRouter(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y, y.topk(1)

    class Inner(nn.Linear):
        pass

    model = tiny_model()
    whole = len(gradient_space(model))
    model.model.layers[0].mlp.router = TopKRouter(32, 4, bias=False)
    model.model.layers[0].mlp.inner = Inner(32, 4, bias=False)
    assert [layer.name for layer in gradient_space(model)][7:8] == ["model.layers.0.mlp.inner"]
    assert len(gradient_space(model)) == whole + 1
    assert not any("router" in matrix.name for matrix in matrix_space(model))


def test_shapes_are_outputs_by_inputs_for_both_kinds_of_layer(tiny_model):
    for family, name, shape in (
        ("llama", "model.layers.0.mlp.down_proj", (32, 48)),
        ("gpt2", "transformer.h.0.attn.c_attn", (96, 32)),
    ):
        model = tiny_model(family)
        (layer,) = (layer for layer in gradient_space(model) if layer.name == name)
        assert (layer.num_outputs, layer.num_inputs) == shape
        assert layer.module(torch.zeros(1, layer.num_inputs)).shape == (1, layer.num_outputs)


def test_a_tower_inside_the_decoder_is_not_the_decoder():
    """GIT's decoder holds its image encoder, which may have as many blocks."""
    tower = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    shape = {"vocab_size": 61, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
    prefix, blocks = decoder_blocks(tf.GitForCausalLM(tf.GitConfig(**shape, intermediate_size=16, vision_config=tower)))
    assert (prefix, len(blocks)) == ("git.encoder.layer", 2)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("upper", [2, 3, 4]),
        ("3:", [3, 4]),
        (":2", [0, 1]),
        ("1:3", [1, 2]),
        ("-2:", [3, 4]),
        ("3:99", [3, 4]),
        (":", [0, 1, 2, 3, 4]),
    ],
)
def test_layers_select_blocks(layers, expected):
    assert list(parse_layers(layers, 5)) == expected


@pytest.mark.parametrize("layers", ["lower", "3", "1:2:3", "", "a:b", "3:2", "5:", "1.5:"])
def test_layers_that_mean_nothing_are_refused(layers):
    with pytest.raises(UserError, match=r"index\.layers"):
        parse_layers(layers, 5)


def test_selected_layers_are_those_of_the_whole_space(tiny_model):
    model = tiny_model()
    whole = gradient_space(model)
    assert gradient_space(model, "1:2") == [layer for layer in whole if layer.block == 1]
    assert [layer.block for layer in whole] == sorted(layer.block for layer in whole)


def test_without_a_list_of_decoder_blocks_all_matrices_but_the_head_and_embeddings_count(tiny_model):
    model = tiny_model()
    expected = [layer.module for layer in gradient_space(model)]
    model.config.num_hidden_layers = 4
    assert [layer.module for layer in gradient_space(model)] == expected
    assert count_weights(model, gradient_space(model), [])[1] == 0
    with pytest.raises(UserError, match="no list of 4 decoder blocks in LlamaForCausalLM"):
        gradient_space(model, "upper")


def test_all_but_the_routers_is_inside(tiny_model, family):
    model = tiny_model(family)
    router = {"qwen3-moe": 4 * 32, "mixtral": 3 * 32}.get(family, 0)
    experts = {"qwen3-moe": 4 * 3 * 32 * 24, "mixtral": 3 * 3 * 32 * 48}.get(family, 0)
    for layers, num_blocks in ((None, 3), ("1:", 2)):
        space, found = gradient_space(model, layers), expert_space(model, layers)
        dense = sum(layer.num_inputs * layer.num_outputs for layer in space)
        assert count_weights(model, space, found) == (dense + num_blocks * experts, num_blocks * router)
        assert len(found) == (num_blocks if experts else 0)


def test_quantised_weights_are_refused(tiny_model):
    """As they are in memory, and where they look like others (`is_quantized` is transformers')."""
    model, other = tiny_model("llama"), tiny_model("llama")
    layer = gradient_space(model)[0].module
    layer.weight = nn.Parameter(torch.zeros(512, 1, dtype=torch.uint8), requires_grad=False)
    other.is_quantized = True
    for quantised in (model, other):
        with pytest.raises(UserError) as raised:
            gradient_space(quantised)
        assert str(raised.value) == (
            "model '' is quantised, and such weights have no gradient; "
            "set model.adapter or model.lora, or name the checkpoint that it was made from"
        )
