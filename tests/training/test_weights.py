"""M_{t+1} is M_t and its adapter, or M_t after training, in M_t's dtype; what the cast loses is told."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.files import stored_dtypes
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.models.load import load_model, load_tokenizer
from congrad.settings.model import Model
from congrad.training.weights import cast, load_plain, merge, round_to, save_next

IDS = torch.arange(2, 14)[None]


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits.float()
    return found


@pytest.fixture
def make_adapter(tiny_directory: Path, tmp_path: Path) -> Callable[[float], Path]:
    """An adapter of the tiny model whose matrices are random, of about the scale given, as the trainer saves one."""

    def make(scale: float) -> Path:
        settings = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
        adapted = get_peft_model(load_model(str(tiny_directory)), settings)
        generator = torch.Generator().manual_seed(3)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data = scale * torch.randn(parameter.shape, generator=generator)
        adapted.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    return make


@pytest.fixture
def half(tiny_directory: Path, tmp_path: Path) -> Model:
    """The tiny model in bfloat16; the dtype is named, since `auto` may choose another."""
    shutil.copytree(tiny_directory, tmp_path / "half")
    full = load_plain(Model(str(tiny_directory), dtype="float32"))
    cast(full, torch.bfloat16).save_pretrained(tmp_path / "half")
    return Model(str(tmp_path / "half"), dtype="bfloat16")


def test_the_merged_model_answers_as_base_and_adapter(
    tiny_directory: Path, tmp_path: Path, make_adapter: Callable[[float], Path]
) -> None:
    adapter = make_adapter(0.2)
    model = Model(str(tiny_directory))
    rounding = save_next(model, adapter, load_tokenizer(model.name), tmp_path, lora=True)
    assert rounding == 0
    unmerged = load_model(model.name, adapter=str(adapter))
    saved = load_model(str(tmp_path / "model"))
    assert not any("lora" in name for name, _ in saved.named_parameters())
    torch.testing.assert_close(logits(saved), logits(unmerged), rtol=1e-4, atol=1e-4)
    assert (logits(saved) - logits(load_model(model.name))).abs().max() > 0.1, "the adapter does something"
    kept = load_model(model.name, adapter=str(tmp_path / "adapter"))
    assert torch.equal(logits(kept), logits(unmerged))
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


@pytest.mark.bfloat16
def test_bfloat16_is_merged_in_float32_and_cast_once(
    half: Model, tmp_path: Path, make_adapter: Callable[[float], Path]
) -> None:
    adapter = make_adapter(0.2)
    rounding = save_next(half, adapter, load_tokenizer(half.name), tmp_path, lora=True)
    exact = merge(load_plain(replace(half, dtype="float32")), adapter)
    assert stored_dtypes(tmp_path / "model") == {torch.bfloat16}
    saved = load_model(str(tmp_path / "model"), dtype="bfloat16")
    for (name, after), before in zip(saved.named_parameters(), exact.parameters(), strict=True):
        assert torch.equal(after, before.to(torch.bfloat16)), name
    assert 0 < rounding < 0.1
    torch.testing.assert_close(
        logits(load_model(str(tmp_path / "model"), dtype="float32")), logits(exact), rtol=0.05, atol=0.1
    )


@pytest.mark.bfloat16
def test_an_update_below_the_dtypes_resolution_is_said_to_be_lost(
    half: Model, tmp_path: Path, make_adapter: Callable[[float], Path]
) -> None:
    assert save_next(half, make_adapter(0.003), load_tokenizer(half.name), tmp_path, lora=True) > 0.5
    assert (
        save_next(replace(half, dtype="float32"), make_adapter(0.003), load_tokenizer(half.name), tmp_path, lora=True)
        == 0
    )


def test_rounding_worked_by_hand() -> None:
    """bfloat16 has steps of 1/128 between 1 and 2: 1 + 1/512 falls back to 1, 1 + 1/64 stays."""
    before, after = torch.nn.Linear(2, 1, bias=False, dtype=torch.bfloat16), torch.nn.Linear(2, 1, bias=False)
    before.weight.data[:] = 1
    after.weight.data = torch.tensor([[1 + 1 / 512, 1 + 1 / 64]])
    lost, update = (1 / 512) ** 2, (1 / 512) ** 2 + (1 / 64) ** 2
    assert round_to(after, before) == pytest.approx((lost / update) ** 0.5)  # type: ignore[arg-type]
    assert after.weight.tolist() == [[1, 1 + 1 / 64]]
    assert round_to(before, before) == 0  # type: ignore[arg-type]


def test_full_weights_are_saved_as_trained(half: Model, tmp_path: Path) -> None:
    trained = load_plain(replace(half, dtype="float32"))
    for parameter in trained.parameters():
        parameter.data *= 1.5
    trained.save_pretrained(tmp_path / "trained")
    tokenizer = load_tokenizer(half.name)
    tokenizer.chat_template = "{{ messages }}"
    save_next(half, tmp_path / "trained", tokenizer, tmp_path, lora=False)
    assert stored_dtypes(tmp_path / "model") == {torch.bfloat16}
    saved = load_plain(Model(str(tmp_path / "model"), dtype="bfloat16"))
    for after, before in zip(saved.parameters(), trained.parameters(), strict=True):
        assert torch.equal(after, before.to(torch.bfloat16))
    assert saved.config.use_cache is True, "engines generate with a cache"
    assert load_tokenizer(str(tmp_path / "model")).chat_template == "{{ messages }}"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not list((tmp_path / "model").glob("*.bin")), "no pickle"


def test_a_model_with_an_adapter_is_loaded_as_one(half: Model, make_adapter: Callable[[float], Path]) -> None:
    adapter = str(make_adapter(0.2))
    loaded = load_plain(replace(half, adapter=adapter))
    expected = merge(load_plain(replace(half, dtype="float32")), adapter)
    assert loaded.dtype == torch.bfloat16
    for one, other in zip(loaded.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other.to(torch.bfloat16))


def test_what_is_no_adapter(tiny_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no adapter_config"):
        load_plain(Model(str(tiny_directory), adapter=str(tmp_path)))
