"""Text parts of models that also take images: both passes are exact on them, and towers stay out."""

import re
import warnings

import pytest
import torch
from tests.vision import PACKED, VISION, build_vision_model
from torch import nn
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients.check import check_start, check_whole
from congrad.gradients.general import general_sketcher
from congrad.gradients.packing import pack
from congrad.gradients.sketch import sketcher
from congrad.gradients.space import Space, count_weights, decoder_blocks, gradient_space, is_router
from congrad.models.load import load_model
from congrad.settings.index import PassSettings

SETTINGS = PassSettings(projection_size=4, token_budget=64)
TEXT_BLOCKS = {
    "llama4": "language_model.model.layers",
    "smolvlm": "model.text_model.layers",
    "git": "git.encoder.layer",
}


@pytest.fixture(params=list(VISION))
def kind(request) -> str:
    return str(request.param)


@pytest.fixture
def pairs(random_pair, varied_pairs):
    """Longer than the windows, and than what is looked at first."""
    return [*varied_pairs, random_pair(9, 30, 27, 22)]


def names(space: Space) -> list[str]:
    return [each.name for part in (space.layers, space.experts, space.matrices) for each in part]


def test_the_space_holds_the_text_decoder_alone(kind):
    """The tower has as many blocks."""
    model = build_vision_model(kind)
    blocks, found = decoder_blocks(model)
    assert blocks == TEXT_BLOCKS.get(kind, "model.language_model.layers")
    assert sum(len(each) == len(found) for each in model.modules() if isinstance(each, nn.ModuleList)) > 1
    space = Space.of(model)
    assert all(name.startswith(f"{blocks}.") for name in names(space))
    layers = {name: each for name, each in found.named_modules() if isinstance(each, nn.Linear) and not is_router(each)}
    linear = {f"{blocks}.{name}" for name in layers}
    assert {layer.name for layer in space.layers} == linear
    routers = [each for each in found.modules() if is_router(each)]
    assert space.count(model)[1] == sum(each.weight.numel() for each in routers)


def test_without_a_list_of_blocks_towers_and_what_leads_from_them_stay_out():
    model = build_vision_model("llava")
    expected = names(Space.of(model))
    model.config.text_config.num_hidden_layers = 7
    assert names(Space.of(model)) == expected
    space = gradient_space(model)
    assert count_weights(model, space, [])[1] == 0


def test_both_passes_give_the_gradients_of_autograd(kind, pairs, sketch_of, plain_logp, relative_error, state_of):
    model = build_vision_model(kind)
    notes = []
    settings = check_start(model, pairs, SETTINGS, notes.append)
    settings = check_whole(model, pairs, settings, notes.append)
    assert (settings.route, len(notes)) == (("auto", 0) if kind in PACKED else ("general", 1))
    expected_BD = torch.stack([sketch_of(model, pair, 4, 0) for pair in pairs]) if kind != "llama4" else None
    logps_B2 = torch.stack([plain_logp(model, prompt, side) for prompt, *sides in pairs for side in sides]).view(-1, 2)
    before = state_of(model)
    with general_sketcher(model, size=4, seed=0) as sketch:
        results = [sketch(pairs)]
    if kind in PACKED:
        with sketcher(model, size=4, seed=0) as sketch_pack:
            results.append(sketch_pack(pack(pairs, "sum")))
    for found in results:
        torch.testing.assert_close(found.logps_B2, logps_B2, rtol=1e-5, atol=1e-4)
        if expected_BD is not None:  # whose experts of its own are matrices
            for one, other in zip(found.sketches_BD, expected_BD, strict=True):
                assert relative_error(one, other) < 1e-5
    assert state_of(model) == before


def test_towers_do_not_run(kind, pairs):
    model, ran = build_vision_model(kind), []
    models = [(name, each) for name, each in model.named_modules() if isinstance(each, PreTrainedModel)]
    towers = [each for name, each in models if re.search("vision|visual|image_encoder", name)]
    for each in towers:
        each.register_forward_pre_hook(lambda *_: ran.append(1))
    check_whole(model, pairs, check_start(model, pairs, SETTINGS))
    assert towers
    assert not ran


@pytest.mark.bfloat16
@pytest.mark.parametrize("kind", ["qwen2-vl", "gemma3", "aya-vision"])
def test_the_check_lets_them_pass_in_bfloat16(kind, pairs):
    model = build_vision_model(kind).to(torch.bfloat16)
    settings = check_start(model, pairs, SETTINGS)
    assert check_whole(model, pairs, settings).route == "auto"


def test_what_reads_no_text_alone_is_refused_in_a_line(tiny_model, pairs):
    model = tiny_model()
    forward = model.forward
    model.forward = lambda input_ids, pixel_values, **options: forward(input_ids, **options)
    words = r"its own forward fails on \d+ tokens .*missing 1 required .*; a language model that reads text alone"
    with pytest.raises(UserError, match=words) as raised:
        check_start(model, pairs, SETTINGS)
    assert "\n" not in str(raised.value)
    model.get_output_embeddings = lambda: None  # as of a model that writes no text
    del model.config.vocab_size
    with pytest.raises(UserError, match=words):
        check_start(model, pairs, SETTINGS)


def test_of_an_adapter_the_matrices_on_the_text_decoder_count(tmp_path, pairs):
    peft = pytest.importorskip("peft")
    build_vision_model("qwen2-vl").save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(r=2, target_modules=["qkv", "q_proj", "down_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT cannot look up the base model's vocabulary without a hub
        peft.get_peft_model(build_vision_model("qwen2-vl"), settings).save_pretrained(tmp_path / "adapter")
    model = load_model(str(tmp_path / "base"), adapter=str(tmp_path / "adapter"), dtype="float32")
    assert any(".visual." in name and "lora_A" in name for name, _ in model.named_parameters())
    space = Space.of(model)
    assert len(space.layers) == 2 * 2 * 2  # blocks, layers, A and B
    assert all(name.startswith("model.language_model.layers.") for name in names(space))
    assert check_whole(model, pairs, check_start(model, pairs, SETTINGS)).route == "auto"
