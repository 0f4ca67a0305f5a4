"""The check before the pass: which pass a model gets, and what is refused whatever the route."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import nn

from congrad.errors import UserError
from congrad.gradients import check
from congrad.gradients.check import check_start, check_whole, fault_of
from congrad.settings.index import PassSettings

SETTINGS = PassSettings(projection_size=4, token_budget=64)
SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
AT_ONCE = {
    "attention of its own": lambda: tf.GPTJForCausalLM(
        tf.GPTJConfig(vocab_size=61, n_embd=32, n_layer=3, n_head=4, rotary_dim=8, bos_token_id=1, eos_token_id=2)
    ),
    "positions of its own": lambda: tf.BloomForCausalLM(
        tf.BloomConfig(vocab_size=61, hidden_size=32, n_layer=3, n_head=4)
    ),
    "convolutions over neighbours": lambda: tf.Lfm2ForCausalLM(
        tf.Lfm2Config(**SHAPE, layer_types=["conv", "full_attention", "conv"])
    ),
    "falcon's new decoder": lambda: tf.FalconForCausalLM(
        tf.FalconConfig(
            vocab_size=61,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_kv_heads=2,
            new_decoder_architecture=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
    "no attention at all": lambda: tf.MambaForCausalLM(
        tf.MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, state_size=4)
    ),
    "matrices that no linear layer holds": lambda: tf.JetMoeForCausalLM(
        tf.JetMoeConfig(
            vocab_size=61,
            hidden_size=32,
            num_hidden_layers=2,
            num_key_value_heads=2,
            kv_channels=8,
            intermediate_size=24,
            num_local_experts=4,
            num_experts_per_tok=2,
        )
    ),
}
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [40.0] * 4}
ON_LONG_PAIRS = {
    "longrope past the original length": lambda: tf.Phi3ForCausalLM(
        tf.Phi3Config(
            **SHAPE, max_position_embeddings=512, original_max_position_embeddings=32, rope_parameters=LONGROPE
        )
    ),
    "dynamic rope": lambda: tf.LlamaForCausalLM(
        tf.LlamaConfig(
            **SHAPE,
            max_position_embeddings=32,
            rope_parameters={"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10000.0},
        )
    ),
    "a window applied by the mask alone": lambda: tf.PhimoeForCausalLM(
        tf.PhimoeConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2, sliding_window=30)
    ),
}
ENCODERS = {
    "bert": lambda: tf.BertLMHeadModel(
        tf.BertConfig(
            vocab_size=61,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
        )
    ),
    "roberta": lambda: tf.RobertaForCausalLM(
        tf.RobertaConfig(
            vocab_size=61,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=200,
        )
    ),
}


def build(make, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval().requires_grad_(False)
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1)
    return model.to(dtype)


def route(model, pairs, settings=SETTINGS, *, whole=True):
    notes = []
    settings = check_start(model, pairs, settings, notes.append)
    if whole:
        settings = check_whole(model, pairs, settings, notes.append)
    return settings.route, notes


@pytest.fixture
def pairs(random_pair, varied_pairs):
    """Longer than what is looked at first, too."""
    return [random_pair(0, 12, 9, 9), *varied_pairs, random_pair(9, 30, 27, 22)]


PRECISIONS = [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.bfloat16)]


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_families_that_packing_fits_are_packed(tiny_model, family, dtype, pairs):
    assert route(tiny_model(family).to(dtype), pairs) == ("auto", [])


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", AT_ONCE)
def test_others_take_the_general_pass_after_24_tokens(kind, dtype, pairs):
    found, notes = route(build(AT_ONCE[kind], dtype), pairs, whole=False)
    assert found == "general"
    (note,) = notes
    assert "takes the general pass, in 1.1 to 1.7 times the packed one's time: " in note
    assert "\n" not in note


@pytest.mark.parametrize("kind", ON_LONG_PAIRS)
def test_what_shows_on_long_pairs_alone_is_found_there(kind, pairs):
    model = build(ON_LONG_PAIRS[kind])
    assert route(model, pairs, whole=False) == ("auto", [])
    found, notes = route(model, pairs)
    assert found == "general"
    assert "packed log-probabilities differ from its own by" in notes[0]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("asked", ["auto", "packed", "general"])
def test_encoders_are_refused_whatever_the_route(name, asked, pairs):
    with pytest.raises(UserError, match="reads ahead as it is loaded: its last token changes the log-prob") as raised:
        route(build(ENCODERS[name]), pairs, replace(SETTINGS, route=asked))
    assert "\n" not in str(raised.value)


def test_a_wrong_gradient_behind_right_log_probabilities_is_found(tiny_model, pairs, monkeypatch):
    real = check.pass_sketcher

    def wrong(model, settings):
        return real(model, replace(settings, normalise="mean"))

    monkeypatch.setattr(check, "pass_sketcher", wrong)
    found, notes = route(tiny_model(), pairs)
    assert found == "general"
    assert "the packed gradient of a pair differs from its own by" in notes[0]


class Tripled(nn.Linear):
    """Its gradient is not that of a linear layer."""

    def forward(self, x):
        return super().forward(3 * x)


class Both(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return y, y


def with_own_linear(kind, mlp):
    mlp.up_proj.__class__ = kind
    if kind is Both:
        real = mlp.up_proj.forward
        mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * real(x)[0])


def reading_a_weight(mlp):
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * F.linear(x, mlp.up_proj.weight))


UNSEEN = {
    "the forward of another layer": lambda mlp: setattr(mlp.up_proj, "forward", mlp.gate_proj.forward),
    "a linear layer of another kind": lambda mlp: with_own_linear(Tripled, mlp),
    "a linear layer that returns a tuple": lambda mlp: with_own_linear(Both, mlp),
    "a weight that is read without a call": reading_a_weight,
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", UNSEEN)
def test_layers_that_packing_does_not_see_take_the_general_pass_at_once(tiny_model, kind, dtype, pairs):
    """Their log-probabilities are right in the packed pass, and their gradients are not."""
    model = tiny_model().to(dtype)
    UNSEEN[kind](model.model.layers[1].mlp)
    found, notes = route(model, pairs, whole=False)
    assert found == "general"
    assert "packing fails in it" in notes[0]
    assert "model.layers.1.mlp.up_proj" in notes[0]
    assert route(model, pairs)[0] == "general"


def test_logits_that_are_changed_in_another_way_take_the_general_pass(tiny_model, pairs):
    model = tiny_model()
    model.lm_head.register_forward_hook(lambda module, args, logits: logits.sinh())
    found, notes = route(model, pairs, whole=False)
    assert found == "general"
    assert "changes its hidden states or logits in ways that packing does not know" in notes[0]


def test_an_adapter_of_experts_takes_the_general_pass(tiny_model, pairs):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"], init_lora_weights=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(tiny_model("mixtral"), settings).get_base_model().requires_grad_(False).eval()
    found, notes = route(model, pairs, whole=False)
    assert found == "general"
    assert "packing fails in it" in notes[0]


def test_what_is_asked_for_is_taken_or_refused(tiny_model, pairs):
    assert route(tiny_model(), pairs, replace(SETTINGS, route="general")) == ("general", [])
    assert route(tiny_model(), pairs, replace(SETTINGS, route="packed")) == ("packed", [])
    with pytest.raises(UserError) as raised:
        route(build(AT_ONCE["positions of its own"]), pairs, replace(SETTINGS, route="packed"))
    message = str(raised.value)
    assert message.startswith("index.route packed: does not fit model 'BloomForCausalLM': packed")
    assert message.endswith("leave it at auto, or set it to general")


def test_matrices_are_left_out_where_packing_is_asked_for(pairs):
    model = build(AT_ONCE["matrices that no linear layer holds"])
    assert route(model, pairs, replace(SETTINGS, route="packed"), whole=False) == ("packed", [])


def test_tokens_without_logits_are_refused(tiny_model, pairs):
    beyond = [*pairs[:3], (np.array([5]), np.array([61]), np.array([3, 4]))]
    with pytest.raises(UserError, match="has 61 tokens, and the pairs hold token 61; name a model with the tokenizer"):
        route(tiny_model(), beyond)


def test_pairs_longer_than_the_model_takes_are_refused_in_a_line(tiny_model, pairs, random_pair):
    words = r"its own forward fails on 80 tokens .*; lower input\.max_length"
    for asked in ("auto", "general"):
        with pytest.raises(UserError, match=words) as raised:
            route(tiny_model("gpt2"), [*pairs, random_pair(3, 60, 20, 20)], replace(SETTINGS, route=asked))
        assert "\n" not in str(raised.value)


def test_a_backward_pass_that_fails_is_refused_in_a_line(tiny_model, pairs):
    """Reformer's does, unless it is training."""
    model = tiny_model()

    def fail(gradient):
        raise AssertionError("make sure to\nuse model.train()")

    handle = model.model.layers[1].register_forward_hook(
        lambda module, args, output: output.register_hook(fail) and None if output.requires_grad else None
    )
    with pytest.raises(
        UserError, match=r"its own backward pass fails \(make sure to use .*; use a model that"
    ) as raised:
        route(model, pairs)
    assert "\n" not in str(raised.value)
    handle.remove()


