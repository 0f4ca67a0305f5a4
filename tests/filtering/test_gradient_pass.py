"""Any causal model goes in: by the pass that fits it, with an estimate before; what is none is refused in a line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.vision import PACKED, build_vision_model

import congrad
from congrad import FilterConfig, Input, Model, PassSettings, UserError, filter_preferences
from congrad.filtering.estimate import Estimate
from congrad.progress import Listener

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
BERT_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
MLA = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 2, "topk_group": 1}
MODELS = {
    "mamba": lambda v: tf.MambaForCausalLM(tf.MambaConfig(vocab_size=v, hidden_size=32, num_hidden_layers=2)),
    "bloom": lambda v: tf.BloomForCausalLM(tf.BloomConfig(vocab_size=v, hidden_size=32, n_layer=2, n_head=4)),
    "deepseek": lambda v: tf.DeepseekV3ForCausalLM(
        tf.DeepseekV3Config(
            vocab_size=v,
            intermediate_size=48,
            **{**SHAPE, "num_key_value_heads": 4},
            **MLA,
            **ROUTED,
            first_k_dense_replace=1,
        )
    ),
    "llama4": lambda v: tf.Llama4ForCausalLM(
        tf.Llama4TextConfig(
            vocab_size=v,
            intermediate_size=48,
            intermediate_size_mlp=40,
            head_dim=8,
            num_local_experts=3,
            pad_token_id=0,
            **SHAPE,
        )
    ),
    "bert": lambda v: tf.BertLMHeadModel(tf.BertConfig(vocab_size=v, **BERT_SHAPE)),
}


@pytest.fixture
def config(tmp_path, make_rows, tiny_directory) -> FilterConfig:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in make_rows(30)))
    return FilterConfig(Input(str(path)), Model(str(tiny_directory), dtype="float32"), PassSettings(projection_size=16))


@pytest.fixture
def save(tmp_path, tiny_directory):
    """A random model of a kind, with the tokenizer."""
    tokenizer = congrad.load_tokenizer(str(tiny_directory))

    def make(kind: str, *, vocabulary: int | None = None) -> Path:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = MODELS[kind](vocabulary or len(tokenizer))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter.copy_(torch.randn(parameter.shape) * 0.2)
        model.config.bos_token_id, model.config.eos_token_id = 0, 1
        model.save_pretrained(tmp_path / kind)
        tokenizer.save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return make


def told(config, output, **options):
    notes, warnings = [], []
    listener = Listener(on_note=notes.append, on_warning=warnings.append)
    return filter_preferences(config, output, listener=listener, **options), notes, warnings


@pytest.mark.parametrize("kind", ["mamba", "bloom", "llama4"])
def test_what_packing_does_not_fit_is_filtered_and_said_before_the_estimate(kind, config, save, tmp_path):
    config = replace(config, model=replace(config.model, name=str(save(kind))))
    result, notes, _ = told(config, tmp_path / "run", dry_run=True)
    assert result is None
    assert [type(note) for note in notes[-2:]] == [str, Estimate]
    assert "takes the general pass, in 1.1 to 1.7 times the packed one's time: " in notes[-2]
    result, notes, _ = told(config, tmp_path / "run")
    assert sum("takes the general pass" in str(note) for note in notes) == 1
    assert result.manifest["plan"]["settings"]["route"] == "general"
    assert result.manifest["config"]["index"]["route"] == "auto"
    assert result.scored.score_N.isfinite().any()


@pytest.mark.parametrize("kind", ["qwen2-vl", "gemma3", "llama4"])
def test_the_text_part_of_a_model_that_also_takes_images_is_filtered(kind, config, tiny_directory, tmp_path):
    tokenizer = congrad.load_tokenizer(str(tiny_directory))
    build_vision_model(kind, len(tokenizer)).save_pretrained(tmp_path / kind)
    tokenizer.save_pretrained(tmp_path / kind)
    config = replace(config, model=replace(config.model, name=str(tmp_path / kind), reference=str(tiny_directory)))
    result, notes, warnings = told(config, tmp_path / "run")
    assert result.manifest["plan"]["settings"]["route"] == ("packed" if kind in PACKED else "general")
    assert sum(isinstance(note, Estimate) for note in notes) == 1
    assert result.scored.score_N.isfinite().any()
    assert not [warning for warning in warnings + result.warnings if "outside" in warning]
    config = replace(config, model=replace(config.model, name=str(tiny_directory), reference=str(tmp_path / kind)))
    assert told(config, tmp_path / "as reference")[0] is not None


def test_an_encoder_is_refused_before_the_estimate(config, save, tmp_path):
    config = replace(config, model=replace(config.model, name=str(save("bert"))))
    with pytest.raises(UserError, match="BertLMHeadModel reads ahead as it is loaded") as raised:
        told(config, tmp_path / "run", dry_run=True)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("where", ["gradient_pass.check_start", "gradient_pass.estimate"])
def test_running_out_of_memory_before_the_pass_is_a_line(config, where, tmp_path, monkeypatch):
    def run_out(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")

    monkeypatch.setattr(f"congrad.filtering.{where}", run_out)
    with pytest.raises(UserError) as raised:
        told(config, tmp_path / "run")
    assert str(raised.value) == "out of memory on cpu; lower index.token_budget (512) or input.max_length"


def test_packing_that_is_asked_for_and_does_not_fit_is_refused(config, save, tmp_path):
    config = replace(config, model=replace(config.model, name=str(save("bloom"))))
    with pytest.raises(UserError, match=r"index\.route packed: does not fit model .*bloom'"):
        told(replace(config, index=replace(config.index, route="packed")), tmp_path / "run")


# The reference


def test_a_reference_with_other_tokens_is_refused(config, tiny_directory, tmp_path):
    shutil.copytree(tiny_directory, tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    numbers = sorted(vocabulary.values())
    content["model"]["vocab"] = {token: numbers[-1 - n] if n > 5 else n for token, n in vocabulary.items()}
    path.write_text(json.dumps(content))
    config = replace(config, model=replace(config.model, reference=str(tmp_path / "other")))
    words = r"model\.reference .*other: token .* is .* to it and .* to the model"
    with pytest.raises(UserError, match=words) as raised:
        told(config, tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "index").exists()


def test_a_reference_with_fewer_tokens_is_refused(config, save, tmp_path):
    config = replace(config, model=replace(config.model, reference=str(save("bloom", vocabulary=40))))
    with pytest.raises(UserError, match="bloom' has 40 tokens, and the pairs hold token"):
        told(config, tmp_path / "run")


def test_padded_rows_of_the_reference_do_not_matter(config, save, tmp_path):
    config = replace(config, model=replace(config.model, reference=str(save("bloom", vocabulary=384))))
    result, notes, warnings = told(config, tmp_path / "run")
    assert result.manifest["plan"]["settings"]["route"] == "general"
    assert not any("tokenizer" in warning for warning in warnings)
    assert sum("takes the general pass" in str(note) for note in notes) == 1


def test_a_reference_without_a_tokenizer_is_warned_of(config, save, tmp_path):
    directory = save("bloom")
    for path in directory.glob("*token*"):
        path.unlink()
    config = replace(config, model=replace(config.model, reference=str(directory)))
    result, _, warnings = told(config, tmp_path / "run")
    assert result is not None
    assert sum("bloom has no tokenizer_config.json: whether it reads" in warning for warning in warnings) == 1
