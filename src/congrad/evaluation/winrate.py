"""Win rates: a judge reads a model's answer and an opponent's to the same prompt, twice, each standing first once.

A win counts 1, a tie 1/2, a loss 0; a prompt's value is the mean of its two orders. A judgement that cannot be parsed
is missing data: its prompt counts in no rate, since with one order left the judge's position bias would count as
the model's merit. Answers that are the same tie without a judge. Beside every rate: how many prompts are missing, how
often the verdict followed the place and not the answer, and the answers' mean lengths, as judges like long answers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from congrad.engines.ask import ask, make_request, seeded
from congrad.engines.interface import OpenEngine, Request, Sampling, has_chat_template
from congrad.evaluation.intervals import Examples
from congrad.evaluation.verdict import OPEN_TOKENS, PLAIN_ENDING, Verdict, ends_open, read_template, read_verdict
from congrad.selfreward.generate import make_requests, settle_chat
from congrad.selfreward.prompts import Prompt
from congrad.selfreward.rubric import as_text, fill
from congrad.settings.engine import Engine
from congrad.settings.evaluation import WinRate
from congrad.settings.model import Model
from congrad.stage import content_key

VALUE: dict[Verdict, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class Answer:
    """What a model wrote; `tokens` is None where an endpoint does not say."""

    text: str
    tokens: int | None


@dataclass(frozen=True)
class Judged:
    """Two answers to a prompt with the judge's verdicts on them, with the model's first and with the opponent's first.

    None in `texts`: the answers are the same, and no judge was asked.
    """

    prompt: Prompt
    answer: Answer
    other: Answer
    verdicts: tuple[Verdict | None, Verdict | None]
    texts: tuple[str | None, str | None]

    @property
    def value(self) -> float | None:
        """The share of a win; None where a verdict is missing."""
        one, two = self.verdicts
        return None if one is None or two is None else (VALUE[one] + 1 - VALUE[two]) / 2

    @property
    def follows_place(self) -> bool:
        """Whether the same place won in both orders."""
        return self.verdicts[0] == self.verdicts[1] != "tie"


def answer_prompts(
    engine: Callable[[], OpenEngine],
    prompts: Sequence[Prompt],
    model: Model,
    settings: WinRate,
    engine_settings: Engine,
    path: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """The model's answer to every prompt; continues from those that are in the log at `path`."""
    chat = settle_chat(prompts, model, engine_settings, settings.chat, settings.system, section="evaluate.win_rate")
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, seed=settings.seed)
    requests = make_requests(prompts, 1, sampling, settings.system, chat=chat)
    asked = {request.key: prompt for request, prompt in zip(requests, prompts, strict=True)}

    def where(key: str) -> str:
        return f"row {asked[key].row} (counted from 0) of the win rate's prompts, in {asked[key].language}"

    rows = ask(requests, path, engine, where, on_progress).rows
    return [Answer(rows[request.key]["text"], rows[request.key]["num_tokens"]) for request in requests]


