"""The stage `judge`: responses in, a score of each out, and figures that say what the scores are worth.

stage.json         what the stage was begun with
raw.jsonl          every reply of the judge (or log-probability) as it came, by key
judgements.jsonl   every judgement with its text and its score, in the order of the responses; null where there is none
scores.jsonl       every response's score: the mean over its judgements that gave one; null where none did
hygiene.json       parse rate, ties, entropy, agreement and length, by language
server.log         output of a process that the engine started
manifest.json      written last

A judgement that cannot be read is missing data, never a score: a score of 0 would make its response the rejected one.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from congrad.engines.ask import ask, make_request, seeded
from congrad.engines.interface import Reply, Request, Sampling, has_chat_template, identity
from congrad.engines.open import opened_when_asked
from congrad.errors import UserError
from congrad.files import write_json
from congrad.models.compute import settle_stage
from congrad.progress import SILENT, Listener, Progress
from congrad.selfreward.generate import SERVER_LOG
from congrad.selfreward.hygiene import hygiene_warnings, mean, measure_hygiene
from congrad.selfreward.responses import RAW, SCORES, Judgements, Responses, read_responses
from congrad.selfreward.rubric import as_text, ends_open, fill, read_score, read_template
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.settings.selfreward import Judge
from congrad.stage import begin, content_key, finish, forget_if_empty, write_rows
from congrad.words import quote

JUDGEMENTS, HYGIENE = "judgements.jsonl", "hygiene.json"


def run_judge(
    generated: Path,
    model: Model,
    settings: Judge,
    output: Path,
    *,
    engine: Engine | None = None,
    reference: Model | None = None,
    listener: Listener = SILENT,
) -> None:
    """Scores the responses of a finished `generate`; returns at once where that is done already.

    In process, the same call ends in the same bytes however often it was killed on the way.

    Args:
        generated: directory of `generate`.
        engine: what generated, for settings that name no engine.
        reference: of the implicit reward; None: the one that `model` names.

    Raises:
        UserError: the judge cannot be asked, or never gives a score that can be read.
    """
    responses = read_responses(generated)
    if settings.kind == "llm":
        judgements = ask_judge(responses, model, settings, output, engine or Engine(), listener)
    else:
        from congrad.selfreward.implicit import implicit_rewards

        judgements = implicit_rewards(responses, model, reference, settings.beta, output, listener)
    if judgements is None:
        return
    scores = [[row["score"] for row in own] for own in judgements]
    if all(score is None for own in scores for score in own):
        raise UserError(never_parsed([row for own in judgements for row in own], settings, output))
    write_rows(output / JUDGEMENTS, (row for own in judgements for row in own))
    keyed = zip((row["key"] for row in responses.rows), scores, strict=True)
    write_rows(output / SCORES, ({"key": key, "score": mean(own), "scores": own} for key, own in keyed))
    hygiene = measure_hygiene(responses.rows, scores, rubric=settings.kind == "llm")
    write_json(output / HYGIENE, hygiene)
    warnings = hygiene_warnings(hygiene)
    finish(output, {"responses": len(scores), "scored": hygiene["all"]["scored"], "warnings": warnings})


def never_parsed(judgements: list[dict[str, Any]], settings: Judge, output: Path) -> str:
    """What is said of a judge whose every judgement is missing, with an example."""
    if settings.kind == "implicit-reward":
        return f"no log-probability of a response is finite; set model.dtype to float32, remove {output} and run again"
    row = next((row for row in judgements if row["text"].strip()), judgements[0])
    cut = sum(row["finish_reason"] == "length" for row in judgements)
    fix = "name a judge.model or a judge.engine that follows instructions, or a judge.template that is easier to follow"
    if cut:
        fix = f"raise judge.max_tokens, which cut {cut} of them, or {fix}"
    return (
        f"none of the {len(judgements)} judgements gives a score that can be read; one says "
        f"{quote(row['text'].strip(), 120)}; {fix}, then remove {output} and run again"
    )


# Asking a model


def who_judges(settings: Judge, engine: Engine, model: Model) -> tuple[Engine, Model]:
    """The engine and the model that judge, given those that generated."""
    own = settings.engine or engine
    named = own.model if own.command is None else None  # with a command it is the name of what that serves
    if settings.model is not None:
        if named is not None:
            problem = f"would be ignored: the endpoint is asked for {named!r}"
            raise UserError(problem, "leave one of them out", key="judge.model")
        return own, model.other(settings.model)
    if settings.engine is not None and named is not None:
        return own, Model(named, device=model.device)
    return own, model


def ask_judge(
    responses: Responses, model: Model, settings: Judge, output: Path, engine: Engine, listener: Listener
) -> Judgements | None:
    """Asks for every judgement that is not there; None where the stage is finished."""
    engine, model = who_judges(settings, engine, model)
    model = settle_stage(model, output, listener, in_process=engine.kind == "transformers")
    chat = has_chat_template(engine, model) if settings.chat == "auto" else settings.chat
    template = read_template(settings.template, chat=chat)
    inputs = {"template": content_key(template), "responses": responses.fingerprint}
    decided = {**asdict(settings), **identity(engine, model), **inputs}
    forget_if_empty(output, "judge", RAW, SERVER_LOG)
    if begin(output, "judge", decided):
        return None
    requests = make_requests(responses, settings, template, chat=chat)
    asked = {request.key: responses.rows[number // settings.samples] for number, request in enumerate(requests)}

    def where(key: str) -> str:
        place = f"row {asked[key]['row']} (both counted from 0) of the prompts, in {asked[key]['language']}"
        return f"judging response {asked[key]['sample']} to {place}"

    def tell(done: int) -> None:
        listener.on_progress(Progress("judging", done, len(requests), "judgements"))

    with opened_when_asked(engine, model, log=output / SERVER_LOG) as judge:
        replies = ask(requests, output / RAW, judge, where, tell, row=reply_row).rows
    opened = ends_open(template)
    rows = [
        {
            "key": reply["key"],
            "response_key": responses.rows[number // settings.samples]["key"],
            "sample": number % settings.samples,
            **reply,
            "score": read_score(reply["text"], cut=reply["finish_reason"] == "length", opened=opened),
        }
        for number, reply in enumerate(replies.values())
    ]
    return [rows[start : start + settings.samples] for start in range(0, len(rows), settings.samples)]


def make_requests(responses: Responses, settings: Judge, template: str, *, chat: bool) -> list[Request]:
    """`settings.samples` requests for every response."""
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, seed=settings.seed)
    requests = []
    for row in responses.rows:
        prompt = as_text(responses.prompt(row))
        text = fill(template, prompt=prompt, response=row["response"], language=row["language"])
        for sample in range(settings.samples):
            key, own = content_key("judge", row["key"], sample), seeded(sampling, "judge", row["key"], sample)
            requests.append(make_request(key, text, own, chat=chat))
    return requests


def reply_row(reply: Reply) -> dict[str, Any]:
    return {"key": reply.key, "text": reply.text, "finish_reason": reply.finish_reason}
