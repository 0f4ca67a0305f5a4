"""The inputs that are mutated: a tiny model, pairs, a finished run, stages, settings. All that is right."""

import json
import shutil
from pathlib import Path

import torch
import yaml
from tests.conftest import WORDS, preference_rows, save_tiny_model
from tests.endpoint import CHAT_TEMPLATE
from tests.files import write_jsonl
from transformers import AutoTokenizer

from bench.fuzz.sandbox import call

ENGINE = ("engine.kind=openai", "engine.url={url}", "engine.retries=0", "engine.timeout=2", "engine.concurrency=2")
GENERATE = tuple(f"generate.{word}" for word in ENGINE)


def completion(text: str) -> bytes:
    """An endpoint's answer, as it should be."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "text": text, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(whole).encode()


def write_settings(path: Path, model: Path) -> None:
    content = {
        "model": {"name": str(model), "dtype": "float32"},
        "prompts": {"source": "prompts.jsonl"},
        "generate": {"samples": 2, "temperature": 0.8, "max_tokens": 8, "engine": {"batch_size": 4}},
        "judge": {"samples": 2, "max_tokens": 4},
        "pair": {"method": "best-worst", "language": "penalise"},
        "selection": {"keep": 0.5},
        "train": {"beta": 0.1, "max_length": 64, "num_train_epochs": 1},
        "rounds": {"count": 2, "lora": {"r": 4}},
        "evaluate": {"pairs": "pairs.jsonl", "limit": 10, "max_length": 64, "seen": ["de"], "unseen": ["sw"]},
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def make_seeds(directory: Path) -> None:
    """Fills a directory; each of its parts is what a command writes."""
    torch.set_num_threads(1)
    model = directory / "model"
    save_tiny_model(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(model)
    write_settings(directory / "settings.yaml", model)
    pairs = write_jsonl(directory / "pairs.jsonl", preference_rows(24))
    asked = [{"prompt": f"{word}?", "language": name} for name, words in WORDS.items() for word in words[:2]]
    prompts = write_jsonl(directory / "prompts.jsonl", asked)
    tasks = [{"question": f"1 + {number}?", "answer": str(number + 1), "language": "en"} for number in range(4)]
    write_jsonl(directory / "tasks.jsonl", tasks)
    run, answers, scores = directory / "run", directory / "generate", directory / "judge"
    done = call("filter", pairs, "-m", model, "-o", run, "model.dtype=float32", "index.projection_size=4")
    assert done == 0, "filter"
    written = ["Das Haus ist ein Haus und steht im Regen am Abend.", "house", "nyumba", "", "Score: 3", "Baum " * 20]
    replies = [completion(text) for text in written]
    assert call("generate", prompts, "-m", model, "-o", answers, "generate.samples=2", *GENERATE, replies=replies) == 0
    scored = [completion(f"Because.\nScore: {number}") for number in (1, 3, 4, 2, 5)]
    assert call("judge", answers, "-o", scores, "judge.samples=2", *GENERATE, replies=scored) == 0
    assert call("pair", scores, "-o", directory / "paired", "pair.language=off") == 0
    shutil.rmtree(directory / "home", ignore_errors=True)
