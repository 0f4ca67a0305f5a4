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
from congrad.gradients.logps import Row, Triple, logged_logps
from congrad.models.compute import in_dtype_of, settle_stage
from congrad.models.identity import as_loaded
from congrad.models.load import loaded, tokenizer_of
from congrad.preferences import load_preferences, tokenise
from congrad.preferences.tokenise import IDENTICAL
from congrad.progress import Listener, Progress
from congrad.selfreward.responses import RAW, Judgements, Responses
from congrad.settings.model import Model, reference_of
from congrad.stage import begin, content_key, forget_if_empty

POLICY, REFERENCE = "policy", "reference"
NO_LIMIT = 2**30  # the model has written these responses, so they fit


def implicit_rewards(
    responses: Responses, model: Model, reference: Model | None, beta: float, output: Path, listener: Listener
) -> Judgements | None:
    """The reward of every response, by a pass over the policy and one over the reference.

    Returns:
        One judgement of each response; None where the stage is finished.

    Raises:
        UserError: there is no reference, or it is the policy.
    """
    model = settle_stage(model, output, listener)
    reference = reference_of(model) if reference is None else in_dtype_of(model, reference)
    if reference is None:
        raise UserError(
            "measures the model against a reference, but there is none",
            "set model.reference",
            key="judge.kind",
            value="implicit-reward",
        )
    decided = {
        "kind": "implicit-reward",
        "beta": beta,
        "model": as_loaded(model),
        "reference": as_loaded(reference),
        "responses": responses.fingerprint,
    }
    if decided["model"] == decided["reference"]:
        raise UserError(
            "gives every answer a reward of 0, as the model is its own reference",
            "start from preference pairs (prompts.pairs), or set judge.kind to llm",
            key="judge.kind",
            value="implicit-reward",
        )
    forget_if_empty(output, "judge", RAW)
    if begin(output, "judge", decided):
        return None
    pairs = response_pairs(responses, tokenizer_of(model))
    keys = [row["key"] for row in responses.rows]
    total = 2 * sum(len(set(numbers)) for numbers, _ in pairs)

    def rows(role: str, position: int, *logps: float) -> list[Row]:
        numbers, _ = pairs[position]
        return [logp_row(role, keys[number], logp) for number, logp in zip(numbers, logps, strict=True)]

    def tell(num_rows: int) -> None:
        listener.on_progress(Progress("judging", num_rows, total, "log-probabilities"))

    log: dict[str, Row] = {}
    for role, each in ((POLICY, model), (REFERENCE, reference)):
        with loaded(each) as load:
            log = logged_logps(load, [triple for _, triple in pairs], output / RAW, partial(rows, role), tell)
    logps = {(row["response_key"], row["model"]): row["logp"] for row in log.values()}
    return [[judgement(key, logps, beta)] for key in keys]


ResponsePair = tuple[tuple[int, int], Triple]
"""Positions of two responses to one prompt (twice the same where one is left over), and their tokens."""


def response_pairs(responses: Responses, tokenizer: PreTrainedTokenizerBase) -> list[ResponsePair]:
    """The responses two by two, as the pass takes them; those that leave no token to measure are left out."""
    groups = [
        [number for number, _ in group]
        for _, group in groupby(enumerate(responses.rows), key=lambda item: item[1]["prompt_key"])
    ]
    numbers = [(group[i], group[min(i + 1, len(group) - 1)]) for group in groups for i in range(0, len(group), 2)]
    rows = []
    for pair in numbers:
        chosen, rejected = (responses.rows[number]["response"] for number in pair)
        prompt: Any = responses.prompt(responses.rows[pair[0]])
        if responses.chat:
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "language": "any"})
    tokens = tokenise(load_preferences(datasets.Dataset.from_list(rows)), tokenizer, max_length=NO_LIMIT)
    prompt_keys = [responses.rows[first]["prompt_key"] for first, _ in numbers]
    shared: dict[str, int] = {}
    for key, prompt_ids in zip(prompt_keys, tokens.prompt_ids, strict=True):
        shared[key] = min(len(prompt_ids), shared.get(key, len(prompt_ids)))
    found: list[ResponsePair] = []
    for i, (pair, key) in enumerate(zip(numbers, prompt_keys, strict=True)):
        if tokens.reasons[i] not in ("", IDENTICAL) or not shared[key]:
            continue
        chosen, rejected = (
            np.concatenate([tokens.prompt_ids[i], ids])[shared[key] :]
            for ids in (tokens.chosen_ids[i], tokens.rejected_ids[i])
        )
        found.append((pair, (tokens.prompt_ids[i][: shared[key]], chosen, rejected)))
    return found


def logp_row(role: str, response_key: str, logp: float) -> Row:
    key = content_key(role, response_key)
    return {
        "key": key,
        "response_key": response_key,
        "model": role,
        "logp": logp if math.isfinite(logp) else None,
    }


def judgement(key: str, logps: dict[tuple[str, str], float | None], beta: float) -> dict[str, Any]:
    policy, reference = logps.get((key, POLICY)), logps.get((key, REFERENCE))
    score = None if policy is None or reference is None else beta * (policy - reference)
    return {
        "key": content_key("judge", key, 0),
        "response_key": key,
        "sample": 0,
        "policy_logp": policy,
        "reference_logp": reference,
        "score": score,
    }
