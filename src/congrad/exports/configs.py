"""The few lines that each trainer needs beside the pairs: the model, the loss that was scored, and where the pairs lie.

All of them are to be run from the directory of the export. What is about the hardware or the budget (batch size,
learning rate, epochs) is the trainer's example value and the user's to change.
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from congrad.exports.setup import ALL_LINEAR, Lora, Setup
from congrad.filtering.finished import KEPT
from congrad.words import printable

DATASET = "congrad"


@dataclass(frozen=True)
class Config:
    """Files by name, and what of the run the trainer cannot express, which stands in their comments."""

    files: dict[str, str]
    remarks: list[str]


def _options(setup: Setup, known: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The trainer's options for the loss that was scored, and comments on what it does not get."""
    remarks = []
    if setup.quantise:
        remarks.append(f"The model was scored with its weights quantised ({setup.quantise}), which is not set here.")
    if setup.loss in known:
        return known[setup.loss], remarks
    remark = (
        "train with `congrad train`" if setup.loss == "lp-dpo" else "filter with a loss that it has, or train elsewhere"
    )
    remarks.append(f"The pairs were scored with the loss {setup.loss}, which this trainer lacks: {remark}.")
    return known["dpo"], remarks


def trl(setup: Setup) -> Config:
    """https://huggingface.co/docs/trl/dpo_trainer"""
    known: dict[str, dict[str, Any]] = {
        "dpo": {"loss_type": "sigmoid"},
        "hinge": {"loss_type": "hinge"},
        "ipo": {"loss_type": "ipo"},
        "robust": {"loss_type": "robust", "label_smoothing": setup.label_smoothing},
    }
    options, remarks = _options(setup, known)
    values = {"output_dir": "model", **options, "beta": setup.beta, "max_length": setup.max_length}
    arguments = [
        *(f"{name}={value!r}" for name, value in values.items()),
        "use_cpu=not torch.accelerator.is_available()",
    ]
    if setup.revision and not setup.adapter:
        arguments.append(f"model_init_kwargs={{'revision': {setup.revision!r}}}")
    loading, model, more = _trl_models(setup)
    lines = [
        '"""Train on the kept pairs: pip install trl, then python train_dpo.py in this directory."""',
        "",
        "import torch",
        "from datasets import load_dataset",
        *(["from peft import PeftModel"] if setup.adapter else []),
        *(["from peft import LoraConfig"] if setup.lora and not setup.adapter else []),
        *(["from transformers import AutoModelForCausalLM, AutoTokenizer"] if loading else []),
        "from trl import DPOConfig, DPOTrainer",
        "",
        *map(_comment, remarks),
        *loading,
        "trainer = DPOTrainer(",
        f"    model={model},",
        *more,
        f"    args=DPOConfig({', '.join(arguments)}),",
        f'    train_dataset=load_dataset("json", data_files="{KEPT}", split="train"),',
        ")",
        "trainer.train()",
        "trainer.save_model()",
    ]
    return Config({"train_dpo.py": "\n".join(lines) + "\n"}, remarks)


def _trl_models(setup: Setup) -> tuple[list[str], str, list[str]]:
    """Lines before the trainer that load models, the expression of its model, and its further arguments."""
    loading, more, model = [], [], repr(setup.model)
    if setup.adapter:
        revision = f", revision={setup.revision!r}" if setup.revision else ""
        loading += [
            f"base = AutoModelForCausalLM.from_pretrained({setup.model!r}{revision})",
            f"model = PeftModel.from_pretrained(base, {setup.adapter!r}, is_trainable=True)",
        ]
        model = "model"
        more.append(f"    processing_class=AutoTokenizer.from_pretrained({setup.model!r}{revision}),")
    elif setup.lora:
        more.append(f"    peft_config=LoraConfig({_lora_words(setup.lora)}),")
    if setup.reference:
        loading.append(f"reference = AutoModelForCausalLM.from_pretrained({setup.reference!r})")
        more.append("    ref_model=reference,")
    return loading, model, more


def _lora_words(lora: Lora) -> str:
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return f"r={lora.r}, lora_alpha={lora.alpha}, target_modules={modules!r}, task_type='CAUSAL_LM'"


def _modules(lora: Lora, everything: str) -> list[str]:
    """Names of layers, with the trainer's own word for all linear ones."""
    if isinstance(lora.target_modules, str):
        return [everything if lora.target_modules == ALL_LINEAR else lora.target_modules]
    return list(lora.target_modules)


def _rank_and_alpha(lora: Lora, rank: str, alpha: str, remarks: list[str]) -> dict[str, Any]:
    """Of an adapter, by the trainer's names, where it takes whole numbers alone; another alpha is said."""
    whole = max(round(lora.alpha), 1)
    if whole != lora.alpha:
        remarks.append(f"This trainer takes whole numbers: the alpha {lora.alpha} of the run is written as {whole}.")
    return {rank: lora.r, alpha: whole}


