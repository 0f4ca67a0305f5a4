"""The filters that every result is compared with: keep all, keep some at random, keep what looks best by a number.

    none            every pair
    random          as many pairs as the keep share asks for, drawn with a seed
    reward-margin   the largest r(x, y_w) - r(x, y_l), for one of three rewards r (`Reward`)
    loss            the lowest preference loss at the model

`loss` ranks by the margin m of `congrad.consensus.loss`, of which every loss there but IPO's is a falling function;
IPO's is least where m is 1 / (2 beta). Where the policy is its own reference, the log-ratios in m are zero for every
pair and DPO's loss is the same for all, so that there is nothing to rank: the reference is then left out,

    m = beta (log pi(y_w) - log pi(y_l)) + alpha (len(y_w) - len(y_l)),

the margin of summed log-probabilities of `bench/flipped.py`. With another reference model m is what the trainer sees.

The directory is one as the filter writes it: kept.jsonl, dropped.jsonl (the rows with all their columns and
`baseline_score`), scores.parquet (the filter's columns without cosines) and, last, manifest.json.

Shapes: N input rows, P pairs that can be scored.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from congrad.errors import UserError
from congrad.filtering.outputs import scores_table, write_run
from congrad.filtering.score import margins_by_side
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
from congrad.settings.consensus import PER_TOKEN, Loss
from congrad.settings.input import Input
from congrad.settings.model import Model, reference_of
from congrad.settings.selection import Selection
from congrad.stage import STAGE, Begun, begin, content_key, forget_if_empty, read_json

Method = Literal["none", "random", "reward-margin", "loss"]
Reward = Literal["judge", "implicit", "likelihood"]
"""What `reward-margin` takes for the reward r(x, y) of a response:

    judge        the score that a judge gave it: r(y_w) - r(y_l) is chosen_score - rejected_score
    implicit     DPO's, beta log(pi(y) / ref(y)) (arXiv 2305.18290, eq. 5): needs a reference other than the policy
    likelihood   SimPO's, beta / len(y) log pi(y) (arXiv 2405.14734, eq. 4): the mean log-probability of its tokens
