"""The inputs that are mutated: a tiny model, pairs, a finished run, stages, settings. All that is right."""

import json
from collections.abc import Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path

import torch
import yaml
from tests.conftest import WORDS, preference_rows, save_tiny_model
from tests.endpoint import CHAT_TEMPLATE
from tests.files import write_jsonl
from transformers import AutoTokenizer

from bench.fuzz.sandbox import Reply, call, endpoint, in_child
from congrad.languages.identify import COMMON, known

MODEL = ("-m", "{model}")
ENGINE = ("kind=openai", "url={url}", "retries=0", "timeout=2", "concurrency=2")
ASKING = tuple(f"generate.engine.{word}" for word in ENGINE)
SMALL = ("model.dtype=float32", "index.projection_size=4")
FILTER = ("filter", "pairs.jsonl", *MODEL, "-o", "run", *SMALL)
GENERATE = ("generate", "prompts.jsonl", *MODEL, "-o", "generate", "generate.samples=2", *ASKING)
JUDGE = ("judge", "generate", *MODEL, "-o", "judge", "judge.samples=2", *ASKING)
PAIR = ("pair", "judge", "-o", "paired", "pair.language=penalise")
LOOP = ("run", "settings.yaml", "-o", "loop", "--until", "filter", *ASKING)
EVALUATE = ("evaluate", "m={model}", "-o", "evaluate", "-c", "settings.yaml", "evaluate.draws=100")
ANSWERS = ("Das Haus ist ein Haus und steht im Regen am Abend.", "house", "nyumba", "", "Score: 3", "Baum " * 20)
JUDGEMENTS = tuple(f"Because.\nScore: {number}" for number in (1, 3, 4, 2, 5))
BOTH = tuple(f"{word} Score: {number}" for number, word in enumerate(ANSWERS[:5]))
VERDICTS = ("Verdict: A", "Verdict: B", "Verdict: tie")


def completion(text: str) -> dict[str, object]:
    """An endpoint's answer, as it should be."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "text": text, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def answering(texts: Sequence[str]) -> list[Reply]:
    return [Reply(json.dumps(completion(text)).encode()) for text in texts]


def settings(model: Path) -> dict[str, object]:
    return {
        "model": {"name": str(model), "dtype": "float32"},
        "prompts": {"source": "prompts.jsonl"},
        "generate": {"samples": 2, "temperature": 0.8, "max_tokens": 8},
        "judge": {"samples": 2, "max_tokens": 4},
        "pair": {"method": "all", "language": "penalise"},
        "index": {"projection_size": 4},
        "consensus": {"aggregator": "pcgrad"},
        "selection": {"keep": 0.5},
        "train": {"beta": 0.1, "max_length": 64, "num_train_epochs": 1},
        "rounds": {"count": 1, "lora": {"r": 4}},
        "evaluate": {
            "pairs": "pairs.jsonl",
            "limit": 10,
            "max_length": 64,
            "seen": ["de"],
            "unseen": ["sw"],
            "tasks": [{"name": "sums", "path": "tasks.jsonl", "kind": "perplexity", "text_column": "question"}],
        },
    }


def make_seeds(work: Path, model: Path) -> None:
    """Saves a model and fills `work`, where the cases will lie; each of its parts is what a command writes."""
    torch.set_num_threads(1)
    save_tiny_model(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(model)
    work.mkdir(parents=True)
    (work / "settings.yaml").write_text(yaml.safe_dump(settings(model), sort_keys=False))
    write_jsonl(work / "pairs.jsonl", preference_rows(24))
    asked = [{"prompt": f"{word}?", "language": name} for name, words in WORDS.items() for word in words[:2]]
    write_jsonl(work / "prompts.jsonl", asked)
    tasks = [{"question": f"1 + {number}?", "answer": str(number + 1), "language": "en"} for number in range(4)]
    write_jsonl(work / "tasks.jsonl", tasks)
    with chdir(work):
        for words, texts in (
            (FILTER, ()),
            (("export", "run"), ()),
            (GENERATE, ANSWERS),
            (JUDGE, JUDGEMENTS),
            (PAIR, ()),
            (LOOP, BOTH),
            (EVALUATE, ()),
        ):
            with endpoint(answering(texts)) as url:
                given = [word.replace("{url}", url).replace("{model}", str(model)) for word in words]
                identifies = words[0] in ("pair", "run")
                code = in_child(partial(call, *given), work.parent)[0] if identifies else call(*given)
            assert code == 0, words
    warm_lingua()


def warm_lingua() -> None:
    """Loads its models without its threads, which no forked child would have."""
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_languages(*(known()[tag] for tag in (*COMMON, "sw"))).build()
    for text in ANSWERS:
        detector.compute_language_confidence_values(text)
