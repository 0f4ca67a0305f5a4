"""How far the languages agree: cosines of language gradients, raw, with a bootstrap interval, and without the noise.

Everything follows from the Gramian of the bucket sums. The buckets of a language are independent samples of its
gradient, so products of two different buckets hold no noise on average, and products of a bucket with itself do. So do
products of one prompt's buckets in two languages: they are left out, and all languages are resampled alike.

Shapes: L languages, B buckets, J units (of buckets), R resamples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from congrad.consensus.conflict import compare_languages


@dataclass(frozen=True)
class Agreement:
    """Cosines between language gradients (float64). NaN where there is nothing to say.

    Attributes:
        cosine_LL: as measured. Sampling noise pulls it towards 0: two languages of the same gradient, each seen through
            few noisy pairs, look unrelated.
        interval_LL2: the 95% bootstrap interval of `cosine_LL`. Where noise dominates it is too wide, not too narrow.
            NaN where a language has one bucket.
        corrected_LL, corrected_interval_LL2, smallest_LL, verdict_LL: without the noise; the test of conflict: see
            `conflict.Compared`.
    """

    cosine_LL: Tensor
    interval_LL2: Tensor
    corrected_LL: Tensor
    corrected_interval_LL2: Tensor
    smallest_LL: Tensor
    verdict_LL: Tensor


def agreement(
    gram_BB: Tensor,
    weight_B: Tensor,
    language_B: Tensor,
    unit_B: Tensor | None = None,
    *,
    num_languages: int,
    num_resamples: int,
    seed: int,
) -> Agreement:
    """From the inner products of the bucket sums and every bucket's weight.

    Args:
        unit_B: as of `buckets.Buckets`; None where no prompt is in several languages.
    """
    gram_BB, weight_B = gram_BB.double(), weight_B.double()
    units, unit_B = torch.unique(torch.arange(len(language_B)) if unit_B is None else unit_B, return_inverse=True)
    member_LB = (torch.arange(num_languages)[:, None] == language_B).double()
    inner_LL = member_LB @ gram_BB @ member_LB.T
    norm_L = inner_LL.diagonal().sqrt()
    shared = _Shared.of(gram_BB, weight_B, language_B, unit_B, num_languages) if len(units) < len(unit_B) else None
    if shared is not None:
        once_J = torch.ones(1, len(units), dtype=torch.float64)
        inner_LL = shared.left_out(inner_LL[None], (member_LB @ weight_B)[None], once_J)[0]
    cosine_LL = _cosines(inner_LL, norm_L).clamp_(-1, 1) if shared else _cosines(inner_LL, norm_L)
    interval_LL2 = _bootstrap(gram_BB, weight_B, language_B, member_LB, num_resamples, seed, shared)
    interval_LL2[cosine_LL.isnan()] = torch.nan
    compared = compare_languages(gram_BB, weight_B, language_B, unit_B, num_languages)
    return Agreement(
        cosine_LL,
        interval_LL2,
        compared.effect_LL,
        compared.interval_LL2,
        compared.smallest_LL,
        compared.verdict_LL,
    )


def _cosines(inner_LL: Tensor, norm_L: Tensor) -> Tensor:
    cosine_LL = inner_LL / (norm_L[..., :, None] * norm_L[..., None, :])
    cosine_LL.diagonal(dim1=-2, dim2=-1).copy_(torch.where(norm_L > 0, 1.0, torch.nan))
    return cosine_LL


@dataclass(frozen=True)
class _Shared:
    """Products of the buckets of one unit in two languages, and of their weights (J x L x L, float64)."""

    unit_B: Tensor
    inner_JLL: Tensor
    weight_JLL: Tensor

    @classmethod
    def of(cls, gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, unit_B: Tensor, num_languages: int) -> "_Shared":
        one, other = torch.nonzero(unit_B[:, None] == unit_B, as_tuple=True)
        at = unit_B[one], language_B[one], language_B[other]
        empty_JLL = torch.zeros(int(unit_B.max()) + 1, num_languages, num_languages, dtype=torch.float64)
        weight_JLL = empty_JLL.index_put(at, weight_B[one] * weight_B[other])
        return cls(unit_B, empty_JLL.index_put(at, gram_BB[one, other]), weight_JLL)

    def left_out(self, inner_RLL: Tensor, weight_RL: Tensor, count_RJ: Tensor) -> Tensor:
        """Inner products of the languages' gradients without those of one unit, made as large as all would be."""
        squared_RJ = count_RJ**2
        whole_RLL = weight_RL[:, :, None] * weight_RL[:, None]
        rest_RLL = whole_RLL - torch.tensordot(squared_RJ, self.weight_JLL, 1)
        scale_RLL = torch.where(rest_RLL > 1e-9 * whole_RLL, whole_RLL / rest_RLL, 0.0)
        left_RLL: Tensor = inner_RLL - torch.tensordot(squared_RJ, self.inner_JLL, 1)
        return left_RLL * scale_RLL


