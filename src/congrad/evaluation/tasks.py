"""Local tasks for the alignment tax: JSON Lines in, items to measure out, and what an answer is worth.

    perplexity       every token of a text predicted once, in windows; the token before a window is its only context
    multiple-choice  the choice whose log-probability after the prompt is highest, as it is and per character
    exact-match      an answer written greedily, compared by its last number or as a whole

Windows, the split of prompt and choice, and the division by characters are those of lm-evaluation-harness, so that its
figures on the same text are the same.
"""

import glob
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from congrad.engines.interface import cut
from congrad.errors import Spot, UserError
from congrad.evaluation.numbers import last_number
from congrad.gradients.packing import Triple
from congrad.settings.evaluation import PLACEHOLDER, LocalTask
from congrad.settings.input import Bounds
from congrad.sources.bounds import blocks, check_json
from congrad.stage import content_key
from congrad.words import quote

CONNECTORS = {  # because, so: what XCOPA's premise and choice are joined by, as lm-evaluation-harness has them
    "en": ("because", "so"),
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
RELATIONS = ("cause", "effect")
END_OF_SENTENCE = re.compile(r"[.!?。！？…।]$")
MGSM_PROMPT, MGSM_STOP = "Question: {question}\nAnswer:", ("\nQuestion:",)


@dataclass(frozen=True)
class Item:
    """One thing to measure."""

    key: str  # made of its place and content
    where: Spot
    language: str
    prompt: str  # what the model continues; empty for a text
    options: tuple[str, ...]  # the text, or the choices with the space before them
    answer: int | str | None  # position of the right choice, or the right answer; None for a text


def load_task(task: LocalTask, bounds: Bounds | None = None) -> list[Item]:
    """The items of a task, in the order of files and lines; errors name file, line and column."""
    items: list[Item] = []
    taken: Counter[str] = Counter()
    for path in files_of(task):
        for where, row in read_lines(path, bounds or Bounds()):
            language = language_of(task, path, row, where)
            taken[language] += 1
            if task.limit is None or taken[language] <= task.limit:
                prompt, options, answer = content(task, row, language, where)
                key = content_key(len(items), language, prompt, options, answer)
                items.append(Item(key, where, language, prompt, options, answer))
    if not items:
        raise UserError(f"no rows for the task {task.name}", "fill the file or leave the task out", at=task.path)
    return items


def files_of(task: LocalTask) -> list[Path]:
    path = Path(task.path)
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
    else:
        files = [path] if path.is_file() else sorted(map(Path, glob.glob(task.path)))
    if not files:
        raise UserError(f"no JSON Lines file for the task {task.name}", "check the path", at=task.path)
    return files


def read_lines(path: Path, bounds: Bounds) -> Iterator[tuple[Spot, dict[str, Any]]]:
    """The rows of a file, each with its place."""
    check_json(path, blocks(path, bounds), bounds)
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        where = Spot(str(path), number)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"not JSON ({error})", "fix the line or remove it", at=where) from error
        if not isinstance(row, dict):
            raise UserError(f"{quote(row)} is not a JSON object", "write one {...} per line", at=where)
        yield where, row


def language_of(task: LocalTask, path: Path, row: Mapping[str, Any], where: Spot) -> str:
    if row.get(task.language_column) is not None:
        return text_of(row, task.language_column, where)
    return path.stem.rpartition("_")[2]


def content(task: LocalTask, row: Mapping[str, Any], language: str, where: Spot) -> tuple[str, tuple[str, ...], Any]:
    """Prompt, options and answer of a row."""
    if task.layout == "xcopa":
        return xcopa(row, language, where)
    if task.kind == "perplexity":
        return "", (text_of(row, task.text_column, where),), None
    template = task.prompt or MGSM_PROMPT
    prompt = PLACEHOLDER.sub(lambda match: text_of(row, match[1], where), template)
    if task.kind == "multiple-choice":
        options = choices(task, row, where)
        label = row.get(task.label_column)
        return prompt, tuple(f" {option}" for option in options), check_label(label, task.label_column, options, where)
    answer = text_of(row, task.answer_column, where)
    if task.rule == "last-number" and last_number(answer) is None:
        problem = f"holds {quote(answer)}, not a number"
        raise UserError(problem, "set rule to text", at=where, column=task.answer_column)
    return prompt, (), answer


