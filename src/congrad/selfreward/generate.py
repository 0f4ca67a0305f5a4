"""The stage `generate`: prompts and a model in, several answers to every prompt out.

stage.json        what the stage was begun with
samples.jsonl     every answer as it came, by key
responses.jsonl   prompts with their answers, in the order of the prompts, without empty and repeated ones
server.log        output of a process that the engine started
manifest.json     written last: counts of every language, and whether the model was asked in conversations (`chat`)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from congrad.engines.ask import ask, make_request, seeded
from congrad.engines.interface import Reply, Request, Sampling, has_chat_template, identity
from congrad.engines.open import opened_when_asked
from congrad.errors import UserError
from congrad.models.compute import settle_stage
from congrad.progress import SILENT, Listener, Progress
from congrad.selfreward.prompts import Prompt
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.settings.selfreward import Chat, Generate
from congrad.stage import Amount, LogRow, begin, content_key, finish, forget_if_empty, write_rows

SAMPLES, RESPONSES, SERVER_LOG = "samples.jsonl", "responses.jsonl", "server.log"
MUCH_CUT = 0.5


class Sample(LogRow):
    """A row of `samples.jsonl`."""

    response: str
    finish_reason: str
    num_tokens: Amount | None


def run_generate(
    prompts: Sequence[Prompt], model: Model, settings: Generate, output: Path, *, listener: Listener = SILENT
) -> None:
    """Samples answers to every prompt of `load_prompts`; returns at once where that is done already.

    In process, the same call ends in the same bytes however often it was killed on the way.

    Raises:
        UserError: the model or the endpoint cannot answer, or nothing but empty answers came.
    """
    if not prompts:
        raise UserError("no prompts to answer", "give some")
    model = settle_stage(model, output, listener, in_process=settings.engine.kind == "transformers")
    numbered = [[prompt.key, prompt.row] for prompt in prompts]
    decided = {**asdict(settings), **identity(settings.engine, model), "prompts": content_key(numbered)}
    forget_if_empty(output, "generate", SAMPLES, SERVER_LOG)
    if begin(output, "generate", decided):
        return
    chat = settle_chat(prompts, model, settings.engine, settings.chat, settings.system, section="generate")
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, seed=settings.seed)
    requests = make_requests(prompts, settings.samples, sampling, settings.system, chat=chat)
    asked = {request.key: (prompts[i // settings.samples], i % settings.samples) for i, request in enumerate(requests)}

    def where(key: str) -> str:
        prompt, _ = asked[key]
        return f"row {prompt.row} (counted from 0) of the prompts, in {prompt.language}"

    def row(reply: Reply) -> dict[str, Any]:
        prompt, sample = asked[reply.key]
        written = {"response": reply.text, "finish_reason": reply.finish_reason, "num_tokens": reply.num_tokens}
        return {"key": reply.key, "prompt_key": prompt.key, "sample": sample, **written}

    def tell(done: int) -> None:
        listener.on_progress(Progress("generating", done, len(requests), "answers"))

    with opened_when_asked(settings.engine, model, log=output / SERVER_LOG) as engine:
        answers = ask(requests, output / SAMPLES, engine, where, tell, row=row, kind=Sample, text="response")
    if answers.missing == len(requests):
        fix = f"look at {output / SAMPLES}, and try other prompts or another model"
        raise UserError(f"all {len(requests)} answers are empty", fix)
    responses, counts = collect(prompts, settings.samples, answers.rows)
    write_rows(output / RESPONSES, responses)
    asked_and_answered = {"prompts": len(prompts), "responses": len(responses), "languages": counts}
    content = {"model": model.name, "chat": chat, **asked_and_answered, "warnings": warnings(counts, settings)}
    finish(output, content)


# Requests


def settle_chat(
    prompts: Sequence[Prompt], model: Model, engine: Engine, chat: Chat, system: str | None, *, section: str
) -> bool:
    """Whether the chat template is used, where `chat` and `system` are what a section of the settings says.

    Raises:
        UserError: prompts or settings ask for a template and the model has none, or forbid the one they need.
    """
    conversation = next((prompt for prompt in prompts if not isinstance(prompt.prompt, str)), None)
    if chat is False:
        if conversation is not None:
            row = f"row {conversation.row} (counted from 0) of the prompts"
            problem = f"{section}.chat false: {row} is a conversation, which needs the chat template"
            raise UserError(problem, f"leave {section}.chat out, or write the prompts as plain text")
        return False
    if has_chat_template(engine, model):
        return True
    if chat is True:
        wanted = f"{section}.chat true"
    elif system is not None:
        wanted = f"{section}.system"
    elif conversation is not None:
        wanted = f"row {conversation.row} (counted from 0) of the prompts, a conversation,"
    else:
        return False
    raise UserError(
        f"{wanted} needs a chat template and the tokenizer of {model.name} has none",
        "set chat_template in its tokenizer_config.json, or use a model tuned for chat",
    )


def make_requests(
    prompts: Sequence[Prompt], samples: int, sampling: Sampling, system: str | None, *, chat: bool
) -> list[Request]:
    """`samples` requests for every prompt."""
    requests = []
    for prompt, sample in product(prompts, range(samples)):
        key, own = content_key(prompt.key, sample), seeded(sampling, "generate", prompt.key, sample)
        requests.append(make_request(key, prompt.prompt, own, chat=chat, system=system))
    return requests


# Responses


def collect(
    prompts: Sequence[Prompt], samples: int, rows: Mapping[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Rows of `responses.jsonl`, in the order of prompts and samples, and counts by language.

    An answer of nothing but white space, and one that says the same as an earlier answer to its prompt, are left out.
    `repeated_prompts` of the input are taken once; `cut` are responses that max_tokens ended; no pair can come from
    `prompts_with_one_response` or none.
    """
    responses: list[dict[str, Any]] = []
    counts: dict[str, Counter[str]] = {}
    for prompt in prompts:
        count = counts.setdefault(prompt.language, Counter())
        seen: set[str] = set()
        for sample in range(samples):
            row = rows[content_key(prompt.key, sample)]
            text = row["response"]
            if not text.strip():
                count["empty"] += 1
            elif text in seen:
                count["repeated"] += 1
            else:
                seen.add(text)
                count["cut"] += row["finish_reason"] == "length"
                told = {"row": prompt.row, "language": prompt.language, "prompt": prompt.prompt}
                responses.append({"key": row["key"], "prompt_key": prompt.key, **told, **row})
        count["prompts"] += 1
        count["repeated_prompts"] += prompt.repeats
        count["samples"] += samples
        count["responses"] += len(seen)
        count["prompts_with_one_response"] += len(seen) < 2
    names = ("prompts", "repeated_prompts", "samples", "empty", "repeated", "cut", "responses")
    return responses, {
        language: {name: counts[language][name] for name in (*names, "prompts_with_one_response")}
        for language in sorted(counts)
    }


def warnings(counts: Mapping[str, Mapping[str, int]], settings: Generate) -> list[str]:
    """What a person should know of the answers before going on."""
    found = []
    same = all(count["repeated"] == count["samples"] - count["prompts"] for count in counts.values())
    if settings.samples > 1 and same:
        found.append(
            "all answers to a prompt are the same: the endpoint does not sample. `transformers serve` does where the "
            "model's generation_config.json has do_sample; or set generate.engine.options to "
            "{generation_config: '{\"do_sample\": true}'}"
        )
    cut = [language for language, count in counts.items() if count["cut"] > MUCH_CUT * max(count["responses"], 1)]
    if cut:
        found.append(f"generate.max_tokens {settings.max_tokens} cuts most answers in {', '.join(cut)}")
    empty = [language for language, count in counts.items() if not count["responses"]]
    if empty:
        found.append(f"all answers in {', '.join(empty)} are empty")
    return found
