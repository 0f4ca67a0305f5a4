"""Draw the next token of each row: temperature, then the nucleus (top-p, Holtzman et al. 2020, arXiv 1904.09751).

A draw inverts the cumulative distribution at one uniform number, so a row's text follows from its own numbers and
logits alone. Tokens of equal probability, of which bfloat16 logits have many, are ranked by their ids.

Suffixes of tensors: B rows, V vocabulary, K candidates, T steps.
"""

from collections.abc import Sequence

import torch

CANDIDATES = 1024  # nearly every nucleus is within them, and a vocabulary of 262144 takes long to sort


def uniforms(seeds: Sequence[int], steps: int) -> torch.Tensor:
    """The numbers in [0, 1), float64 of shape (B, T), that row b draws its tokens with: a function of its seed."""
    rows = [torch.rand(steps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


def draw(logits_BV: torch.Tensor, uniform_B: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """The token of each row, int64 of shape (B,).

    Args:
        logits_BV: any float dtype; probabilities are float32, their sums float64.
        uniform_B: in [0, 1), float64.
        temperature: more than 0.
        top_p: in (0, 1]; the nucleus is the fewest most probable tokens whose probabilities reach it.
    """
    p_BV = (logits_BV.float() / temperature).softmax(dim=-1)
    if top_p == 1:
        return _invert(p_BV.double().cumsum(dim=-1), uniform_B)
    size = min(CANDIDATES, p_BV.shape[1])
    p_BK, id_BK = p_BV.topk(size)
    token_B = _from_nucleus(p_BK, id_BK, uniform_B, top_p)
    # Of equally probable tokens topk takes any, so the nucleus must end above the last one's probability.
    short_B = p_BK.double().where(p_BK > p_BK[:, -1:], 0).sum(dim=-1) < top_p
    if size < p_BV.shape[1] and bool(short_B.any()):
        everything = torch.arange(p_BV.shape[1], device=p_BV.device).expand(int(short_B.sum()), -1)
        token_B[short_B] = _from_nucleus(p_BV[short_B], everything, uniform_B[short_B], top_p)
    return token_B


def _from_nucleus(p_BK: torch.Tensor, id_BK: torch.Tensor, uniform_B: torch.Tensor, top_p: float) -> torch.Tensor:
    id_BK, order_BK = id_BK.sort(dim=-1)
    p_BK, rank_BK = p_BK.gather(-1, order_BK).sort(dim=-1, descending=True, stable=True)
    cumulative_BK = p_BK.double().cumsum(dim=-1)
    size_B = 1 + (cumulative_BK[:, :-1] < top_p).sum(dim=-1)  # the first token always, and each that starts below
    inside_BK = torch.arange(p_BK.shape[1], device=p_BK.device) < size_B[:, None]
    chosen_B = _invert(cumulative_BK.where(inside_BK, cumulative_BK.gather(-1, size_B[:, None] - 1)), uniform_B)
    return id_BK.gather(-1, rank_BK).gather(-1, chosen_B[:, None])[:, 0]


def _invert(cumulative_BK: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """The first place whose cumulative probability exceeds the row's share of the whole."""
    cumulative_BK = cumulative_BK.contiguous()
    whole_B1 = cumulative_BK[:, -1:].contiguous()
    share_B1 = uniform_B[:, None] * whole_B1
    last_B1 = torch.searchsorted(cumulative_BK, whole_B1)  # where rounding makes the share the whole
    return torch.searchsorted(cumulative_BK, share_B1, right=True).minimum(last_B1)[:, 0]
