"""Loading: what is promised of a loaded model, and what is said when it cannot be."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conftest import TINY
from tests.vision import VISION, build_vision_model
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Llama4ForCausalLM,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Gemma2Config,
)
from transformers.utils import logging

from congrad.errors import UserError
from congrad.models.identity import fingerprint, identity
from congrad.models.load import load_model, load_skeleton, load_tokenizer
from congrad.settings.model import Model

IDS = torch.arange(6)[None]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def logits(model: PreTrainedModel) -> torch.Tensor:
    result: torch.Tensor = model(input_ids=IDS).logits
    return result


def test_a_loaded_model_is_frozen(checkpoint: str, adapter: str) -> None:
    for model in (load_model(checkpoint), load_model(checkpoint, adapter=adapter)):
        assert isinstance(model, PreTrainedModel)
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model.config.use_cache is False
        assert model(input_ids=IDS).past_key_values is None


@pytest.mark.parametrize(
    ("dtype", "loaded"),
    [("bfloat16", torch.bfloat16), ("float32", torch.float32), (torch.float16, torch.float16)],
)
def test_dtype(checkpoint: str, monkeypatch: pytest.MonkeyPatch, dtype: Any, loaded: torch.dtype) -> None:
    monkeypatch.setenv("CONGRAD_BFLOAT16", "fast")
    assert {parameter.dtype for parameter in load_model(checkpoint, dtype=dtype).parameters()} == {loaded}


@pytest.mark.parametrize(("position", "loaded"), [("slow", torch.float32), ("fast", torch.bfloat16)])
def test_auto_is_what_is_fast_here_and_the_log_says_it(
    checkpoint: str,
    position: str,
    loaded: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CONGRAD_BFLOAT16", position)
    with caplog.at_level("INFO", "congrad"):
        model = load_model(checkpoint)
    assert {parameter.dtype for parameter in model.parameters()} == {loaded}
    assert caplog.messages == [
        f"{checkpoint}: computing in {str(loaded).removeprefix('torch.')}: CONGRAD_BFLOAT16 is {position}"
    ]


def test_without_a_device_an_accelerator_is_taken_where_there_is_one(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("congrad.models.device.difference_from_cpu", lambda device, compute: None)
    monkeypatch.setattr(PreTrainedModel, "to", lambda self, device: moved.append(device) or self)
    load_model(checkpoint, dtype="float32")
    assert moved == [torch.device("cuda:0")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    load_model(checkpoint, dtype="float32")
    assert moved[1:] == [torch.device("cpu")]


def test_attention_is_as_asked(checkpoint: str) -> None:
    assert load_model(checkpoint, attn_implementation="eager").config._attn_implementation == "eager"


def test_an_adapter_changes_the_model_and_stays_unmerged(checkpoint: str, adapter: str) -> None:
    base, adapted = load_model(checkpoint), load_model(checkpoint, adapter=adapter)
    assert sum(".lora_" in name for name, _ in adapted.named_parameters()) == 8  # 2 blocks x 2 layers x A and B
    assert not torch.equal(logits(base), logits(adapted))
    matrix = "model.layers.0.mlp.down_proj"
    assert torch.equal(base.get_submodule(matrix).weight, adapted.get_submodule(f"{matrix}.base_layer").weight)


def test_transformers_is_as_loud_afterwards_as_before(checkpoint: str) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_model(checkpoint)
    with pytest.raises(UserError):
        load_model("./nowhere")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# What is wrong with a name or a checkpoint


def save_config(path: Path, **content: Any) -> str:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(content))
    return str(path)


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(name, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", ["nobody/nothing", "./nowhere", "gemma-270m"])
def test_an_unknown_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal(name) == (
        f"model {name}: no such directory, and the hub does not have it or cannot be reached; "
        "short names are gemma3-270m, smollm2-135m"
    )
    with pytest.raises(UserError, match=f"^tokenizer of {name}: no such directory"):
        load_tokenizer(name)


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    assert "cannot be loaded" in refusal(str(tmp_path))


def test_a_damaged_checkpoint(checkpoint: str) -> None:
    weights = Path(checkpoint) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "cannot be loaded" in refusal(checkpoint)


def test_a_checkpoint_without_all_weights(tmp_path: Path) -> None:
    LlamaModel(LlamaConfig(**(TINY.to_dict() | {"tie_word_embeddings": False}))).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert refusal(str(tmp_path)).endswith("1 weights are missing in the checkpoint, the first is lm_head.weight")


@pytest.mark.parametrize("kind", VISION)
def test_models_that_also_take_images_are_loaded_by_their_own_class(kind: str, tmp_path: Path) -> None:
    saved = build_vision_model(kind)
    prints = set()
    for name in ("one", "other"):
        saved.save_pretrained(tmp_path / name)
        model = load_model(str(tmp_path / name), dtype="float32")
        assert type(model) is type(saved)
        assert torch.equal(logits(model), logits(saved))
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model.config.get_text_config().use_cache is False
        prints.add(fingerprint(model))
    assert len(prints) == 1, "whatever the path"
    skeleton = load_skeleton(Model(str(tmp_path / "one")))
    assert type(skeleton) is type(saved)
    assert skeleton.num_parameters() == saved.num_parameters(), "all of them are in memory"
    assert identity(Model(str(tmp_path / "one"))) == identity(Model(str(tmp_path / "other")))


def test_the_tokenizer_of_a_model_that_also_takes_images_needs_no_package_for_them(tmp_path: Path) -> None:
    build_vision_model("qwen2-vl").save_pretrained(tmp_path)
    save_tokenizer(tmp_path, eos_token="<end>")
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "Qwen2VLImageProcessor"}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "Qwen2VLProcessor"}')
    code = f"""
