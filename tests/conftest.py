"""What tests of more than one folder share: a tiny model, pairs for it, the command line, and nothing from outside."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client reads it: no test asks a hub

import datasets
import pytest
import torch
from tests.bfloat16 import pytest_runtest_call, pytest_runtest_setup
from tests.files import write_jsonl
from tests.runs import make_run
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from congrad import cli

# `auto` measures which dtype is faster, which may differ from run to run: tests that compare runs need one answer.
if "CONGRAD_BFLOAT16" not in os.environ:
    os.environ |= {"CONGRAD_BFLOAT16": "slow", "CONGRAD_TESTS_UNGUARDED": "1"}

__all__ = ["pytest_runtest_call", "pytest_runtest_setup"]  # the hooks of tests/bfloat16.py

WORDS = {
    "de": ("Haus", "Baum", "Straße", "Käse", "Vogel", "Regen", "Löffel", "Abend"),
    "en": ("house", "tree", "street", "cheese", "bird", "rain", "spoon", "evening"),
    "sw": ("nyumba", "mti", "barabara", "jibini", "ndege", "mvua", "kijiko", "jioni"),
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE without padding token and chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(words) for words in WORDS.values()] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two blocks with its tokenizer, as `save_pretrained` leaves them."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny_model(directory)
    return directory


def save_tiny_model(directory: Path) -> None:
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    generator = torch.Generator().manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def preference_rows(count: int, languages: tuple[str, ...] = tuple(WORDS)) -> list[dict[str, Any]]:
    """Distinct pairs, languages in turn; the right answer repeats the word that was asked for."""
    rows = []
    for number in range(count):
        language = languages[number % len(languages)]
        words = WORDS[language]
        word, other = words[number % len(words)], words[(number * 3 + 1) % len(words)]
        other = other if other != word else words[(number + 1) % len(words)]
        rows.append(
            {
                "id": f"{language}-{number}",
                "prompt": f"{number}: {word}?",
                "chosen": f" {word}" * (1 + number % 3),
                "rejected": f" {other}" * (1 + number % 2),
                "language": language,
            }
        )
    return rows


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    return preference_rows


@pytest.fixture(scope="session")
def save_rows() -> Callable[[Path, list[dict[str, Any]]], Path]:
    return write_jsonl


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that what is compared byte for byte may be."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder's cache is left alone."""
    cache = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setenv("HF_DATASETS_CACHE", cache)


# The command line


@dataclass(frozen=True)
class Called:
    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        """Whether a mistake of the user's ended it: the last line says which; before it, on a slow machine, stages."""
        *stages, line = self.err.splitlines() or [""]
        timed = all(re.match(r"\d\d:\d\d:\d\d ", stage) for stage in stages)
        return self.code == 2 and timed and line.startswith("congrad: ")


@pytest.fixture
def congrad(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """`congrad(...)` in this process."""

    def call(*arguments: object) -> Called:
        monkeypatch.setattr(sys, "argv", ["congrad", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Called(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`python ...` as a process of its own, one thread, warnings as errors but for those of others' imports."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def run_directory() -> Callable[..., Path]:
    return make_run