def llamafactory(setup: Setup) -> Config:
    """data/README.md and examples/train_lora/qwen3_lora_dpo.yaml of hiyouga/LLaMA-Factory."""
    info: dict[str, Any] = {"file_name": KEPT, "ranking": True}
    if setup.templated:
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
    options, remarks = _options(setup, known)
    if setup.templated and setup.template is None:
        remarks.append(
            "Without `template` LLaMA-Factory parses the chat template of the tokenizer, which fails for some models: "
            "Gemma 3 needs `template: gemma3`, Llama 3 `template: llama3`."
        )
    elif not setup.templated:
        remarks.append(
            "The template `empty` adds no BOS and no EOS token: where the pairs were scored with them, they are "
            "written in the text. Use the tokenizer of this model alone."
        )
    model: dict[str, Any] = {"model_name_or_path": setup.model}
    if setup.revision:
        model["model_revision"] = setup.revision
    if setup.lora is None:
        model["finetuning_type"] = "full"
    else:
        lora = _rank_and_alpha(setup.lora, "lora_rank", "lora_alpha", remarks)
        model |= {"finetuning_type": "lora", **lora, "lora_target": ",".join(_modules(setup.lora, "all"))}
    if setup.adapter:
        model["adapter_name_or_path"] = setup.adapter
        if not setup.reference:  # else the adapter is turned off for the reference
            model |= {"ref_model": setup.model, "ref_model_adapters": setup.adapter}
    if setup.reference:
        model["ref_model"] = setup.reference
        if setup.revision:
            remarks.append("LLaMA-Factory loads the reference with the revision of the model; it has no other setting.")
    settings = {
        **model,
        "stage": "dpo",
        "do_train": True,
        **options,
        "pref_beta": setup.beta,
        "dataset_dir": ".",
        "dataset": DATASET,
        **({"template": setup.template} if setup.template else {} if setup.templated else {"template": "empty"}),
        "cutoff_len": setup.max_length,
        "output_dir": "model",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 5.0e-6,
        "num_train_epochs": 1.0,
        "bf16": True,
    }
    content = json.dumps({DATASET: info}, indent=2, ensure_ascii=False) + "\n"
    text = _yaml(settings, [COMMANDS["llamafactory"], *remarks])
    return Config({"dataset_info.json": content, "train_dpo.yaml": text}, remarks)


def ms_swift(setup: Setup) -> Config:
    """https://swift.readthedocs.io/en/latest/Instruction/Command-line-parameters.html (RLHF arguments)"""
    known: dict[str, dict[str, Any]] = {
        "dpo": {"rlhf_type": "dpo", "loss_type": "sigmoid"},
        "hinge": {"rlhf_type": "dpo", "loss_type": "hinge"},
        "ipo": {"rlhf_type": "dpo", "loss_type": "ipo"},
        "robust": {"rlhf_type": "dpo", "loss_type": "robust", "label_smoothing": setup.label_smoothing},
        "simpo": {"rlhf_type": "simpo", "simpo_gamma": setup.target_margin},
    }
    options, remarks = _options(setup, known)
    arguments: dict[str, Any] = {**options, "beta": setup.beta, "model": setup.model, "use_hf": "true"}
    if Path(setup.model).is_dir() and (kind := swift_model_type(Path(setup.model))):
        arguments["model_type"] = kind
    if setup.template:
        arguments["template"] = setup.template
    elif Path(setup.model).is_dir():
        arguments["template"] = "dummy"
    if setup.revision:
        arguments["model_revision"] = setup.revision
    arguments["tuner_type"] = "full" if setup.lora is None else "lora"
    if setup.lora is not None:
        arguments |= _rank_and_alpha(setup.lora, "lora_rank", "lora_alpha", remarks)
        arguments["target_modules"] = _modules(setup.lora, "all-linear")
    if setup.adapter:
        arguments["adapters"] = setup.adapter
        if not setup.reference:
            arguments["ref_adapters"] = setup.adapter
    if setup.reference:
        arguments["ref_model"] = setup.reference
    arguments |= {
        "dataset": KEPT,
        **({} if setup.templated else {"use_chat_template": "false"}),
        "max_length": setup.max_length,
        "truncation_strategy": "right",
        "output_dir": "model",
    }
    words = {f"--{name}": value for name, value in arguments.items()}
    return Config({"train_dpo.sh": _script("swift rlhf", words, remarks)}, remarks)


# Where several of ms-swift's model types have the architecture, it asks for one by name (models/*.py of 4.6.0).
SWIFT_MODEL_TYPES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}


