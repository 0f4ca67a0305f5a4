"""Pairs beyond a table of positions are refused by name; rotary positions go on, with a word."""

import pytest
import torch
import transformers as tf

from congrad.errors import UserError
from congrad.models.positions import check_positions, last_position

MODELS = {
    "GPT-2": (tf.GPT2LMHeadModel, tf.GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=24), 24),
    "OPT": (
        tf.OPTForCausalLM,
        tf.OPTConfig(
            vocab_size=64,
            hidden_size=16,
            word_embed_proj_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=16,
            max_position_embeddings=24,
        ),
        24,
    ),
    "GPT-Neo": (
        tf.GPTNeoForCausalLM,
        tf.GPTNeoConfig(
            vocab_size=64,
            hidden_size=16,
            num_layers=1,
            num_heads=2,
            attention_types=[[["global"], 1]],
            max_position_embeddings=24,
        ),
        24,
    ),
    "Llama": (
        tf.LlamaForCausalLM,
        tf.LlamaConfig(
            vocab_size=64,
            hidden_size=24,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=24,
        ),
        None,
    ),
}


@pytest.mark.parametrize(("kind", "config", "last"), MODELS.values(), ids=MODELS)
def test_the_limit_is_where_the_model_s_own_forward_ends(kind, config, last):
    model = kind(config).eval()
    assert last_position(model) == last
    with torch.no_grad():
        model(torch.zeros(1, 24, dtype=torch.long))
        if last is not None:
            with pytest.raises((IndexError, RuntimeError)):
                model(torch.zeros(1, 25, dtype=torch.long))


def test_longer_pairs_are_refused_by_the_setting_with_the_limit():
    model = tf.GPT2LMHeadModel(MODELS["GPT-2"][1])
    notes: list[str] = []
    check_positions(model, [3, 24], 1024, notes.append)
    with pytest.raises(UserError) as refused:
        check_positions(model, [3, 30, 25], 1024, notes.append)
    said = "input.max_length 1024: 2 of 3 pairs have more tokens than the 24 positions of model GPT2LMHeadModel "
    assert str(refused.value) == f"{said}(the longest has 30); set it to 24 or less"
    assert not notes


def test_rotary_positions_go_on_with_a_word():
    model = tf.LlamaForCausalLM(MODELS["Llama"][1])
    notes: list[str] = []
    check_positions(model, [3, 30], 1024, notes.append)
    assert "the longest pair has 30 tokens and model LlamaForCausalLM was made for 24 positions" in notes[0]
