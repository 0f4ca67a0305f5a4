"""How the trainers that cannot be installed beside one another read a preference row, from their documentation.

Written anew from the reading rules; each gives what the trainer hands to its tokenizer.
"""

from pathlib import Path
from typing import Any

import datasets
import yaml

Messages = list[dict[str, str]]
Template = Any


def load(path: Path) -> list[dict[str, Any]]:
    """As every one of them does: `load_dataset("json", data_files=...)`."""
    return datasets.load_dataset("json", data_files=str(path), split="train").to_list()


def llamafactory(directory: Path, name: str) -> list[dict[str, Any] | None]:
    """data/README.md: system, prompt turns and two responses; None where LLaMA-Factory would skip the row.

    Alpaca: the prompt is `prompt` and `query` joined by a line break. Sharegpt: after a system message, user and
    assistant alternate; a ranking example has an odd number of turns, and chosen and rejected are single messages.
    Tags that `dataset_info.json` does not name are None once it names any.
    """
    import json

    info = json.loads((directory / "dataset_info.json").read_text(encoding="utf-8"))[name]
    assert info["ranking"] is True
    columns = info["columns"]
    read: list[dict[str, Any] | None] = []
    for row in load(directory / info["file_name"]):
        if info.get("formatting", "alpaca") == "alpaca":
            parts = [row[columns[key]] for key in ("prompt", "query") if key in columns and row[columns[key]]]
            texts = [row[columns["chosen"]], row[columns["rejected"]]]
            assert all(isinstance(text, str) for text in texts)
            read.append({"system": "", "prompt": ["\n".join(parts)], "responses": texts})
            continue
        tags = info["tags"]
        role, content = tags["role_tag"], tags["content_tag"]
        messages, system = row[columns["messages"]], ""
        if messages and messages[0][role] == tags["system_tag"]:
            system, messages = messages[0][content], messages[1:]
        asks = (tags["user_tag"], tags.get("observation_tag"))
        answers = (tags["assistant_tag"], tags.get("function_tag"))
        fits = len(messages) % 2 == 1 and all(
            message[role] in (asks, answers)[turn % 2] for turn, message in enumerate(messages)
        )
        responses = [row[columns["chosen"]], row[columns["rejected"]]]
        fits = fits and all(isinstance(one, dict) and one[role] in answers for one in responses)
        read.append(
            {
                "system": system,
                "prompt": [message[content] for message in messages],
                "responses": [one[content] for one in responses],
            }
            if fits
            else None
        )
    return read


def ms_swift(path: Path) -> list[dict[str, Any] | None]:
    """Custom-dataset.md: `messages` whose last is the chosen response, and `rejected_response`; None where deleted.

    Keys other than role, content and loss are dropped from messages; the roles are known ones; a row whose rejected
    response is missing or equals the chosen one is deleted.
    """
    read: list[dict[str, Any] | None] = []
    for row in load(path):
        messages = [{key: message[key] for key in ("role", "content")} for message in row["messages"]]
        known = {"system", "user", "assistant", "tool", "tool_call", "tool_response"}
        fits = all(message["role"] in known and message["content"] is not None for message in messages)
        rejected = row["rejected_response"]
        fits = fits and rejected is not None and rejected != messages[-1]["content"]
        system = messages[0]["content"] if messages[0]["role"] == "system" else ""
        turns = messages[1:] if messages[0]["role"] == "system" else messages
        fits = fits and [m["role"] for m in turns] == ["user", "assistant"] * (len(turns) // 2)
        prompt = [message["content"] for message in turns[:-1]]
        read.append(
            {"system": system, "prompt": prompt, "responses": [messages[-1]["content"], rejected]} if fits else None
        )
    return read


def axolotl(directory: Path) -> list[dict[str, Any]]:
    """prompt_strategies/dpo/passthrough.py: the rows as they are, for TRL's trainer."""
    config = yaml.safe_load((directory / "train_dpo.yaml").read_text(encoding="utf-8"))
    (dataset,) = config["datasets"]
    assert (dataset["ds_type"], dataset["type"]) == ("json", "passthrough.default")
    assert config["skip_prepare_dataset"] is True  # else rows are measured as text
    return load(directory / dataset["path"])


def openrlhf(directory: Path, render: Template) -> list[dict[str, str]]:
    """README.md, "Prepare Datasets", and the options of its DPO command: the prompt and the text after it."""
    import shlex

    words = shlex.split((directory / "train_dpo.sh").read_text(encoding="utf-8"), comments=True)
    options = {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
    prompt_key, chosen_key, rejected_key = (options[f"--data.{side}_key"] for side in ("prompt", "chosen", "rejected"))
    read = []
    for row in load(directory / options["--data.dataset"]):
        prompt, chosen, rejected = row[prompt_key], row[chosen_key], row[rejected_key]
        if "--data.apply_chat_template" in words:
            start = render(prompt, True)
            chosen, rejected = (render(prompt + side, False)[len(start) :] for side in (chosen, rejected))
            prompt = start
        read.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return read
