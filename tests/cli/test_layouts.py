"""Every layout of docs/data.md goes from its file to kept pairs with the command that stands there."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.conftest import Called, save_tiny_model
from tests.preferences.published import EXPECTED, WRITERS
from tests.preferences.test_layouts import words
from transformers import AutoTokenizer

CHATML = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with a chat template."""
    directory = tmp_path_factory.mktemp("models") / "chat"
    save_tiny_model(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("number", WRITERS)
def test_a_layout_is_filtered(tmp_path: Path, number: int, chat_model: Path, congrad: Callable[..., Called]) -> None:
    (tmp_path / "data").mkdir()
    source = WRITERS[number](tmp_path / "data")
    run = tmp_path / "run"
    called = congrad("filter", *words(number, source, str(chat_model)), "--output", run, "--keep", "1", "-q", *FAST)
    assert called.code == 0, called.err
    kept = [json.loads(line) for line in (run / "kept.jsonl").read_text().splitlines()]
    assert len(kept) == sum(EXPECTED[number].values())
    scores = pq.read_table(run / "scores.parquet", columns=["language"])["language"].to_pylist()
    assert Counter(scores) == EXPECTED[number]


FAST = ("index.projection_size=8", "consensus.cross_fit=0", "report.write=false", "input.max_length=256")
