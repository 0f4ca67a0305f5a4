"""Every part of the evaluation on one model after the other, and the contests between their answers."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from congrad.engines.ask import ask, make_request
from congrad.engines.interface import OpenEngine, Sampling, has_chat_template
from congrad.engines.open import opened_when_asked
from congrad.evaluation.harness import run_harness
from congrad.evaluation.likelihood import ItemLogps, measure_items
from congrad.evaluation.preference import PairLogps, measure_pairs
from congrad.evaluation.tasks import Item, is_match
from congrad.evaluation.winrate import Answer, Judged, answer_prompts, judge_answers
from congrad.preferences import Preferences
from congrad.progress import Listener, Progress
from congrad.selfreward.prompts import Prompt
from congrad.settings.engine import Engine
from congrad.settings.evaluation import Evaluate, LocalTask
from congrad.settings.model import Model
from congrad.stage import content_key

PARTS = "parts"


@dataclass(frozen=True)
class Inputs:
    """What is measured, read and checked."""

    pairs: Preferences | None
    tasks: dict[str, tuple[LocalTask, list[Item]]]
    prompts: list[Prompt] = field(default_factory=list)


@dataclass
class Found:
    """What was measured, by model."""

    pairs: dict[str, PairLogps] = field(default_factory=dict)
    items: dict[str, dict[str, list[ItemLogps]]] = field(default_factory=dict)
    matches: dict[str, dict[str, list[bool]]] = field(default_factory=dict)
    harness: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    empty: dict[tuple[str, str, int], int] = field(default_factory=dict)  # by model, to what, and of how many answers
    judged: dict[tuple[str, str], list[Judged]] = field(default_factory=dict)


Counted = Callable[[Path], Callable[[int], None]]


def counter(listener: Listener, total: int) -> Counted:
    """Adds up what the parts have done, each known by the path of its log."""
    all_done: dict[Path, int] = {}

    def tell(part: Path, done: int) -> None:
        all_done[part] = done
        listener.on_progress(Progress("evaluating", sum(all_done.values()), total, "examples"))

    return lambda part: partial(tell, part)


def file_name(name: str) -> str:
    """A name that every file system takes, of its own for every model and task."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')[:40]}-{content_key(name)[:6]}".lstrip("-")


def part_path(output: Path, part: str, *names: str) -> Path:
    return output / PARTS / f"{'.'.join([part, *map(file_name, names)])}.jsonl"


def the_judge(models: Mapping[str, Model], settings: Evaluate) -> tuple[Model, Engine]:
    """The model that judges, and its engine."""
    assert settings.win_rate is not None
    initial = next(iter(models.values()))
    named = settings.win_rate.judge_model
    judge = initial if named is None else initial.other(named)
    return judge, settings.win_rate.judge or settings.engine


def measure_model(
    name: str, model: Model, settings: Evaluate, inputs: Inputs, output: Path, found: Found, counted: Counted
) -> None:
    """All parts of one model: first those that look at its probabilities, then those in which it writes."""
    from congrad.models.load import loaded, tokenizer_of

    tokenizer = tokenizer_of(model)
    found.items[name], found.matches[name] = {}, {}
    with loaded(model) as load:
        longest = settings.max_length
        if inputs.pairs is not None:
            path = part_path(output, "pairs", name)
            found.pairs[name] = measure_pairs(
                load, tokenizer, inputs.pairs, path, chat=settings.chat, max_length=longest, on_progress=counted(path)
            )
        for title, (task, items) in inputs.tasks.items():
            if task.kind != "exact-match":
                path = part_path(output, "task", title, name)
                found.items[name][title] = measure_items(
                    load, tokenizer, task, items, path, max_length=longest, on_progress=counted(path)
                )
        if settings.lm_eval is not None:
            path, seed = part_path(output, "lm-eval", name), settings.seed
            found.harness[name] = run_harness(
                load, tokenizer, settings.lm_eval, path, seed=seed, on_progress=counted(path)
            )
    with opened_when_asked(settings.engine, model, log=output / "server.log") as engine:
        for title, (task, items) in inputs.tasks.items():
            if task.kind == "exact-match":
                path = part_path(output, "task", title, name)
                matched = match_items(engine, model, settings, task, items, path, counted(path))
                found.matches[name][title], found.empty[name, title, len(items)] = matched
        if settings.win_rate is not None:
            path = part_path(output, "answers", name)
            found.answers[name] = answer_prompts(
                engine, inputs.prompts, model, settings.win_rate, settings.engine, path, counted(path)
            )
            empty = sum(not answer.text.strip() for answer in found.answers[name])
            found.empty[name, "the win rate's prompts", len(inputs.prompts)] = empty


def match_items(
    engine: Callable[[], OpenEngine],
    model: Model,
    settings: Evaluate,
    task: LocalTask,
    items: Sequence[Item],
    path: Path,
    tell: Callable[[int], None],
) -> tuple[list[bool], int]:
    """Which items of an exact-match task a model answers rightly, and how many answers are empty."""
    chat = has_chat_template(settings.engine, model) if task.chat == "auto" else task.chat
    where = {item.key: item.where for item in items}
    sampling = Sampling(temperature=0.0, max_tokens=task.max_tokens)
    requests = [make_request(item.key, item.prompt, sampling, chat=chat) for item in items]
    rows, missing = ask(requests, path, engine, where.__getitem__, tell)
    return [is_match(task, item, rows[item.key]["text"]) for item in items], missing


def judge_contests(
    models: Mapping[str, Model],
    settings: Evaluate,
    inputs: Inputs,
    contests: Sequence[tuple[str, str]],
    output: Path,
    found: Found,
    counted: Counted,
) -> None:
    assert settings.win_rate is not None
    judge, engine_settings = the_judge(models, settings)
    path, asked = part_path(output, "verdicts"), (inputs.prompts, found.answers, contests)
    with opened_when_asked(engine_settings, judge, log=output / "judge-server.log") as engine:
        found.judged = judge_answers(engine, judge, engine_settings, *asked, settings.win_rate, path, counted(path))
