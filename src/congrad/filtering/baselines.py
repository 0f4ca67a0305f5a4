"""The filters that every result is compared with: keep all, keep some at random, keep what looks best by a number.

    none            every pair
    random          as many pairs as the keep share asks for, drawn with a seed
    reward-margin   the largest r(x, y_w) - r(x, y_l), for one of three rewards r (`rankings.Reward`)
    loss            the lowest preference loss at the model (`rankings`)

The directory is one as the filter writes it: kept.jsonl, dropped.jsonl (the rows with all their columns and
`baseline_score`), scores.parquet (the filter's columns without cosines) and, last, manifest.json.

Shapes: N input rows, P pairs that can be scored.
"""

import math
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from congrad.errors import UserError
from congrad.filtering.directory import OPTIONAL
from congrad.filtering.exact import inexact_in_words
from congrad.filtering.left_out import input_record
from congrad.filtering.outputs import scores_table, write_run
from congrad.filtering.rankings import (
    Baseline,
    Floats,
    LogProbabilities,
    judge_margins,
    model_scores,
    of_index,
    resolve,
)
from congrad.gradients.build import pairs_fingerprint, pairs_table, triples
from congrad.gradients.index import GradientIndex
from congrad.gradients.logps import Row, logged_logps
from congrad.models.compute import settle_stage
from congrad.models.identity import as_loaded
from congrad.models.ranks import ranks, wait_for_all
from congrad.preferences import Preferences, TokenisedPairs, tokenise
from congrad.preferences.load import read_preferences
from congrad.progress import SILENT, Listener, Progress
from congrad.selection.keep import reasons, select
from congrad.settings.input import Input
from congrad.settings.model import Model, reference_of
from congrad.stage import STAGE, Begun, begin, content_key, forget_if_empty, read_json

SCORE_COLUMN = "baseline_score"
NO_SCORE = "no judge's score"
NOT_FINITE = "log-probability is not finite"


def filter_baseline(
    baseline: Baseline,
    source: Input,
    model: Model,
    output: Path,
    *,
    index: GradientIndex | None = None,
    listener: Listener = SILENT,
) -> list[str]:
    """Filters preference pairs by a baseline into a run directory; returns at once where that is done.

    Args:
        model: its tokenizer says which pairs can be scored; its weights are read only for log-probabilities that no
            index has.
        index: a gradient index of the same pairs, model and reference, whose log-probabilities are taken instead of a
            pass over the model.

    Returns:
        What a person should know, a line each.
    """
    with ranks() as rank:  # of a launcher's processes the first does it: what others could take is done soon
        warnings = _filter(baseline, source, model, output, index, listener) if rank.number == 0 else []
        wait_for_all()
    return warnings


