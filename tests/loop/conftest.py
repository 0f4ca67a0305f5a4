"""A tiny model that talks in digits, so that it can be its own judge, prompts for it, and the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.files import write_jsonl
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = {
    "de": ("Zähle!", "Wie viele?", "Nenne eine Zahl.", "Wann?"),
    "en": ("Count!", "How many?", "Name a number.", "When?"),
    "sw": ("Hesabu!", "Ngapi?", "Taja nambari.", "Lini?"),
}
TEMPLATE = "Request: {prompt}\nAnswer: {response}\nScore:"


@pytest.fixture(scope="session")
def talker(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model made to write a digit after anything but a digit, and the end of the line after that."""
    directory = tmp_path_factory.mktemp("models") / "talker"
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_directory),
        AutoTokenizer.from_pretrained(tiny_directory),
    )
    ids = {text: tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in "012345\n"}
    newline = ids.pop("\n")
    digits = list(ids.values())
    with torch.no_grad():
        # One dimension of the stream is the same for all tokens, another says "this was a digit".
        model.model.embed_tokens.weight[:, :2] = torch.tensor([4.0, 0.0])
        model.model.embed_tokens.weight[digits, 1] = 6.0
        model.lm_head.weight[:, :2] = 0.0
        model.lm_head.weight[digits, 0] = 2.0
        model.lm_head.weight[newline, 1] = 4.0
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_rows: Callable[..., list[dict[str, Any]]],
) -> Path:
    """A directory with prompts, a judge's template and held-out pairs, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_jsonl(tmp_path / "held-out.jsonl", make_rows(12))
    rows = [{"language": language, "prompt": prompt} for language, prompts in PROMPTS.items() for prompt in prompts]
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    (tmp_path / "judge.txt").write_text(TEMPLATE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def write_config(place: Path, talker: Path) -> Callable[..., Path]:
    """`write_config(section={...}, ...)`: run.yaml for two small rounds, sections updated by key."""

    def write(**changes: dict[str, Any]) -> Path:
        content: dict[str, dict[str, Any]] = {
            "model": {"name": str(talker), "device": "cpu"},
            "prompts": {"source": "prompts.jsonl"},
            "generate": {"samples": 3, "max_tokens": 6, "temperature": 1.0},
            "judge": {"samples": 2, "max_tokens": 3, "temperature": 1.0, "template": "judge.txt"},
            "pair": {},
            "index": {"projection_size": 8},
            "consensus": {"cross_fit": 2},
            "selection": {"keep": 0.5},
            "train": {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "num_train_epochs": 1},
            "rounds": {"count": 2},
            "evaluate": {"pairs": "held-out.jsonl", "seen": ["de", "en"], "unseen": ["sw"], "draws": 100},
        }
        for section, keys in changes.items():
            content[section] = content.get(section, {}) | keys
        path = place / "run.yaml"
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return path

    return write


@pytest.fixture
def save(place: Path) -> Callable[[str, list[dict[str, Any]]], Path]:
    """`save("pairs.jsonl", rows)` in the working directory."""
    return lambda name, rows: write_jsonl(place / name, rows)
