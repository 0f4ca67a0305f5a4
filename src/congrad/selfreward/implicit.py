"""The implicit reward of DPO: beta (log pi(y|x) - log ref(y|x)), of arXiv 2305.18290, eq. 5.

Prompt and response become tokens as TRL's `DPOTrainer` makes them of a pair, so that what is measured is what training
moves. The response begins where the shortest common prefix of any response to the prompt and the prompt itself ends.
"""

import math
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import PreTrainedTokenizerBase

from congrad.errors import UserError
from congrad.gradients.logps import Row, SideRow, logged_logps
from congrad.gradients.packing import Triple
from congrad.models.compute import in_dtype_of, settle_stage
from congrad.models.identity import as_loaded
from congrad.models.load import loaded, tokenizer_of
from congrad.preferences import load_preferences, tokenise
from congrad.preferences.tokenise import IDENTICAL
from congrad.progress import Listener, Progress
from congrad.selfreward.responses import RAW, Judgements, Responses
from congrad.settings.model import Model, reference_of
from congrad.stage import begin, content_key, forget_if_empty

KIND, POLICY, REFERENCE = "implicit-reward", "policy", "reference"
NO_LIMIT = 2**30  # the model has written these responses, so they fit


class RewardRow(SideRow):
    """A row of the log: which response under which of the two models."""

    response_key: str
    model: str


def implicit_rewards(
    responses: Responses, model: Model, reference: Model | None, beta: float, output: Path, listener: Listener
) -> Judgements | None:
    """A judgement of every response, by a pass over policy and reference each; None where the stage is finished."""
    model = settle_stage(model, output, listener)
    reference = reference_of(model) if reference is None else in_dtype_of(model, reference)
    if reference is None:
        problem = "measures the model against a reference, but there is none"
        raise UserError(problem, "set model.reference", key="judge.kind", value=KIND)
    models = {"model": as_loaded(model), "reference": as_loaded(reference)}
    if models["model"] == models["reference"]:
        problem = "gives every answer a reward of 0, as the model is its own reference"
        fix = "start from preference pairs (prompts.pairs), or set judge.kind to llm"
        raise UserError(problem, fix, key="judge.kind", value=KIND)
    decided = {"kind": KIND, "beta": beta, **models, "responses": responses.fingerprint}
    forget_if_empty(output, "judge", RAW)
    if begin(output, "judge", decided):
        return None
    pairs = response_pairs(responses, tokenizer_of(model))
    keys = [row["key"] for row in responses.rows]
    total = 2 * sum(len(set(numbers)) for numbers, _ in pairs)

    def rows(role: str, position: int, *logps: float) -> list[Row]:
        found = []
        for number, logp in zip(pairs[position][0], logps, strict=True):
            own = {"response_key": keys[number], "model": role, "logp": logp if math.isfinite(logp) else None}
            found.append({"key": content_key(role, keys[number]), **own})
        return found

    def tell(num_rows: int) -> None:
        listener.on_progress(Progress("judging", num_rows, total, "log-probabilities"))

    log: dict[str, Row] = {}
    for role, each in ((POLICY, model), (REFERENCE, reference)):
        with loaded(each) as load:
            log = logged_logps(
                load, [triple for _, triple in pairs], output / RAW, partial(rows, role), tell, RewardRow
            )
    logps = {(row["response_key"], row["model"]): row["logp"] for row in log.values()}
    return [[judgement(key, logps, beta)] for key in keys]


ResponsePair = tuple[tuple[int, int], Triple]
"""Positions of two responses to one prompt (twice the same where one is left over), and their tokens."""


def response_pairs(responses: Responses, tokenizer: PreTrainedTokenizerBase) -> list[ResponsePair]:
    """The responses two by two, as the pass takes them; those that leave no token to measure are left out."""
    of_prompts = groupby(range(len(responses.rows)), key=lambda number: responses.rows[number]["prompt_key"])
    groups = [list(group) for _, group in of_prompts]
    numbers = [(group[i], group[min(i + 1, len(group) - 1)]) for group in groups for i in range(0, len(group), 2)]
    rows = []
    for pair in numbers:
        chosen, rejected = (responses.rows[number]["response"] for number in pair)
        prompt: Any = responses.prompt(responses.rows[pair[0]])
        if responses.chat:
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "language": "any"})
    tokens = tokenise(load_preferences(datasets.Dataset.from_list(rows), as_is=True), tokenizer, max_length=NO_LIMIT)
    prompt_keys = [responses.rows[first]["prompt_key"] for first, _ in numbers]
    shared: dict[str, int] = {}
    for key, prompt_ids in zip(prompt_keys, tokens.prompt_ids, strict=True):
        shared[key] = min(len(prompt_ids), shared.get(key, len(prompt_ids)))
    found: list[ResponsePair] = []
    for i, (pair, key) in enumerate(zip(numbers, prompt_keys, strict=True)):
        if tokens.reasons[i] not in ("", IDENTICAL) or not shared[key]:
            continue
        sides = tokens.chosen_ids[i], tokens.rejected_ids[i]
        chosen, rejected = (np.concatenate([tokens.prompt_ids[i], ids])[shared[key] :] for ids in sides)
        found.append((pair, (tokens.prompt_ids[i][: shared[key]], chosen, rejected)))
    return found


def judgement(key: str, logps: dict[tuple[str, str], float | None], beta: float) -> dict[str, Any]:
    policy, reference = logps.get((key, POLICY)), logps.get((key, REFERENCE))
    score = None if policy is None or reference is None else beta * (policy - reference)
    found = {"policy_logp": policy, "reference_logp": reference, "score": score}
    return {"key": content_key("judge", key, 0), "response_key": key, "sample": 0, **found}
