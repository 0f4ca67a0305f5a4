"""What the baselines rank pairs by: what a judge, a reward or the loss says of them, without any gradient.

`loss` ranks by the margin m of `congrad.consensus.loss`, of which every loss there but IPO's is a falling function;
IPO's is least where m is 1 / (2 beta). Where the policy is its own reference, the log-ratios in m are zero for every
pair and DPO's loss is the same for all, so that there is nothing to rank: the reference is then left out,

    m = beta (log pi(y_w) - log pi(y_l)) + alpha (len(y_w) - len(y_l)),

the margin of summed log-probabilities of `bench/flipped.py`. With another reference model m is what the trainer sees.

Shapes: N input rows, P pairs that can be scored.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from congrad.errors import UserError
from congrad.filtering.score import margins_by_side
from congrad.gradients.index import GradientIndex
from congrad.preferences.ratings import score_of
from congrad.preferences.rows import Preferences
from congrad.settings.consensus import PER_TOKEN, Loss
from congrad.settings.selection import Selection
from congrad.sources.part import Mistake

Method = Literal["none", "random", "reward-margin", "loss"]
Reward = Literal["judge", "implicit", "likelihood"]
"""What `reward-margin` takes for the reward r(x, y) of a response:

    judge        the score that a judge gave it: r(y_w) - r(y_l) is chosen_score - rejected_score
    implicit     DPO's, beta log(pi(y) / ref(y)) (arXiv 2305.18290, eq. 5): needs a reference other than the policy
    likelihood   SimPO's, beta / len(y) log pi(y) (arXiv 2405.14734, eq. 4): the mean log-probability of its tokens
"""
METHODS: tuple[Method, ...] = get_args(Method)
JUDGED = ("chosen_score", "rejected_score")

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
        if self.selection.keep == "auto":
            raise UserError(f"the baseline {self.method} has no share of its own", "set a share", key="selection.keep")


@dataclass(frozen=True)
class LogProbabilities:
    """Of the P pairs that can be scored: chosen and rejected, summed over tokens (P x 2, float64)."""

    policy_P2: Floats
    reference_P2: Floats | None


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


def judge_margins(preferences: Preferences) -> Floats:
    """chosen_score - rejected_score of every row; NaN where one of them is null."""
    chosen, rejected = (preferences.dataset[column] for column in JUDGED)
    margins_N = np.full(len(preferences), np.nan)
    for position, pair in enumerate(zip(chosen, rejected, strict=True)):
        margin = 0.0
        for column, value, sign in zip(JUDGED, pair, (1, -1), strict=True):
            number = score_of(value, sign, column)  # a CSV file has numbers as text
            if isinstance(value, bool) or isinstance(number, Mistake):
                problem = f"holds {value!r:.60}, not a number"
                raise UserError(problem, "write a number, or null", at=preferences.where(position), column=column)
            margin += math.nan if number is None else number
        margins_N[position] = margin
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