"""
METHODS: tuple[Method, ...] = get_args(Method)
SCORE_COLUMN = "baseline_score"
JUDGED = ("chosen_score", "rejected_score")
NO_SCORE = "no judge's score"
NOT_FINITE = "log-probability is not finite"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """Which baseline, and what decides its result beside the pairs and the model.

    Attributes:
        selection: a keep share and its scope; `none` has no use for them.
        reward: of `reward-margin`. None is the judge's where the pairs carry its scores, else `implicit` where there is
            a reference, else `likelihood`; the manifest and a warning say which it was.
        loss: of `loss`, and its beta.
        seed: of `random`.
    """

    method: Method
    selection: Selection = field(default_factory=Selection)
    reward: Reward | None = None
    loss: Loss = field(default_factory=Loss)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"must be one of {', '.join(METHODS)}", key="filter.methods", value=repr(self.method))
        if self.reward not in (None, *get_args(Reward)):
            raise UserError(f"the reward {self.reward!r} is unknown", f"choose from {', '.join(get_args(Reward))}")
        if self.reward is not None and self.method != "reward-margin":
            raise UserError(f"the baseline {self.method} has no reward", "leave it out")
        if self.selection.keep is None:
            raise UserError(f"the baseline {self.method} has no scores to compare with a minimum", "set selection.keep")


@dataclass(frozen=True)
class LogProbabilities:
    """Of the P pairs that can be scored: chosen and rejected, summed over tokens (P x 2, float64)."""

    policy_P2: Floats
    reference_P2: Floats | None


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
    forget_if_empty(output, "filter", "logps.jsonl", "kept.jsonl", "dropped.jsonl", "scores.parquet")
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
    manifest = {
        **read_json(output / STAGE.first, Begun),
        "congrad": 1,
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


def resolve(baseline: Baseline, preferences: Preferences, *, has_reference: bool) -> tuple[Baseline, list[str]]:
    """The baseline with its reward settled, and what to say about that."""
    if baseline.method != "reward-margin":
        return baseline, []
    there = [column for column in JUDGED if column in preferences.dataset.column_names]
    if len(there) == 1:
        problem = f"the pairs have a column {there[0]} but not both of {', '.join(JUDGED)}"
        raise UserError(problem, "add the other, or remove it")
    if baseline.reward == "judge" and not there:
        raise UserError(f"the pairs have no columns {', '.join(JUDGED)}", "add them, or choose the reward likelihood")
    if baseline.reward == "implicit" and not has_reference:
        problem = "the implicit reward is zero for every pair where the policy is its own reference"
        raise UserError(problem, "set model.reference, or choose the reward likelihood")
    if baseline.reward is not None:
        return baseline, []
    reward: Reward = "judge" if there else "implicit" if has_reference else "likelihood"
    named = {
        "implicit": "DPO's implicit reward, the log-ratio of policy and reference",
        "likelihood": "the mean log-probability per token (SimPO's reward)",
    }
    said = [] if there else [f"reward-margin: the pairs have no judge's scores, so the reward is {named[reward]}"]
    return replace(baseline, reward=reward), said


def of_index(index: GradientIndex) -> LogProbabilities:
    reference = index.reference_logps_P2.double().numpy() if index.plan["reference"] is not None else None
    return LogProbabilities(index.policy_logps_P2.double().numpy(), reference)


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


def judge_margins(preferences: Preferences) -> Floats:
    """chosen_score - rejected_score of every row; NaN where one of them is null."""
    chosen, rejected = (preferences.dataset[column] for column in JUDGED)
    margins_N = np.full(len(preferences), np.nan)
    for position, pair in enumerate(zip(chosen, rejected, strict=True)):
        for column, value in zip(JUDGED, pair, strict=True):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                problem = f"holds {value!r:.60}, not a number"
                raise UserError(problem, "write a number, or null", at=preferences.where(position), column=column)
        if None not in pair:
            margins_N[position] = pair[0] - pair[1]
    return margins_N


def model_scores(baseline: Baseline, logps: LogProbabilities, tokens_P2: Floats) -> Floats:
    """Of every pair, by log-probabilities: the reward margin, or the negative of what the loss falls with (P)."""
    policy_P2, loss = logps.policy_P2, baseline.loss
    reference_P2 = np.zeros_like(policy_P2) if logps.reference_P2 is None else logps.reference_P2
    if baseline.reward == "likelihood":
        policy_P2, reference_P2 = policy_P2 / tokens_P2, np.zeros_like(policy_P2)
    if baseline.reward is not None:
        ratio_P2 = loss.beta * (policy_P2 - reference_P2)
        score_P = ratio_P2[:, 0] - ratio_P2[:, 1]
    else:
        if loss.name in PER_TOKEN:
            policy_P2, reference_P2 = policy_P2 / tokens_P2, reference_P2 / tokens_P2
        margin_P = margins_by_side(loss, *map(torch.from_numpy, (policy_P2, reference_P2, tokens_P2))).numpy()
        score_P = -np.abs(margin_P - 1 / (2 * loss.beta)) if loss.name == "ipo" else margin_P
    return np.where(np.isfinite(score_P), score_P, np.nan)


def with_scores(pairs: TokenisedPairs, usable: list[int], score_N: Floats, logps: LogProbabilities | None) -> pa.Table:
    """The pairs as an index has them, with their scores and the policy's log-probabilities; NaN is null."""
    logps_N2 = np.full((len(pairs), 2), np.nan)
    if logps is not None:
        logps_N2[usable] = logps.policy_P2
    table = pairs_table(pairs)
    for name, values_N in zip(("score", "chosen_logp", "rejected_logp"), (score_N, *logps_N2.T), strict=True):
        table = table.append_column(name, pa.array(values_N.astype(np.float32), from_pandas=True))
    return table
