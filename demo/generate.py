"""Preference pairs in many languages out of Unicode CLDR: chosen is the right answer, rejected a plausible mistake.

The values that a convention is asked about (numbers, amounts, dates, times, lists) are the same in every language, so
the form that is chosen in one language is rejected in another: German chooses 24.615,73 where English rejects it.

    python demo/generate.py [--output demo/pairs] [--pairs 48] [--seed 0]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from questions import CONVENTIONS, FOREIGN, NAMES, phrasings

PAIRS = Path(__file__).parent / "pairs"
MADE_WITH_BABEL = "2.18.0"  # behind the committed pairs; names and patterns change between releases of CLDR
TASKS = NAMES | CONVENTIONS


def visible(text: str) -> str:
    """The text without what a reader cannot see or would not mark: spaces, direction marks, case, width."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if not char.isspace() and unicodedata.category(char) != "Cf")


def reply(template: str, answer: str) -> str:
    text = template.format(answer=answer)
    return text.removesuffix(".") if answer.endswith(".") and text.endswith("..") else text


def task_rows(language: str, task: str, seed: int) -> Iterator[dict[str, str]]:
    """Rows of one task without end, each with another prompt."""
    seen: set[str] = set()
    for attempt in itertools.count():
        if attempt == 10_000:
            raise SystemExit(f"--pairs: {language} has {len(seen)} prompts of the task {task}; ask for fewer pairs")
        shared = f"{task}:{seed}:{attempt}"
        draw = random.Random(f"{shared}:{language}")
        question = TASKS[task](language, random.Random(shared) if task in CONVENTIONS else draw)
        if question is None:
            continue
        mistakes = [text for text in question.mistakes if visible(text) != visible(question.answer)]
        templates = phrasings(language)[task]
        prompt = draw.choice(templates[question.phrasing]).format(**question.fields)
        if not mistakes or prompt in seen or visible(question.answer) in visible(prompt):
            continue
        seen.add(prompt)
        template, mistake = draw.choice(templates["reply"]), draw.choice(mistakes)
        yield {
            "language": language,
            "task": task,
            "prompt": prompt,
            "chosen": reply(template, question.answer),
            "rejected": reply(template, mistake),
        }


def language_rows(language: str, num_pairs: int, seed: int) -> list[dict[str, str]]:
    """`num_pairs` rows of one language, the tasks taking turns; the number in the id is the line."""
    streams = itertools.cycle([(task, task_rows(language, task, seed)) for task in TASKS])
    rows = []
    for line, (task, stream) in enumerate(itertools.islice(streams, num_pairs), start=1):
        rows.append({"id": f"{language}-{task}-{line:03}"} | next(stream))
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write preference pairs from CLDR, one JSONL file per language.")
    parser.add_argument("--output", type=Path, default=PAIRS, help="folder of {language}.jsonl")
    parser.add_argument("--pairs", type=int, default=48, help="pairs per language")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for language in FOREIGN:
        rows = language_rows(language, options.pairs, options.seed)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.output / f"{language}.jsonl").write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(FOREIGN)} languages, {options.pairs} pairs each: {options.output}")


if __name__ == "__main__":
    main()