def _filter(
    baseline: Baseline,
    source: Input,
    model: Model,
    output: Path,
    index: GradientIndex | None,
    listener: Listener,
) -> list[str]:
    from congrad.models.load import tokenizer_of

    preferences = read_preferences(source)
    pairs = tokenise(preferences, tokenizer_of(model), chat=source.chat, max_length=source.max_length)
    tokens = pairs_fingerprint(pairs)
    if index is not None and index.plan["data"] != tokens:
        raise UserError(f"{index.directory} is an index of other pairs, or of these tokenised differently")
    has_reference = (model.reference if index is None else index.plan["reference"]) is not None
    baseline, warnings = resolve(baseline, preferences, has_reference=has_reference)
    needs_logps = baseline.method == "loss" or baseline.reward in ("implicit", "likelihood")
    if needs_logps and index is None:
        model = settle_stage(model, output, listener)
    reference = reference_of(model)
    settings = {
        "baseline": asdict(baseline),
        "data": preferences.fingerprint,
        "tokens": tokens,
        "judged": content_key(judge_margins(preferences).tolist()) if baseline.reward == "judge" else None,
        "model": as_loaded(model) if needs_logps else None,
        "reference": as_loaded(reference) if needs_logps and reference is not None else None,
    }
    forget_if_empty(output, "filter", "logps.jsonl", "kept.jsonl", "dropped.jsonl", "scores.parquet", *OPTIONAL)
    if begin(output, "filter", settings):
        return warnings
    reason_N = list(pairs.reasons) if index is None else index.pairs["reason"].to_pylist()
    usable = [position for position, reason in enumerate(reason_N) if not reason]
    logps = None
    if needs_logps:
        logps = of_index(index) if index is not None else by_pass(model, pairs, usable, output, listener)
    score_N = scores(baseline, preferences, pairs, usable, logps)
    if baseline.method == "none":
        keep_N, reason_N = torch.ones(len(pairs), dtype=torch.bool), ["kept"] * len(pairs)
    else:
        for position in usable:
            if math.isnan(score_N[position]):
                reason_N[position] = NOT_FINITE if needs_logps else NO_SCORE
        language_N = torch.from_numpy(np.unique(pairs.languages, return_inverse=True)[1])
        keep_N = select(torch.from_numpy(score_N), language_N, **asdict(baseline.selection))
        reason_N = reasons(keep_N, reason_N)
    described = input_record(preferences, SCORE_COLUMN)
    if described["inexact"]:
        listener.on_note(inexact_in_words(described["inexact"]))
    manifest = {
        **read_json(output / STAGE.first, Begun),
        "congrad": 1,
        "input": described,
        "rows": len(preferences),
        "kept": int(keep_N.sum()),
        "reasons": dict(sorted(Counter(reason_N).items())),
        "reward": baseline.reward,
        "index_used": needs_logps and index is not None,
        "warnings": warnings,
    }
    table = scores_table(with_scores(pairs, usable, score_N, logps), keep_N, reason_N)
    write_run(output, preferences, table, score_N, manifest, column=SCORE_COLUMN)
    return warnings


def by_pass(
    model: Model, pairs: TokenisedPairs, usable: list[int], output: Path, listener: Listener
) -> LogProbabilities:
    """Runs the policy, and the reference if there is one, over the pairs; continues where an earlier pass stopped."""
    from congrad.models.load import loaded

    wanted, reference = triples(pairs, usable), reference_of(model)
    sides = {"policy": model} | ({} if reference is None else {"reference": reference})
    found: dict[str, Floats] = {}

    def rows(side: str, position: int, *logps: float) -> list[Row]:
        return [{"key": content_key(side, usable[position]), "logps": list(logps)}]

    def on_rows(num_rows: int) -> None:
        listener.on_progress(Progress("log-probabilities", num_rows, len(usable) * len(sides), "pairs"))

    for side, each in sides.items():
        with loaded(each) as load:
            log = logged_logps(load, wanted, output / "logps.jsonl", partial(rows, side), on_rows)
        values = [log[content_key(side, position)]["logps"] for position in usable]
        found[side] = np.array(values, dtype=np.float64).reshape(-1, 2)  # null is NaN
    return LogProbabilities(found["policy"], found.get("reference"))


def scores(
    baseline: Baseline,
    preferences: Preferences,
    pairs: TokenisedPairs,
    usable: list[int],
    logps: LogProbabilities | None,
) -> Floats:
    """What the pairs are ranked by, the best highest; NaN where there is nothing to rank by (N)."""
    score_N = np.full(len(pairs), np.nan)
    if logps is not None:
        tokens_P2 = np.array([[len(pairs.chosen_ids[i]), len(pairs.rejected_ids[i])] for i in usable], dtype=float)
        score_N[usable] = model_scores(baseline, logps, tokens_P2.reshape(-1, 2))
    elif baseline.method == "random":
        score_N[usable] = np.random.default_rng(baseline.seed).random(len(pairs))[usable]
    elif baseline.reward == "judge":
        score_N[usable] = judge_margins(preferences)[usable]
    return score_N


def with_scores(pairs: TokenisedPairs, usable: list[int], score_N: Floats, logps: LogProbabilities | None) -> pa.Table:
    """The pairs as an index has them, with their scores and the policy's log-probabilities; NaN is null."""
    logps_N2 = np.full((len(pairs), 2), np.nan)
    if logps is not None:
        logps_N2[usable] = logps.policy_P2
    table = pairs_table(pairs)
    for name, values_N in zip(("score", "chosen_logp", "rejected_logp"), (score_N, *logps_N2.T), strict=True):
        table = table.append_column(name, pa.array(values_N.astype(np.float32), from_pandas=True))
    return table
