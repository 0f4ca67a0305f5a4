"""Packing: pairs become one row of tokens, [trunk | chosen | rejected] after [trunk | chosen | rejected], no padding.

The trunk is what both sides share: the prompt and the first response tokens while they agree. It is computed once.
Positions restart after the trunk, so that chosen and rejected each continue it, and attention never crosses a pair.
The last token of a side is only ever predicted, so it is not an input.

Shapes: T tokens in the pack, N predicted tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from congrad.settings.index import Normalise

IntArray = npt.NDArray[Any]
Triple = tuple[IntArray, IntArray, IntArray]
"""Token ids of a prompt and of two responses to it, none of them empty."""


@dataclass(frozen=True)
class Segment:
    """Where one pair is in the pack: trunk [start, fork), chosen [fork, turn), rejected [turn, end)."""

    start: int
    fork: int
    turn: int
    end: int


@dataclass(frozen=True)
class Pack:
    """Some pairs as one row of tokens, and what is to be predicted from it.

    `positions_N[n]` is the token whose hidden state predicts `targets_N[n]`. The log-probability counts in pair
    `pairs_N[n]`, on its chosen side, its rejected side or (in the shared trunk) both: `sides_N2[n]` is 0 or 1 for each.
    In the pair's difference it has weight `coefficients_N[n]`.
    """

    segments: tuple[Segment, ...]
    tokens_T: torch.Tensor
    position_ids_T: torch.Tensor
    positions_N: torch.Tensor
    targets_N: torch.Tensor
    pairs_N: torch.Tensor
    sides_N2: torch.Tensor
    coefficients_N: torch.Tensor

    @property
    def num_pairs(self) -> int:
        return len(self.segments)

    def to(self, device: torch.device) -> "Pack":
        if device.type == "cpu":
            return self
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return Pack(segments=self.segments, **moved)


def trunk_length(prompt: IntArray, chosen: IntArray, rejected: IntArray) -> int:
    """Number of leading input tokens that both sides share: the prompt and the agreeing start of the responses."""
    assert min(len(prompt), len(chosen), len(rejected)) > 0, "without a prompt, nothing predicts the first token"
    shortest = min(len(chosen), len(rejected)) - 1  # the last token of a side is not an input
    differ = np.nonzero(chosen[:shortest] != rejected[:shortest])[0]
    return len(prompt) + (int(differ[0]) if len(differ) else shortest)


def num_packed_tokens(prompt: IntArray, chosen: IntArray, rejected: IntArray) -> int:
    """Number of tokens that a pair takes in a pack."""
    return 2 * len(prompt) + len(chosen) + len(rejected) - 2 - trunk_length(prompt, chosen, rejected)


def side_weights(chosen: IntArray, rejected: IntArray, normalise: Normalise) -> tuple[float, float]:
    """The weights of the two sides' summed log-probabilities in the difference that is differentiated."""
    return (1.0, -1.0) if normalise == "sum" else (1.0 / len(chosen), -1.0 / len(rejected))


def pack(pairs: Sequence[Triple], normalise: Normalise) -> Pack:
    """Packs pairs of (prompt, chosen, rejected) token ids; every array holds at least one token.

    `normalise` is `sum` (the difference of summed log-probabilities) or `mean` (of per-token means).
    """
    segments: list[Segment] = []
    tokens: list[IntArray] = []
    position_ids: list[IntArray] = []
    predictions: list[tuple[IntArray, ...]] = []
    start = 0
    for index, (prompt, chosen, rejected) in enumerate(pairs):
        trunk = trunk_length(prompt, chosen, rejected)
        shared = trunk - len(prompt)  # response tokens in the trunk: predicted once, for both sides
        fork = start + trunk
        turn = fork + len(chosen) - 1 - shared
        end = turn + len(rejected) - 1 - shared
        segments.append(Segment(start, fork, turn, end))
        tokens += [prompt, chosen[:-1], rejected[shared:-1]]
        position_ids += [np.arange(turn - start), np.arange(trunk, trunk + end - turn)]
        weights = side_weights(chosen, rejected, normalise)
        for first, targets, sides in (
            (start + len(prompt) - 1, chosen[:shared], (1, 1)),
            (fork, chosen[shared:], (1, 0)),
            (turn, rejected[shared:], (0, 1)),
        ):
            positions = first + np.arange(len(targets))
            if sides != (
                1,
                1,
            ):  # a branch's first token is predicted by the trunk's last, the next by the branch's first
                positions = np.concatenate([[fork - 1], positions[:-1]])
            coefficient = weights[0] * sides[0] + weights[1] * sides[1]
            coefficients = np.full(len(targets), coefficient, dtype=np.float32)
            sides_2 = np.tile(np.array(sides, dtype=np.float32), (len(targets), 1))
            predictions.append((positions, targets, np.full(len(targets), index), sides_2, coefficients))
        start = end
    positions_N, targets_N, pairs_N, sides_N2, coefficients_N = (
        torch.from_numpy(np.concatenate(parts)) for parts in zip(*predictions, strict=True)
    )
    return Pack(
        segments=tuple(segments),
        tokens_T=torch.from_numpy(np.concatenate(tokens)).long(),
        position_ids_T=torch.from_numpy(np.concatenate(position_ids)),
        positions_N=positions_N,
        targets_N=targets_N.long(),
        pairs_N=pairs_N,
        sides_N2=sides_N2,
        coefficients_N=coefficients_N,
    )
