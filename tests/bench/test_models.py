"""A cross-section of the matrix of models, and that its truths find what is wrong."""

import warnings

import pytest
import torch
from bench.models import measure as measuring
from bench.models.page import outcome, page, routes
from bench.models.tiny import CAUSAL, IMAGE_TEXT, build
from transformers.models.llama.modeling_llama import LlamaMLP

pytest.importorskip("peft")

WAYS = {
    "gemma3_text": "packed",
    "gpt2": "packed",
    "mixtral": "packed",
    "bloom": "general",
    "llama4_text": "general",
    "zamba2": "general",
    "smolvlm": "packed",
}


def measured(kind):
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PEFT, and of weights that are not those of a checkpoint
        return measuring.measure(kind)


@pytest.mark.bfloat16
@pytest.mark.parametrize("kind", WAYS)
def test_a_cross_section_is_exact(kind):
    row = measured(kind)
    assert outcome(row) == ("exact", "")
    assert routes(row) == WAYS[kind]
    assert "lora" in row


def test_an_encoder_is_not_causal():
    word, why = outcome(measured("roberta"))
    assert word == "not causal"
    assert why.startswith("model 'roberta': RobertaForCausalLM reads ahead as it is loaded")


def test_what_cannot_run_on_text_is_not_built():
    assert outcome(measured("blip"))[0] == "not built"
    assert outcome(measured("musicgen")) == (
        "not built",
        "its decoder writes audio codes, by what an encoder makes of a text",
    )


@pytest.mark.bfloat16
def test_a_path_that_a_family_detaches_is_found(monkeypatch):
    real = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: real(self, x.detach()))
    word, why = outcome(measured("llama"))
    assert word == "detached"
    assert why.startswith("its derivative in float64 is ")


@pytest.mark.bfloat16
def test_a_gradient_that_is_a_thousandth_off_is_found(monkeypatch):
    real = measuring.answer

    def off(*arguments):
        done = real(*arguments)
        done["found"].sketches_BD.mul_(1.001)
        return done

    monkeypatch.setattr(measuring, "answer", off)
    word, why = outcome(measured("llama"))
    assert (word, why.split(",")[0]) == ("wrong", "bare float32 auto")


@pytest.mark.bfloat16
def test_an_error_of_the_program_is_a_traceback(monkeypatch):
    def fail(*arguments):
        raise KeyError("nothing")

    monkeypatch.setattr(measuring, "check_whole", fail)
    word, why = outcome(measured("llama"))
    assert word == "traceback"
    assert why.startswith("KeyError: 'nothing' (test_models.py:")


def test_weights_are_the_same_in_bfloat16():
    model, _ = build("qwen3")
    assert all(torch.equal(weight, weight.bfloat16().float()) for weight in model.parameters())
    assert sum(weight.numel() for weight in model.parameters()) < 100_000


def test_the_page_has_a_line_for_every_type():
    rows = [{"type": kind, "not built": "no `package`"} for kind in (*CAUSAL, *IMAGE_TEXT)]
    fine = {"sketch": 1e-6, "logps": 2e-7, "fine": True}
    rows[0] = {
        "type": CAUSAL[0],
        "causal": True,
        "derivative": 3e-9,
        "bare": {
            "float32 auto": {"route": "packed", "seconds": 1.0, **fine},
            "float32 general": {"route": "general", "seconds": 2.5, **fine},
            "bfloat16 auto": {"route": "general", **fine},
        },
        "no adapter": "none",
    }
    facts = dict.fromkeys(("commit", "date", "processor", "torch", "transformers", "peft"), "x")
    text = page(rows, facts, {"6.0.0": [rows[0] | {"registry": "images and text"}]})
    assert f"| {CAUSAL[0]} | exact | packed; general in bfloat16 | 1e-06 | 3e-09 | 0.0 |  | 2.5 |" in text
    assert all(f"\n| {kind} | " in text for kind in (*CAUSAL, *IMAGE_TEXT))
    assert f"- {CAUSAL[1]}, {CAUSAL[2]}, " in text
    assert f", {IMAGE_TEXT[-1]}: `no 'package'`\n" in text
    assert f"| causal language models | {len(CAUSAL)} | 1 | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 |" in text
    assert "| images and text, transformers 6.0.0 | 1 | 1 | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 |" in text