def test_logits_of_other_tokens_are_refused_in_a_line(tiny_model, pairs):
    """Those of a block that a diffusion model would write, whatever it is given."""
    model = tiny_model()
    real = model.forward
    model.forward = lambda input_ids, **options: real(input_ids=input_ids[:, :1].repeat(1, 50), use_cache=False)
    words = (
        r"its own forward fails on \d+ tokens \(its logits are of 50 tokens\); a language model that reads text alone"
    )
    with pytest.raises(UserError, match=words):
        route(model, pairs)


def test_nothing_finite_is_refused(tiny_model, pairs):
    model = tiny_model()
    model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="no finite log-probability for the first 8 pairs in float32"):
        route(model, pairs)


def test_a_long_pair_that_overflows_does_not_decide(tiny_model, pairs, monkeypatch):
    """It has no score in either pass."""
    real = check.own_logps

    def overflowing(model, prompt, response, copies=1):
        logp_N, logits_N = real(model, prompt, response, copies)
        return (logp_N * torch.nan, logits_N) if len(prompt) == 30 else (logp_N, logits_N)

    monkeypatch.setattr(check, "own_logps", overflowing)
    assert route(tiny_model(), pairs) == ("auto", [])


@pytest.mark.parametrize(
    ("difference", "rounding", "fault"),
    [
        (1e-3, 0.0, True),
        (5e-5, 0.0, False),
        (5e-4, 2e-4, False),
        (5e-4, 1e-4, True),
    ],
)
def test_the_spread_is_measured_in_times_of_the_rounding(difference, rounding, fault):
    sign_N = torch.tensor([1.0, -1.0]).repeat(50)
    found = fault_of(difference * sign_N, rounding * sign_N, sign_N, torch.float32)
    assert (found is not None) == fault


def test_a_small_mean_difference_counts_where_there_are_many_tokens():
    noise_N = 0.06 * torch.tensor([1.0, -1.0]).repeat(500)
    logits_N = torch.ones(1000)
    assert fault_of(noise_N + 0.015, noise_N, logits_N, torch.bfloat16) is None
    assert fault_of(noise_N + 0.025, noise_N, logits_N, torch.bfloat16) is not None
    assert fault_of(noise_N[:16] + 0.025, noise_N[:16], logits_N[:16], torch.bfloat16) is None
