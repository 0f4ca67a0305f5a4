"""The few lines that each trainer needs beside the pairs: the model, the loss that was scored, and where the pairs lie.

All of them are to be run from the directory of the export. What is about the hardware or the budget (batch size,
learning rate, epochs) is the trainer's example value and the user's to change.
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from congrad.errors import UserError
from congrad.filtering.directory import RUN
from congrad.filtering.finished import KEPT, Run
from congrad.words import printable, quote

# What the trainers know the packaged models by; the packages hold quantised copies of them.
HUB_IDS = {"gemma3-270m": "google/gemma-3-270m", "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}
DATASET = "congrad"
LONGEST_NAME = 4096  # a path's greatest length on Linux


@dataclass(frozen=True)
class Setup:
    """What of a run decides how to train on its pairs.

    Attributes:
        model: hub id or directory.
        conversational: the pairs are conversations, which the trainer is to put through the chat template.
        loss, beta, label_smoothing, target_margin: as scored, see `congrad.consensus.Loss`.
        max_length: tokens of prompt and response together.
    """

    model: str
    conversational: bool
    loss: str
    beta: float
    label_smoothing: float | None
    target_margin: float | None
    max_length: int


def setup_of(run: Run, *, conversational: bool) -> Setup:
    """What of the run goes into scripts; a `UserError` where its model has a name that none can have."""
    loss = run.settings.get("loss", {})
    model = str(run.settings.get("model", {}).get("name", "MODEL"))
    if not model.isprintable() or len(model) > LONGEST_NAME:
        problem = f"the name of its model, {quote(model)}, cannot be one"
        raise UserError(problem, "filter the data again", at=run.directory / RUN.last)
    return Setup(
        model=HUB_IDS.get(model, model),
        conversational=conversational,
        loss=loss.get("name", "dpo"),
        beta=loss.get("beta", 0.1),
        label_smoothing=loss.get("label_smoothing"),
        target_margin=loss.get("target_margin"),
        max_length=run.settings.get("input", {}).get("max_length", 1024),
    )


def _loss_options(setup: Setup, known: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The trainer's options for the loss that was scored, and comments where it has no such loss."""
    if setup.loss in known:
        return known[setup.loss], []
    remark = (
        "train with `congrad train`" if setup.loss == "lp-dpo" else "filter with a loss that it has, or train elsewhere"
    )
    return known["dpo"], [f"The pairs were scored with the loss {setup.loss}, which this trainer lacks: {remark}."]


def trl(setup: Setup) -> dict[str, str]:
    """https://huggingface.co/docs/trl/dpo_trainer"""
    known: dict[str, dict[str, Any]] = {
        "dpo": {"loss_type": "sigmoid"},
        "hinge": {"loss_type": "hinge"},
        "ipo": {"loss_type": "ipo"},
        "robust": {"loss_type": "robust", "label_smoothing": setup.label_smoothing},
    }
    options, remarks = _loss_options(setup, known)
    values = {"output_dir": "model", **options, "beta": setup.beta, "max_length": setup.max_length}
    arguments = [
        *(f"{name}={value!r}" for name, value in values.items()),
        "use_cpu=not torch.accelerator.is_available()",
    ]
    lines = [
        '"""Train on the kept pairs: pip install trl, then python train_dpo.py in this directory."""',
        "",
        "import torch",
        "from datasets import load_dataset",
        "from trl import DPOConfig, DPOTrainer",
        "",
        *map(_comment, remarks),
        "trainer = DPOTrainer(",
        f"    model={setup.model!r},",
        f"    args=DPOConfig({', '.join(arguments)}),",
        f'    train_dataset=load_dataset("json", data_files="{KEPT}", split="train"),',
        ")",
        "trainer.train()",
        "trainer.save_model()",
    ]
    return {"train_dpo.py": "\n".join(lines) + "\n"}


def llamafactory(setup: Setup) -> dict[str, str]:
    """data/README.md and examples/train_lora/qwen3_lora_dpo.yaml of hiyouga/LLaMA-Factory."""
    info: dict[str, Any] = {"file_name": KEPT, "ranking": True}
    if setup.conversational:
        info["formatting"] = "sharegpt"
        info["columns"] = {name: name for name in ("messages", "chosen", "rejected")}
        info["tags"] = {f"{name}_tag": name for name in ("role", "content", "user", "assistant", "system")}
    else:
        info["columns"] = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    known: dict[str, dict[str, Any]] = {
        "dpo": {"pref_loss": "sigmoid"},
        "hinge": {"pref_loss": "hinge"},
        "ipo": {"pref_loss": "ipo"},
        "simpo": {"pref_loss": "simpo", "simpo_gamma": setup.target_margin},
    }
    options, remarks = _loss_options(setup, known)
    if setup.conversational:
        remarks.append("Without `template` LLaMA-Factory reads the chat template of the tokenizer.")
    else:
        remarks.append("Plain text was scored with an EOS token after each response, which `empty` does not add.")
    settings = {
        "model_name_or_path": setup.model,
        "stage": "dpo",
        "do_train": True,
        "finetuning_type": "full",
        **options,
        "pref_beta": setup.beta,
        "dataset_dir": ".",
        "dataset": DATASET,
        **({} if setup.conversational else {"template": "empty"}),
        "cutoff_len": setup.max_length,
        "output_dir": "model",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 5.0e-6,
        "num_train_epochs": 1.0,
        "bf16": True,
    }
    content = json.dumps({DATASET: info}, indent=2, ensure_ascii=False) + "\n"
    return {"dataset_info.json": content, "train_dpo.yaml": _yaml(settings, [COMMANDS["llamafactory"], *remarks])}


