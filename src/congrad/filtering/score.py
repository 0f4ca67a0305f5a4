"""From an index to a score for every input row: the call between `build_index` and `select`.

Shapes: N input rows, P sketched pairs, L languages.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from congrad.consensus.loss import margins, pair_weights
from congrad.consensus.score import Scores, score_pairs
from congrad.gradients.index import GradientIndex
from congrad.settings.consensus import Consensus, Loss


@dataclass(frozen=True)
class ScoredRows:
    """Every input row with its score or the reason why it has none.

    Attributes:
        languages: the names of the L languages, sorted.
        rows: the index's `pairs` table (row, language, group, reason, chosen_tokens, rejected_tokens) with the columns
            score, chosen_logp, rejected_logp and cosine_<language>; null where there is none.
        detail: what `score_pairs` found: agreement between the languages and their weights in the consensus.
        position_P: the position in `rows` of each sketched pair.
    """

    languages: list[str]
    rows: pa.Table
    detail: Scores
    position_P: torch.Tensor

    @property
    def score_N(self) -> torch.Tensor:
        """Float32, NaN where there is none."""
        return torch.from_numpy(self.rows["score"].to_numpy(zero_copy_only=False).astype(np.float32))

    @property
    def language_N(self) -> torch.Tensor:
        """Position of the row's language in `languages` (int64)."""
        return torch.from_numpy(np.searchsorted(self.languages, self.rows["language"].to_pylist()))

    @property
    def reason_N(self) -> list[str]:
        """Why the row has no score, "" where it has one."""
        reasons: list[str] = self.rows["reason"].to_pylist()
        return reasons


def pair_factors(index: GradientIndex, loss: Loss) -> torch.Tensor:
    """The weight c of each sketched pair's gradient under a loss (P, float64)."""
    per_token = index.plan["settings"]["normalise"] == "mean"
    loss.check_index(per_token=per_token)
    sides = (index.pairs[f"{side}_tokens"].to_numpy() for side in ("chosen", "rejected"))
    tokens_P2 = torch.from_numpy(np.stack(list(sides), axis=1).astype(np.int64))[index.positions_P]
    divisor_P2 = tokens_P2 if per_token else 1
    policy_P2, reference_P2 = index.policy_logps_P2 / divisor_P2, index.reference_logps_P2 / divisor_P2
    return pair_weights(loss, margins_by_side(loss, policy_P2, reference_P2, tokens_P2))


def margins_by_side(
    loss: Loss, policy_P2: torch.Tensor, reference_P2: torch.Tensor, tokens_P2: torch.Tensor
) -> torch.Tensor:
    """`consensus.loss.margins` of log-probabilities and tokens of (chosen, rejected)."""
    return margins(
        loss,
        chosen_logp_P=policy_P2[:, 0],
        rejected_logp_P=policy_P2[:, 1],
        reference_chosen_logp_P=reference_P2[:, 0],
        reference_rejected_logp_P=reference_P2[:, 1],
        chosen_tokens_P=tokens_P2[:, 0],
        rejected_tokens_P=tokens_P2[:, 1],
    )


def language_codes(index: GradientIndex) -> tuple[list[str], torch.Tensor]:
    """The names of the languages, sorted, and the position of every input row's in them (N, int64)."""
    names, code_N = np.unique(index.pairs["language"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    return names.tolist(), torch.from_numpy(code_N)


def pair_inputs(index: GradientIndex, loss: Loss, group_N: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """What `score_pairs` takes of every sketched pair beside its sketch, by the names of its arguments.

    Args:
        group_N: a number for the prompt of every input row; None for the index's, which are of one language each.
    """
    if group_N is None:
        group_N = torch.from_numpy(index.pairs["group"].to_numpy().copy())
    return {
        "scale_P": index.scales_P,
        "weight_P": pair_factors(index, loss),
        "language_P": language_codes(index)[1][index.positions_P],
        "group_P": group_N[index.positions_P],
    }


def gradient_inputs(index: GradientIndex, loss: Loss, group_N: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the advice takes of every sketched pair beside its sketch, by the names of its arguments."""
    inputs = pair_inputs(index, loss, group_N)
    return {
        "factor_N": inputs["weight_P"].double() * inputs["scale_P"].double(),
        "language_N": inputs["language_P"].long(),
        "group_N": inputs["group_P"],
    }


def score(
    index: GradientIndex,
    loss: Loss | None = None,
    consensus: Consensus | None = None,
    *,
    group_N: torch.Tensor | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScoredRows:
    """Scores every row of an index: the cosine of its gradient with the direction that the languages agree on.

    Args:
        index: from `build_index` or `open_index`.
        loss: the preference loss; None for DPO with beta 0.1. Needs no new index, unless its normalisation differs.
        consensus: how the direction is found; None for PCGrad, cross-fitted in five folds.
        group_N: the same number for the rows of one prompt, in whatever language (int64), as `filtering.prompts` finds
            them; None: prompts of different languages are different ones.
        on_progress: called with how many pairs are done, and of how many.

    Raises:
        UserError: the loss does not fit the index, or the aggregator is not installed.
    """
    names, _ = language_codes(index)
    position_P = index.positions_P.numpy()
    inputs = pair_inputs(index, loss or Loss(), group_N)
    detail = score_pairs(index, **inputs, num_languages=len(names), consensus=consensus, on_progress=on_progress)

    def column(values_P: torch.Tensor) -> pa.Array:
        values_N = np.full(len(index.pairs), np.nan, dtype=np.float32)
        values_N[position_P] = values_P.numpy()
        return pa.array(values_N, from_pandas=True)  # NaN becomes null

    reason_N = np.array(index.pairs["reason"].to_pylist(), dtype=object)
    reason_N[position_P] = detail.reason_P
    rows = index.pairs.set_column(index.pairs.column_names.index("reason"), "reason", pa.array(reason_N, pa.string()))
    columns = {
        "score": detail.score_P,
        "chosen_logp": index.policy_logps_P2[:, 0],
        "rejected_logp": index.policy_logps_P2[:, 1],
    } | {f"cosine_{name}": detail.cosine_PL[:, number] for number, name in enumerate(names)}
    for name, values_P in columns.items():
        rows = rows.append_column(name, column(values_P))
    return ScoredRows(names, rows, detail, index.positions_P)
