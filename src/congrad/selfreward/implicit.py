"""The implicit reward of DPO: beta (log pi(y|x) - log ref(y|x)), of arXiv 2305.18290, eq. 5.

Prompt and response become tokens as TRL's `DPOTrainer` makes them of a pair, so that what is measured is what training
moves. The response begins where the shortest common prefix of any response to the prompt and the prompt itself ends.
"""

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from congrad.errors import UserError
from congrad.filtering.logps import Triple, log_probabilities
from congrad.models.compute import in_dtype_of, settle_stage
from congrad.models.device import pick_device
from congrad.models.identity import identify
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import load_preferences, tokenise
from congrad.preferences.tokenise import IDENTICAL
from congrad.progress import Listener, Progress
from congrad.selfreward.responses import RAW, Judgements, Responses
from congrad.settings.model import Model
from congrad.stage import RowLog, begin, content_key, forget_if_empty

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
    reference = reference_of(model, None if reference is None else in_dtype_of(model, reference))
    decided = {
        "kind": "implicit-reward",
        "beta": beta,
        "model": identity(model),
        "reference": identity(reference),
        "responses": responses.fingerprint,
    }
    forget_if_empty(output, "judge", RAW)
    if begin(output, "judge", decided):
        return None
    options: dict[str, Any] = {"revision": model.revision, "trust_remote_code": model.trust_remote_code}
    pairs = couples(responses, load_tokenizer(model.name, **options))
    keys = [row["key"] for row in responses.rows]
    with RowLog(output / RAW) as log:
        total = 2 * sum(len(set(numbers)) for numbers, _ in pairs)
        listener.on_progress(Progress("judging", len(log.rows), total, "log-probabilities"))
        for role, each in ((POLICY, model), (REFERENCE, reference)):
            for rows in measure(each, role, pairs, keys, log):
                log.append(rows)
                listener.on_progress(Progress("judging", len(log.rows), total, "log-probabilities"))
        logps = {(row["response_key"], row["model"]): row["logp"] for row in log.rows.values()}
    return [[judgement(key, logps, beta)] for key in keys]


def reference_of(model: Model, reference: Model | None) -> Model:
    """The model against which the policy is measured.

    Raises:
        UserError: there is none, or it is the policy itself.
    """
    if reference is None:
        if model.reference is None:
            raise UserError(
                "judge.kind implicit-reward measures the model against a reference and there is none; name one as "
                "model.reference"
            )
        reference = replace(model, name=model.reference, adapter=None, reference=None, revision=None)
    if identity(model) == identity(reference):
        raise UserError(
            "judge.kind implicit-reward: the model is its own reference, so every reward would be 0, as in a first "
            "round that starts from prompts; start from preference pairs (prompts.pairs), or set judge.kind to llm"
        )
    return reference


def identity(model: Model) -> dict[str, Any]:
    adapter = None if model.adapter is None else identify(model.adapter)
    return {"model": identify(model.name, model.revision), "adapter": adapter, "dtype": model.dtype}


Couple = tuple[tuple[int, int], Triple]
"""Positions of two responses to one prompt (twice the same where one is left over), and their tokens."""


def couples(responses: Responses, tokenizer: PreTrainedTokenizerBase) -> list[Couple]:
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
    found: list[Couple] = []
    for i, (pair, key) in enumerate(zip(numbers, prompt_keys, strict=True)):
        if tokens.reasons[i] not in ("", IDENTICAL) or not shared[key]:
            continue
        chosen, rejected = (
            np.concatenate([tokens.prompt_ids[i], ids])[shared[key] :]
            for ids in (tokens.chosen_ids[i], tokens.rejected_ids[i])
        )
        found.append((pair, (tokens.prompt_ids[i][: shared[key]], chosen, rejected)))
    return found


def measure(
    model: Model, role: str, pairs: list[Couple], keys: list[str], log: RowLog
) -> Iterator[list[dict[str, Any]]]:
    """Yields rows of log-probabilities under a model, a batch at a time; loads it only if any is missing."""

    def row(number: int, logp: float) -> dict[str, Any]:
        key = content_key(role, keys[number])
        return {"key": key, "response_key": keys[number], "model": role, "logp": logp if math.isfinite(logp) else None}

    done = [all(content_key(role, keys[number]) in log.rows for number in numbers) for numbers, _ in pairs]
    if all(done):
        return
    device = pick_device(model.device)
    loaded = load_model(
        model.name,
        dtype=model.dtype,
        device=device,
        adapter=model.adapter,
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
    )
    try:
        for batch, logps_B2 in log_probabilities(loaded, [triple for _, triple in pairs], done):
            found = zip(batch, logps_B2.tolist(), strict=True)
            yield [
                row(number, logp)
                for position, logps in found
                for number, logp in zip(pairs[position][0], logps, strict=True)
            ]
    finally:
        del loaded
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


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