def ms_swift(setup: Setup) -> dict[str, str]:
    """https://swift.readthedocs.io/en/latest/Instruction/Command-line-parameters.html (RLHF arguments)"""
    known: dict[str, dict[str, Any]] = {
        "dpo": {"rlhf_type": "dpo", "loss_type": "sigmoid"},
        "hinge": {"rlhf_type": "dpo", "loss_type": "hinge"},
        "ipo": {"rlhf_type": "dpo", "loss_type": "ipo"},
        "robust": {"rlhf_type": "dpo", "loss_type": "robust", "label_smoothing": setup.label_smoothing},
        "simpo": {"rlhf_type": "simpo", "simpo_gamma": setup.target_margin},
    }
    options, remarks = _loss_options(setup, known)
    arguments = {
        **options,
        "beta": setup.beta,
        "model": setup.model,
        "use_hf": "true",
        "dataset": KEPT,
        **({} if setup.conversational else {"use_chat_template": "false"}),
        "max_length": setup.max_length,
        "output_dir": "model",
    }
    return {"train_dpo.sh": _script("swift rlhf", {f"--{name}": value for name, value in arguments.items()}, remarks)}


def axolotl(setup: Setup) -> dict[str, str]:
    """https://docs.axolotl.ai/docs/rlhf.html"""
    dataset: dict[str, Any] = {"path": KEPT, "ds_type": "json", "split": "train"}
    if setup.conversational:
        dataset |= {
            "type": "chat_template.default",
            "field_messages": "messages",
            "field_chosen": "chosen",
            "field_rejected": "rejected",
            "message_property_mappings": {"role": "role", "content": "content"},
            "roles": {role: [role] for role in ("user", "assistant", "system")},
        }
    else:
        sides = ("prompt", "chosen", "rejected")
        dataset["type"] = {f"field_{side}": side for side in sides}
        dataset["type"] |= {f"{side}_format": f"{{{side}}}" for side in sides}
    simpo = {"rl": "simpo", "simpo_gamma": setup.target_margin}
    options, remarks = _loss_options(setup, {"dpo": {"rl": "dpo"}, "ipo": {"rl": "ipo"}, "simpo": simpo})
    settings = {
        "base_model": setup.model,
        **options,
        "rl_beta": setup.beta,
        **({"chat_template": "tokenizer_default"} if setup.conversational else {}),
        "datasets": [dataset],
        "sequence_len": setup.max_length,
        "output_dir": "model",
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "num_epochs": 1,
        "optimizer": "adamw_torch_fused",
        "learning_rate": 5.0e-6,
        "lr_scheduler": "cosine",
        "bf16": "auto",
    }
    return {"train_dpo.yaml": _yaml(settings, [COMMANDS["axolotl"], *remarks])}


def openrlhf(setup: Setup) -> dict[str, str]:
    """https://openrlhf.readthedocs.io/en/latest/common_options.html"""
    options, remarks = _loss_options(setup, {"dpo": {}, "ipo": {"--model.ipo_enable": None}})
    remarks.append(
        "OpenRLHF before 0.10 has no dots: --pretrain, --beta, --dataset, --prompt_key, --chosen_key, --rejected_key, "
        "--apply_chat_template, --max_len, --save_path."
    )
    if not setup.conversational:
        remarks.append("It adds no BOS token to plain text, and a space before the EOS token.")
    arguments = {
        "--model.model_name_or_path": setup.model,
        **options,
        "--model.beta": setup.beta,
        "--data.dataset": f"./{KEPT}",
        **{f"--data.{side}_key": side for side in ("prompt", "chosen", "rejected")},
        **({"--data.apply_chat_template": None} if setup.conversational else {}),
        "--data.max_len": setup.max_length,
        "--ckpt.output_dir": "model",
    }
    return {"train_dpo.sh": _script("deepspeed --module openrlhf.cli.train_dpo", arguments, remarks)}


CONFIGS: dict[str, Callable[[Setup], dict[str, str]]] = {
    "trl": trl,
    "llamafactory": llamafactory,
    "ms-swift": ms_swift,
    "axolotl": axolotl,
    "openrlhf": openrlhf,
}
CONFIG_FILES = ("train_dpo.py", "train_dpo.yaml", "train_dpo.sh", "dataset_info.json")  # all that any of them writes
COMMANDS = {
    "trl": "python train_dpo.py",
    "llamafactory": "llamafactory-cli train train_dpo.yaml",
    "ms-swift": "bash train_dpo.sh",
    "axolotl": "axolotl train train_dpo.yaml",
    "openrlhf": "bash train_dpo.sh",
}


def _comment(remark: str) -> str:
    """One line of Python, shell or YAML, whatever the text holds."""
    return f"# {printable(remark)}"


def _argument(name: str, value: str) -> str:
    """An option with its value, which is no option even where it begins like one."""
    return shlex.quote(f"{name}={value}") if value.startswith("-") else f"{name} {shlex.quote(value)}"


def _yaml(settings: dict[str, Any], remarks: list[str]) -> str:
    comments = "".join(f"{_comment(remark)}\n" for remark in remarks)
    return comments + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _script(command: str, arguments: dict[str, Any], remarks: list[str]) -> str:
    """A shell script; an argument without a value is a switch."""
    words = [name if value is None else _argument(name, str(value)) for name, value in arguments.items()]
    comments = "".join(f"{_comment(remark)}\n" for remark in remarks)
    return f"#!/bin/sh\n{comments}{command} \\\n    " + " \\\n    ".join(words) + "\n"