def _bootstrap(
    gram_BB: Tensor,
    weight_B: Tensor,
    language_B: Tensor,
    member_LB: Tensor,
    num_resamples: int,
    seed: int,
    shared: _Shared | None,
) -> Tensor:
    """Percentiles of the cosines when every language's buckets are drawn again with replacement, or all languages'
    units together where they share prompts.

    A bucket drawn twice stands for two fresh buckets, but the product of the two copies holds noise that fresh ones
    would not share: norms would come out too long and cosines too small. So the products of copies are replaced by the
    average product of different buckets.
    """
    generator = torch.Generator().manual_seed(seed)
    num_languages = len(member_LB)
    count_RB = torch.zeros(num_resamples, len(language_B), dtype=torch.float64)
    size_L = member_LB.sum(1).long()
    if shared is not None:
        count_RJ = _drawn(len(shared.inner_JLL), num_resamples, generator)
        count_RB = count_RJ[:, shared.unit_B]
    else:
        for language, size in enumerate(size_L.tolist()):
            if size:
                count_RB[:, language_B == language] = _drawn(size, num_resamples, generator)
    inner_RLL = torch.zeros(num_resamples, num_languages, num_languages, dtype=torch.float64)
    for language in range(num_languages):
        own_B = language_B == language
        inner_RLL[:, language] = (count_RB[:, own_B] @ gram_BB[own_B] * count_RB) @ member_LB.T

    def by_language(value_B: Tensor, times_RB: Tensor) -> Tensor:
        return (times_RB * value_B) @ member_LB.T

    self_B = gram_BB.diagonal()
    between_RL = inner_RLL.diagonal(dim1=1, dim2=2) - by_language(self_B, count_RB**2)
    weight_RL = by_language(weight_B, count_RB) ** 2
    different_RL = weight_RL - by_language(weight_B**2, count_RB**2)
    average_RL = torch.where(different_RL > 0, between_RL / different_RL, 0.0)
    fresh_RL = weight_RL - by_language(weight_B**2, count_RB)
    squared_norm_RL = average_RL * fresh_RL + by_language(self_B, count_RB)
    if shared is not None:
        inner_RLL = shared.left_out(inner_RLL, by_language(weight_B, count_RB), count_RJ)
    cosine_RLL = _cosines(inner_RLL, squared_norm_RL.clamp(min=1e-300).sqrt()).clamp_(-1, 1)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    interval_LL2 = torch.stack([torch.quantile(cosine_RLL[:, row], ends, dim=0).T for row in range(num_languages)])
    interval_LL2[size_L < 2] = torch.nan
    interval_LL2[:, size_L < 2] = torch.nan
    return interval_LL2


def _drawn(size: int, num_resamples: int, generator: torch.Generator) -> Tensor:
    """How often each of `size` things is drawn in that many draws with replacement (R x size, float64)."""
    drawn = torch.randint(size, (num_resamples, size), generator=generator)
    return torch.nn.functional.one_hot(drawn, size).sum(1).double()