def swift_model_type(directory: Path) -> str | None:
    """The model type to name for a local directory; None where ms-swift finds it by itself."""
    try:
        architectures = json.loads((directory / "config.json").read_text(encoding="utf-8"))["architectures"]
        return SWIFT_MODEL_TYPES.get(architectures[0])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def axolotl(setup: Setup) -> Config:
    """https://docs.axolotl.ai/docs/rlhf.html

    `passthrough.default` gives the rows to TRL's trainer as they are, which puts conversations through the chat
    template itself. `chat_template.default` searches the response in the rendered text, where the template's own words
    can hold it, and cuts white space. Preparing means to measure rows as text, which a conversation is not.
    """
    dataset: dict[str, Any] = {"path": KEPT, "ds_type": "json", "split": "train", "type": "passthrough.default"}
    simpo = {"rl": "simpo", "simpo_gamma": setup.target_margin}
    options, remarks = _options(setup, {"dpo": {"rl": "dpo"}, "ipo": {"rl": "ipo"}, "simpo": simpo})
    model: dict[str, Any] = {"base_model": setup.model}
    if setup.revision:
        model["revision_of_model"] = setup.revision
    if setup.lora is not None:
        lora = _rank_and_alpha(setup.lora, "lora_r", "lora_alpha", remarks)
        model |= {"adapter": "lora", **lora, "lora_dropout": 0.0}
        if setup.lora.target_modules == ALL_LINEAR:
            model["lora_target_linear"] = True
        else:
            model["lora_target_modules"] = _modules(setup.lora, ALL_LINEAR)
    if setup.adapter:
        remarks.append(
            f"The model was scored with the adapter {setup.adapter}, which axolotl does not load for DPO (it reads "
            "`lora_model_dir` for other losses): merge it into the model first (axolotl merge-lora) and name the "
            "result as base_model."
        )
    if setup.reference:
        remarks.append(
            f"The pairs were scored with the reference {setup.reference}, which axolotl cannot load: its reference is "
            "the model as training begins."
        )
    settings = {
        **model,
        **options,
        "rl_beta": setup.beta,
        **({"chat_template": "tokenizer_default"} if setup.conversational else {}),
        "datasets": [dataset],
        "skip_prepare_dataset": True,
        "remove_unused_columns": False,
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
    return Config({"train_dpo.yaml": _yaml(settings, [COMMANDS["axolotl"], *remarks])}, remarks)


def openrlhf(setup: Setup) -> Config:
    """https://openrlhf.readthedocs.io/en/latest/common_options.html"""
    options, remarks = _options(setup, {"dpo": {}, "ipo": {"--model.ipo_enable": None}})
    remarks.append(
        "OpenRLHF before 0.10 has no dots: --pretrain, --beta, --dataset, --prompt_key, --chosen_key, --rejected_key, "
        "--apply_chat_template, --max_len, --save_path."
    )
    if not setup.conversational:
        remarks.append(
            "OpenRLHF adds no BOS token to plain text: where the pairs were scored with BOS and EOS tokens, they are "
            "written in the text. Use the tokenizer of this model alone."
        )
    if setup.revision:
        remarks.append(f"The model was scored at its revision {setup.revision}, which OpenRLHF cannot name.")
    if setup.adapter:
        remarks.append(
            f"The model was scored with the adapter {setup.adapter}, which OpenRLHF cannot load: merge it into the "
            "model first (python -m openrlhf.cli.lora_combiner) and name the result as the model."
        )
    lora: dict[str, Any] = {}
    if setup.lora is not None:
        lora = _rank_and_alpha(setup.lora, "--ds.lora.rank", "--ds.lora.alpha", remarks)
        lora["--ds.lora.target_modules"] = _modules(setup.lora, ALL_LINEAR)
    arguments = {
        "--model.model_name_or_path": setup.model,
        **({"--ref.model_name_or_path": setup.reference} if setup.reference else {}),
        **lora,
        **options,
        "--model.beta": setup.beta,
        "--data.dataset": f"./{KEPT}",
        **{f"--data.{side}_key": side for side in ("prompt", "chosen", "rejected")},
        **({"--data.apply_chat_template": None} if setup.templated else {}),
        "--data.max_len": setup.max_length,
        "--ckpt.output_dir": "model",
    }
    text = _script("deepspeed --module openrlhf.cli.train_dpo", arguments, remarks)
    return Config({"train_dpo.sh": text}, remarks)


CONFIGS: dict[str, Callable[[Setup], Config]] = {
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


def _argument(name: str, value: object) -> str:
    """An option with its value, which is no option even where it begins like one; a list is several values."""
    values = list(map(str, value)) if isinstance(value, list) else [str(value)]
    if any(each.startswith("-") for each in values):
        return shlex.quote(f"{name}={' '.join(values)}")
    return " ".join([name, *map(shlex.quote, values)])


def _yaml(settings: dict[str, Any], remarks: list[str]) -> str:
    comments = "".join(f"{_comment(remark)}\n" for remark in remarks)
    return comments + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _script(command: str, arguments: dict[str, Any], remarks: list[str]) -> str:
    """A shell script; an argument without a value is a switch."""
    words = [name if value is None else _argument(name, value) for name, value in arguments.items()]
    comments = "".join(f"{_comment(remark)}\n" for remark in remarks)
    return f"#!/bin/sh\n{comments}{command} \\\n    " + " \\\n    ".join(words) + "\n"
