"""The user's dictionary reaches `DPOConfig` as it is, and what cannot be meant is refused by name."""

import dataclasses
import inspect
import re
from typing import Any

import pytest
import torch
from trl import DPOConfig, DPOTrainer

from congrad.errors import UserError
from congrad.settings.train import LOSS_TYPES, OWNED, check_dpo_config, dpo_fields
from congrad.settings.training import Lora, Rounds
from congrad.training.config import (
    defaults,
    is_cpu,
    make_dpo_config,
)

CPU = {"max_length": 300, "cpu": True, "lora": False, "evaluates": False}


def refusal(values: dict[str, Any], **rounds: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_dpo_config(values, Rounds(**rounds))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_names_are_trls() -> None:
    names = {field.name for field in dataclasses.fields(DPOConfig)}
    assert set(dpo_fields()) == {field.name for field in dataclasses.fields(DPOConfig) if field.init}, (
        "read from the source"
    )
    assert names >= OWNED.keys()
    for evaluates in (False, True):
        assert names >= defaults(max_length=8, cpu=True, lora=True, evaluates=evaluates).keys()
    in_trl = re.findall(r'loss_type == "(\w+)"', inspect.getsource(DPOTrainer._compute_loss))
    assert set(in_trl) == set(LOSS_TYPES)


def test_what_the_user_gives_has_the_last_word(tmp_path: Any) -> None:
    values = {"learning_rate": 3e-4, "max_length": 77, "save_steps": 5, "loss_type": ["sigmoid", "sft"], "bf16": True}
    check_dpo_config(values, Rounds())
    config = make_dpo_config(values, str(tmp_path / "x"), defaults(**CPU), cpu=True)
    for name, value in values.items():
        assert getattr(config, name) == value
    assert config.report_to in ([], ["none"])
    assert not (tmp_path / "x").exists()


def test_what_is_left_out_has_trls_default_but_for_the_table(tmp_path: Any) -> None:
    table = defaults(**CPU)
    ours = make_dpo_config({}, str(tmp_path), table, cpu=True)
    trls = make_dpo_config({}, str(tmp_path), {"bf16": False}, cpu=True)
    differing = {
        field.name for field in dataclasses.fields(DPOConfig) if getattr(ours, field.name) != getattr(trls, field.name)
    }
    assert differing - {"logging_dir", "run_name"} <= table.keys()
    assert (ours.max_length, ours.bf16, ours.activation_checkpointing) == (300, False, True)


def test_adapters_learn_faster_unless_told_otherwise() -> None:
    assert defaults(**{**CPU, "lora": True})["learning_rate"] == 1e-5
    assert "learning_rate" not in defaults(**CPU)


def test_half_precision_is_the_users_to_choose(tmp_path: Any) -> None:
    assert make_dpo_config({"fp16": False}, str(tmp_path), defaults(**CPU), cpu=True).bf16 is True


def test_names_that_are_none_or_not_the_users() -> None:
    assert (
        refusal({"learning_rat": 1})
        == "train.learning_rat is not a field of TRL's DPOConfig; did you mean learning_rate?"
    )
    assert "train.xyzzy is not a field" in refusal({"xyzzy": 1})
    assert refusal({"output_dir": "x"}).startswith("train.output_dir cannot be set here; the stage has a directory")
    assert "nothing is uploaded" in refusal({"push_to_hub": True})
    assert "takes attn_implementation and dtype, not revision" in refusal({"model_init_kwargs": {"revision": "x"}})
    assert "not 'bfloat16'" in refusal({"model_init_kwargs": "bfloat16"})
    check_dpo_config({"model_init_kwargs": {"dtype": "bfloat16"}}, Rounds())


def test_values_that_trl_refuses(tmp_path: Any) -> None:
    for values in ({"loss_type": ["sigmoid"], "loss_weights": [1, 2]}, {"eval_strategy": "sometimes"}):
        check_dpo_config(values, Rounds())
        with pytest.raises(UserError, match=r"^train is refused by TRL \(.*\); fix the section$"):
            make_dpo_config(values, str(tmp_path), defaults(**CPU), cpu=True)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        *(
            ({"loss_type": name}, f"loss_type {name}, which is not a function of the margin")
            for name in ("ipo", "sigmoid_norm", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero")
        ),
        ({"loss_type": ["sigmoid", "apo_down"]}, "loss_type apo_down"),
        ({"loss_type": ["sft"]}, "loss_type sft, which has no margin"),
        ({"ld_alpha": 0.5}, "ld_alpha"),
        ({"f_divergence_type": "forward_kl"}, "f_divergence_type forward_kl"),
    ],
    ids=str,
)
def test_a_penalty_is_refused_where_it_would_mean_something_else(values: dict[str, Any], part: str) -> None:
    line = refusal(values, length_penalty=0.01)
    assert line.startswith("rounds.length_penalty does not go with train.")
    assert part in line
    check_dpo_config(values, Rounds())


def test_a_penalty_needs_a_beta() -> None:
    assert "train.beta 0: must be above 0" in refusal({"beta": 0}, length_penalty=0.01)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"learning_rate": "5e-5"}, "train.learning_rate '5e-5': must be a number"),
        ({"learning_rate": True}, "train.learning_rate true: must be a number"),
        ({"per_device_train_batch_size": 2.5}, "train.per_device_train_batch_size 2.5: must be a whole number"),
        ({"seed": None}, "train.seed null: must be a whole number"),
        ({"label_smoothing": "none"}, "train.label_smoothing 'none': must be a number"),
    ],
)
def test_values_of_another_type(values: dict[str, Any], line: str) -> None:
    assert refusal(values) == line


def test_values_of_the_types_that_trl_takes() -> None:
    check_dpo_config({"learning_rate": 1, "max_length": None, "loss_type": ["sigmoid"], "report_to": "none"}, Rounds())
    check_dpo_config({"warmup_steps": 0.1, "eval_strategy": "no", "lr_scheduler_kwargs": {}}, Rounds())


def test_an_unknown_loss() -> None:
    assert refusal({"loss_type": "sigmod"}) == "train.loss_type 'sigmod': is unknown; did you mean sigmoid?"


def test_dropout_that_trl_would_switch_off() -> None:
    lora = Lora(dropout=0.1)
    assert "set train.disable_dropout to false" in refusal({}, lora=lora)
    check_dpo_config({"disable_dropout": False}, Rounds(lora=lora))


def test_devices() -> None:
    assert is_cpu("cpu")
    assert is_cpu("auto") is not torch.cuda.is_available()
    with pytest.raises(UserError, match="choose with CUDA_VISIBLE_DEVICES"):
        is_cpu("cuda:1")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="finds 0 CUDA devices"):
            is_cpu("cuda")