def xcopa(row: Mapping[str, Any], language: str, where: Spot) -> tuple[str, tuple[str, ...], int]:
    """Premise without its full stop, a connector, and the choices with a small first letter."""
    if language not in CONNECTORS:
        problem = f"the layout xcopa has no connectors for {quote(language)}, only for {', '.join(CONNECTORS)}"
        raise UserError(problem, "write the task with kind, prompt and choices", at=where)
    relation = row.get("question")
    if relation not in RELATIONS:
        raise UserError(f"holds {quote(relation)}", "it must be cause or effect", at=where, column="question")
    premise = END_OF_SENTENCE.sub("", text_of(row, "premise", where).strip())
    options = [text_of(row, name, where) for name in ("choice1", "choice2")]
    prompt = f"{premise} {CONNECTORS[language][RELATIONS.index(relation)]}"
    lowered = tuple(f" {option[0].lower()}{option[1:]}" for option in options)
    return prompt, lowered, check_label(row.get("label"), "label", options, where)


def choices(task: LocalTask, row: Mapping[str, Any], where: Spot) -> list[str]:
    """The choices, from a column each or from one that lists them."""
    listed = row.get(task.choices[0]) if len(task.choices) == 1 else None
    if isinstance(listed, list) and all(isinstance(option, str) and option for option in listed):
        options = [str(option) for option in listed]
    else:
        options = [text_of(row, column, where) for column in task.choices]
    if len(options) < 2:
        raise UserError(f"{len(options)} choice", "there must be two or more", at=where)
    return options


def check_label(label: object, column: str, options: list[str], where: Spot) -> int:
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(options):
        fix = f"it must be the right choice's position, 0 to {len(options) - 1}"
        raise UserError(f"holds {quote(label)}", fix, at=where, column=column)
    return label


def text_of(row: Mapping[str, Any], column: str, where: Spot) -> str:
    """A column's text; a number is written out."""
    value = row.get(column)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        found = "is null or missing" if value is None else f"holds {quote(value)}"
        raise UserError(f"must hold text, but {found}", at=where, column=column)
    return value


# Likelihoods


def first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands before a text's first token, so that it can be predicted: BOS, else EOS."""
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    assert isinstance(token, int)
    return token


def windows(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Triple]:
    """A text in runs of at most `max_length` tokens after one token of context."""
    ids = [first_token(tokenizer), *tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]
    found = []
    for start in range(1, len(ids), max_length):
        response = np.array(ids[start : start + max_length], dtype=np.int32)
        found.append((np.array(ids[start - 1 : start], dtype=np.int32), response, response))
    return found


def continuation(prompt: str, option: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Triple:
    """The tokens of a prompt and of what follows it: those after the longest start that they share.

    A prompt that leaves no room loses its first tokens.
    """
    whole = tokenizer(prompt + option, verbose=False)["input_ids"]
    alone = tokenizer(prompt, verbose=False)["input_ids"]
    shared = next((i for i, pair in enumerate(zip(whole, alone, strict=False)) if pair[0] != pair[1]), len(alone))
    shared = min(shared, len(whole) - 1)
    context, response = whole[:shared] or [first_token(tokenizer)], whole[shared:][-max_length:]
    context = context[max(len(context) + len(response) - max_length, 0) :] or context[-1:]
    ids = np.array(response, dtype=np.int32)
    return np.array(context, dtype=np.int32), ids, ids


def right_choices(items: list[Item], logps: list[list[float]]) -> dict[str, list[float]]:
    """1 for an item whose right choice comes first, by `raw` log-probability and by `normalised`, per character."""
    raw, normalised = [], []
    for item, values in zip(items, logps, strict=True):
        raw.append(float(int(np.argmax(values)) == item.answer))
        lengths = [len(option) - 1 for option in item.options]  # without the space before it
        normalised.append(float(int(np.argmax(np.array(values) / lengths)) == item.answer))
    return {"raw": raw, "normalised": normalised}


# Exact match


def is_match(task: LocalTask, item: Item, text: str) -> bool:
    """Whether a written answer is the right one."""
    written = cut(text, task.stop or (MGSM_STOP if task.layout == "mgsm" else ()))
    assert isinstance(item.answer, str)
    if task.rule == "last-number":
        return last_number(written) == last_number(item.answer)
    return written.strip() == item.answer.strip()