import sys
sys.modules["PIL"] = sys.modules["torchvision"] = None
from congrad.models.load import load_tokenizer
assert load_tokenizer({str(tmp_path)!r}).eos_token_id == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_of_text_alone_from_the_same_configuration_is_what_it_was_saved_as(tmp_path: Path) -> None:
    model = build_vision_model("llama4").language_model
    model.save_pretrained(tmp_path)
    assert type(load_model(str(tmp_path), dtype="float32")) is type(model) is Llama4ForCausalLM


def test_one_that_reads_images_and_writes_by_another_decoder_is_refused(tmp_path: Path) -> None:
    T5Gemma2Config(architectures=["T5Gemma2ForConditionalGeneration"]).save_pretrained(tmp_path)
    assert "T5Gemma2ForConditionalGeneration: a causal language model is needed" in refusal(str(tmp_path))


def test_other_kinds_of_model(tmp_path: Path) -> None:
    LlamaForSequenceClassification(TINY).save_pretrained(tmp_path / "reward")
    assert "LlamaForSequenceClassification: a causal language model is needed" in refusal(str(tmp_path / "reward"))
    bert = BertConfig(vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    BertForMaskedLM(bert).save_pretrained(tmp_path / "bert")
    assert "BertForMaskedLM: a causal language model is needed" in refusal(str(tmp_path / "bert"))


def test_remote_code_is_off(tmp_path: Path) -> None:
    path = save_config(tmp_path / "remote", model_type="mine", auto_map={"AutoConfig": "code.Mine"})
    (tmp_path / "remote" / "code.py").write_text("raise SystemExit('this must not run')")
    fix = f"read that code first; to run it, name the model in model.trust_remote_code: [{path}]"
    assert refusal(path) == f"model {path} brings its own Python code; {fix}"


def test_unknown_options(checkpoint: str) -> None:
    assert refusal(checkpoint, dtype="int7") == "model.dtype 'int7': must be one of auto, float32, bfloat16, float16"
    assert 'attn_implementation="nothing"` is not supported' in refusal(checkpoint, attn_implementation="nothing")
    if not torch.cuda.is_available():
        assert refusal(checkpoint, device="cuda").endswith("finds 0 CUDA devices; use cpu")


def test_adapters_that_are_none(checkpoint: str, adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(checkpoint, adapter=str(tmp_path)).endswith(
        "no adapter_config.json there; give a directory that PEFT saved"
    )
    assert "name its base model as model.name" in refusal(adapter)
    settings = Path(adapter) / "adapter_config.json"
    lora = json.loads(settings.read_text())
    settings.write_text(json.dumps(lora | {"target_modules": ["nowhere"]}))
    assert "cannot be loaded: Target modules" in refusal(checkpoint, adapter=adapter)
    settings.write_text(json.dumps({"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}))
    assert "only LoRA adapters are supported" in refusal(checkpoint, adapter=adapter)
    settings.write_text(json.dumps(lora))
    monkeypatch.setitem(sys.modules, "peft", None)
    assert refusal(checkpoint, adapter=adapter) == "an adapter needs PEFT: pip install 'congrad[lora]'"


# Tokenizers


def save_tokenizer(path: Path, **named: str) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({"a": 0, "<end>": 1, "<pad>": 2, "?": 3}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=words, **named).save_pretrained(path)
    return str(path)


def test_pad_token_falls_back_to_the_end_token(tmp_path: Path) -> None:
    assert load_tokenizer(save_tokenizer(tmp_path / "one", eos_token="<end>")).pad_token_id == 1
    assert load_tokenizer(save_tokenizer(tmp_path / "two", eos_token="<end>", pad_token="<pad>")).pad_token_id == 2


OF_PARTS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}{% elif line['type'] == 'image' %}<image>{% endif %}"
    "{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
OF_TEXT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}<end>{% endfor %}"
TALK = [{"role": "user", "content": "Wie spät?"}, {"role": "assistant", "content": "Fünf."}]


STRICT = "{% if messages[0].content is string %}{{ raise_exception('a list is needed') }}{% endif %}"


@pytest.mark.parametrize("strict", ["", STRICT])
def test_a_template_of_parts_prints_plain_text(tmp_path: Path, strict: str) -> None:
    """It would print the turns without what they say."""
    save_tokenizer(tmp_path, eos_token="<end>")
    (tmp_path / "chat_template.jinja").write_text(strict + OF_PARTS)
    tokenizer = load_tokenizer(str(tmp_path))
    expected = "User: Wie spät?<end>Assistant: Fünf.<end>"
    assert tokenizer.apply_chat_template(TALK, tokenize=False) == expected
    assert tokenizer.apply_chat_template([TALK, TALK[:1]], tokenize=False, add_generation_prompt=True) == [
        expected + "Assistant:",
        "User: Wie spät?<end>Assistant:",
    ]
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Was?"}]}]
    assert tokenizer.apply_chat_template(parts, tokenize=False) == "User: <image>Was?<end>"
    tokenizer.save_pretrained(tmp_path / "again")
    assert load_tokenizer(str(tmp_path / "again")).chat_template == tokenizer.chat_template


def test_other_templates_stay_as_they_are(tmp_path: Path) -> None:
    for template in (OF_TEXT, "{{ raise_exception('a system message is needed') }}", "{{ messages[3].content }}"):
        save_tokenizer(tmp_path, eos_token="<end>")
        (tmp_path / "chat_template.jinja").write_text(template)
        assert load_tokenizer(str(tmp_path)).chat_template == template


# The packaged models


@pytest.mark.slow
@pytest.mark.parametrize("packaged_name", ["gemma3-270m"], indirect=True)
def test_gemma_knows_capitals(packaged_name: str) -> None:
    model, tokenizer = load_model(packaged_name), load_tokenizer(packaged_name)

    def next_tokens(text: str) -> list[str]:
        best = model(**tokenizer(text, return_tensors="pt")).logits[0, -1].topk(3).indices
        return list(tokenizer.convert_ids_to_tokens(best))

    assert next_tokens("Paris is the capital of")[0] == "▁France"
    assert "▁Paris" in next_tokens("The capital of France is")  # third, after `the` and `a`, in llama.cpp too


@pytest.mark.slow
@pytest.mark.parametrize("packaged_name", ["smollm2-135m"], indirect=True)
def test_smollm2_answers(packaged_name: str) -> None:
    model, tokenizer = load_model(packaged_name), load_tokenizer(packaged_name)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError("CUDA out of")],
)
@pytest.mark.parametrize("where", ["from_pretrained", "to"])
def test_too_little_memory_for_a_model_says_what_to_do(tiny_directory, monkeypatch, error, where):
    def fail(*arguments: object, **options: object) -> None:
        raise error

    target = "transformers.LlamaForCausalLM.to" if where == "to" else "congrad.models.load.AutoModelForCausalLM"
    if where == "to" and isinstance(error, MemoryError):
        return
    monkeypatch.setattr(target if where == "to" else f"{target}.from_pretrained", fail)
    with pytest.raises(UserError) as refused:
        load_model(str(tiny_directory), device="cpu", dtype="float32")
    assert str(refused.value).startswith(f"out of memory while model {tiny_directory} is loaded; set model.dtype")