def contests_of(models: Sequence[str], initial: str, against: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Which model is compared with which: each with M0, and with the opponents that `against` names for it."""
    pairs = [(name, initial) for name in models if name != initial]
    pairs += [(name, other) for name in models for other in against.get(name, ()) if other not in (name, initial)]
    return list(dict.fromkeys(pairs))


def judge_answers(
    engine: Callable[[], OpenEngine],
    judge: Model,
    engine_settings: Engine,
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[Answer]],
    contests: Sequence[tuple[str, str]],
    settings: WinRate,
    path: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[tuple[str, str], list[Judged]]:
    """Verdicts on every contest and prompt, in both orders; continues from those that are in the log at `path`.

    Args:
        engine: gives the judge's engine, where any verdict is missing.
        answers: by model, in the order of the prompts.
    """
    template = read_template(settings.template)
    chat = has_chat_template(engine_settings, judge)
    if not chat and settings.template is None:
        template += PLAIN_ENDING
    opened = ends_open(template)
    max_tokens = min(settings.judge_max_tokens, OPEN_TOKENS) if opened else settings.judge_max_tokens
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens, seed=settings.seed)
    requests: dict[str, Request] = {}
    asked: dict[str, str] = {}
    for model, opponent in contests:
        for prompt, answer, other in zip(prompts, answers[model], answers[opponent], strict=True):
            if answer.text.strip() == other.text.strip():
                continue
            for order, (first, second) in enumerate(((answer, other), (other, answer))):
                key = verdict_key(model, opponent, prompt, order)
                texts = {"first": first.text.strip(), "second": second.text.strip()}
                question = fill(template, prompt=as_text(prompt.prompt), **texts, language=prompt.language)
                requests[key] = make_request(key, question, seeded(sampling, "verdict", key), chat=chat)
                asked[key] = f"judging {model} against {opponent} on row {prompt.row} of the win rate's prompts"
    replies = ask(list(requests.values()), path, engine, asked.__getitem__, on_progress).rows

    def read(model: str, opponent: str, prompt: Prompt, order: int) -> tuple[Verdict | None, str | None]:
        reply = replies.get(verdict_key(model, opponent, prompt, order))
        if reply is None:  # the same answer
            return "tie", None
        return read_verdict(reply["text"], cut=reply["finish_reason"] == "length", opened=opened), reply["text"]

    judged: dict[tuple[str, str], list[Judged]] = {contest: [] for contest in contests}
    for (model, opponent), own in judged.items():
        for prompt, answer, other in zip(prompts, answers[model], answers[opponent], strict=True):
            (one, text), (two, text_two) = (read(model, opponent, prompt, order) for order in (0, 1))
            own.append(Judged(prompt, answer, other, (one, two), (text, text_two)))
    return judged


def verdict_key(model: str, opponent: str, prompt: Prompt, order: int) -> str:
    return content_key("verdict", model, opponent, prompt.key, order)


def by_language(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for each in sorted(judged, key=lambda each: each.prompt.language):
        found.setdefault(each.prompt.language, []).append(each)
    return found


def win_examples(judged: Sequence[Judged], *, reverse: bool = False) -> dict[str, Examples]:
    """The values of every language's prompts, without the missing ones; `reverse`: the opponent's."""
    return {
        language: Examples.of([1 - each.value if reverse else each.value for each in own if each.value is not None])
        for language, own in by_language(judged).items()
    }


def describe_contest(judged: Sequence[Judged]) -> dict[str, Any]:
    """What to read with a win rate: counts, position bias, and mean lengths of the two sides' answers."""
    asked = [each for each in judged if each.texts != (None, None)]
    verdicts = [verdict for each in asked for verdict in each.verdicts]
    both = [each for each in asked if each.value is not None]
    decided = [verdict for verdict in verdicts if verdict in ("first", "second")]
    both_sides = [each.answer for each in judged], [each.other for each in judged]
    return {
        "prompts": len(judged),
        "same_answer": len(judged) - len(asked),
        "missing": len(asked) - len(both),
        "judgements": len(verdicts),
        "unparsable": verdicts.count(None),
        "ties": share(verdicts.count("tie"), len(verdicts) - verdicts.count(None)),
        "follows_place": share(sum(each.follows_place for each in both), len(both)),
        "first_place_wins": share(decided.count("first"), len(decided)),
        "mean_characters": [mean_of([len(side.text) for side in sides]) for sides in both_sides],
        "mean_tokens": [mean_of([side.tokens for side in sides]) for sides in both_sides],
    }


def share(count: int, total: int) -> float | None:
    return count / total if total else None


def mean_of(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None


def verdict_rows(judged: Mapping[tuple[str, str], Sequence[Judged]]) -> list[dict[str, Any]]:
    """verdicts.jsonl: a row per contest, prompt and order."""
    rows = []
    for (model, opponent), own in judged.items():
        for each in own:
            asked = {"model": model, "opponent": opponent, "language": each.prompt.language}
            for order, (first, second) in enumerate(((model, opponent), (opponent, model))):
                key = {"key": verdict_key(model, opponent, each.prompt, order)}
                said = {"first": first, "second": second, "verdict": each.verdicts[order], "text": each.texts[order]}
                rows.append({**key, **asked, "prompt_key": each.prompt.key, **said})
    return rows


def alpaca_outputs(name: str, prompts: Sequence[Prompt], answers: Sequence[Answer]) -> list[dict[str, str]]:
    """The answers as alpaca_eval reads them: `instruction`, `output` and `generator`, with `dataset` the language."""
    rows = []
    for prompt, answer in zip(prompts, answers, strict=True):
        own = {"instruction": as_text(prompt.prompt), "output": answer.text, "generator": name}
        rows.append({**own, "dataset": prompt.language, "language": prompt.language})
    return rows
