"""A new adapter: drawn by the layers' names, beside a model that computes what it computed."""

import hashlib
import sys
from typing import Any

import numpy as np
import pytest
import torch

from congrad.errors import UserError
from congrad.models.load import load_model
from congrad.settings.model import NewLora

pytest.importorskip("peft")
IDS = torch.arange(6)[None]


def matrices(name: str, **options: Any) -> dict[str, torch.Tensor]:
    model = load_model(name, dtype="float32", lora=NewLora(**options))
    return {name: weight for name, weight in model.named_parameters() if ".lora_" in name}


def test_the_model_computes_what_it_computed(checkpoint: str) -> None:
    before = torch.get_rng_state()
    adapted = load_model(checkpoint, dtype="float32", lora=NewLora(r=3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(adapted(input_ids=IDS).logits, load_model(checkpoint, dtype="float32")(input_ids=IDS).logits)
    assert not adapted.training
    assert not any(parameter.requires_grad for parameter in adapted.parameters())


def test_b_is_zero_and_a_is_drawn_by_the_names_of_layers_and_the_seed(checkpoint: str) -> None:
    torch.manual_seed(1)
    one = matrices(checkpoint, r=3)
    torch.manual_seed(2)
    again, other = matrices(checkpoint, r=3), matrices(checkpoint, r=3, seed=1)
    of_a = [name for name in one if ".lora_A." in name]
    assert len(of_a) == 2 * 7  # all linear layers of 2 blocks, not the head
    assert all(not weight.any() for name, weight in one.items() if name not in of_a)
    assert all(torch.equal(one[name], again[name]) for name in of_a)
    assert not any(torch.equal(one[name], other[name]) for name in of_a)
    assert len({one[name].numpy().tobytes() for name in of_a}) == len(of_a)
    few = matrices(checkpoint, r=3, target_modules=["v_proj"])
    assert all(torch.equal(weight, one[name]) for name, weight in few.items())


def test_a_is_distributed_as_peft_draws_it(checkpoint: str) -> None:
    """Uniform within 1 / sqrt(inputs), of which the standard deviation is a part of sqrt(3)."""
    for name, weight in matrices(checkpoint, r=64).items():
        if ".lora_A." in name:
            bound = weight.shape[1] ** -0.5
            assert 0.98 * bound < weight.abs().max() <= bound
            assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_first_numbers_of_a(checkpoint: str) -> None:
    """From the raw stream of Philox, 24 bits each: an index depends on them, so that no version may draw others."""
    weight = matrices(checkpoint, r=2)["model.layers.0.self_attn.q_proj.lora_A.new.weight"]
    digest = hashlib.sha256(b"0/A/model.layers.0.self_attn.q_proj").digest()
    words = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8")).random_raw(3)
    expected = [((int(word) >> 40) / 2**23 - 1) / 16**0.5 for word in words]  # of 16 inputs
    assert weight.flatten()[:3].tolist() == expected


def test_layers_that_are_not_there(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^model\.lora\.target_modules .*nowhere.*: is refused by PEFT \("):
        matrices(checkpoint, target_modules=["nowhere"])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"^model\.lora needs PEFT; pip install 'congrad\[lora\]'$"):
        matrices(checkpoint)
