"""Gradient surgery: from the Gramian of the language gradients to the weights of the consensus, sum_l w_l G_l.

PCGrad (Yu et al. 2020, arXiv 2001.06782, Algorithm 1): each gradient meets the others in random order, and where its
inner product with one is negative, its projection on that one is subtracted; the results are averaged. It needs inner
products only. This differs from the algorithm in that the consensus is averaged over many seeded orders, which leaves
little of the draw in it.

The others come from TorchJD: UPGrad (arXiv 2406.16232), MGDA (Désidéri 2012), CAGrad (arXiv 2110.14048, c = 0.5),
GradVac (arXiv 2010.05874), Aligned-MTL (CVPR 2023). GradVac's targets move with the training steps and start at zero;
at frozen weights there is one step, at which GradVac is PCGrad.

Shapes: L languages, A of them with a gradient, R random orders.
"""

import torch
from torch import Tensor

from congrad.errors import UserError
from congrad.settings.consensus import Consensus, needs_torchjd

WEIGHTINGS = {
    "upgrad": "UPGradWeighting",
    "mgda": "MGDAWeighting",
    "cagrad": "CAGradWeighting",
    "gradvac": "GradVacWeighting",
    "aligned-mtl": "AlignedMTLWeighting",
}  # of TorchJD
ROUNDING = 1e-6  # a sum shorter than this share of its parts' lengths is nothing but float32 rounding


def consensus_weights(gram_LL: Tensor, aggregator: str = "pcgrad", *, num_orders: int = 64, seed: int = 0) -> Tensor:
    """The weight of every language gradient in the consensus (L, float64).

    A language whose gradient is zero takes no part: its weight is 0, and the others' are as if it were not there.

    Args:
        gram_LL: inner products of the language gradients.
        aggregator: one of `AGGREGATORS`.
        num_orders: random orders to average over, where the aggregator draws one.
        seed: of the orders. The global generator is left as it is.

    Raises:
        UserError: unknown aggregator, or what it needs is not installed.
    """
    Consensus(aggregator=aggregator)  # type: ignore[arg-type]
    gram_LL = gram_LL.double()
    active_A = torch.nonzero(gram_LL.diagonal() > 0).flatten()
    weight_L = torch.zeros(len(gram_LL), dtype=torch.float64)
    if len(active_A) == 0:
        return weight_L
    gram_AA = _scaled(gram_LL[active_A][:, active_A])
    if aggregator == "mean":
        weight_L[active_A] = 1 / len(active_A)
    elif aggregator == "pcgrad":
        weight_L[active_A] = pcgrad_weights(gram_AA, random_orders(len(active_A), num_orders, seed))
    else:
        weight_L[active_A] = _torchjd_weights(gram_AA, aggregator, num_orders, seed)
    return weight_L


def check_aggregator(aggregator: str) -> None:
    """Raises the `UserError` of an aggregator that is unknown or lacks a package, before there is anything to lose."""
    consensus_weights(torch.eye(2), aggregator, num_orders=1)


def random_orders(num_languages: int, num_orders: int, seed: int) -> Tensor:
    """For every draw and language, a random order of all languages (R x L x L, int64)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_orders, num_languages, num_languages, generator=generator, dtype=torch.float64).argsort(-1)


def pcgrad_weights(gram_LL: Tensor, order_RLL: Tensor) -> Tensor:
    """PCGrad's weights (L), averaged over languages and orders."""
    return _deconflict(gram_LL, order_RLL).mean((0, 1))


def _deconflict(gram_LL: Tensor, order_RLL: Tensor) -> Tensor:
    """After surgery, language i's gradient is the sum over k of weight_RLL[r, i, k] G_k. It meets the languages in the
    order order_RLL[r, i] (itself is passed over); all languages and orders take their steps at once.
    """
    num_orders, num_languages, _ = order_RLL.shape
    own_L = torch.arange(num_languages)
    squared_norm_L = gram_LL.diagonal()
    weight_RLL = torch.eye(num_languages, dtype=gram_LL.dtype).repeat(num_orders, 1, 1)
    for met_RL in order_RLL.unbind(-1):
        inner_RL = (gram_LL[met_RL] * weight_RLL).sum(-1)
        conflict_RL = (inner_RL < 0) & (met_RL != own_L)
        step_RL = torch.where(conflict_RL, -inner_RL / squared_norm_L[met_RL], 0.0)
        weight_RLL.scatter_add_(-1, met_RL[..., None], step_RL[..., None])
    return weight_RLL


def cosines_after_surgery(
    gram_LL: Tensor, aggregator: str = "pcgrad", *, num_orders: int = 64, seed: int = 0
) -> Tensor:
    """Cosines between the language gradients after PCGrad, each averaged over the orders (L x L, float64).

    These averages are what PCGrad's consensus is the mean of. NaN where a gradient is zero, or nothing is left of it,
    and everywhere for the aggregators that leave no gradient of a language's own behind (GradVac is PCGrad here).
    """
    cosine_LL = torch.full_like(gram_LL, torch.nan, dtype=torch.float64)
    active_A = torch.nonzero(gram_LL.diagonal() > 0).flatten()
    if aggregator not in ("pcgrad", "gradvac") or len(active_A) == 0:
        return cosine_LL
    gram_AA = _scaled(gram_LL.double()[active_A][:, active_A])
    weight_AA = _deconflict(gram_AA, random_orders(len(active_A), num_orders, seed)).mean(0)
    inner_AA = weight_AA @ gram_AA @ weight_AA.T
    norm_A = inner_AA.diagonal().clamp(min=0).sqrt()
    longest_A = weight_AA.abs() @ gram_AA.diagonal().sqrt()
    norm_A = norm_A.where(norm_A > ROUNDING * longest_A, torch.nan)
    cosine_LL[active_A[:, None], active_A] = inner_AA / (norm_A[:, None] * norm_A)
    return cosine_LL.clamp_(-1, 1)


def _scaled(gram_AA: Tensor) -> Tensor:
    """Symmetric, and of a scale solvers are made for."""
    return (gram_AA + gram_AA.T) / (2 * gram_AA.diagonal().mean())


def _torchjd_weights(gram_AA: Tensor, aggregator: str, num_orders: int, seed: int) -> Tensor:
    try:
        from torchjd import aggregation

        weighting = getattr(aggregation, WEIGHTINGS[aggregator])(**({"c": 0.5} if aggregator == "cagrad" else {}))
    except ImportError as error:
        raise UserError(*needs_torchjd(), key="consensus.aggregator", value=aggregator) from error
    if aggregator != "gradvac":
        weight_A: Tensor = weighting(gram_AA)
        return weight_A
    with torch.random.fork_rng(devices=[]):  # GradVac draws its orders from the global generator
        torch.manual_seed(seed)
        weight_RA = []
        for _ in range(num_orders):
            weighting.reset()
            weight_RA.append(weighting(gram_AA))
    return torch.stack(weight_RA).mean((0,)) / len(gram_AA)
