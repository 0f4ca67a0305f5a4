"""How far the languages agree: cosines of language gradients, raw, with a bootstrap interval, and without the noise.

Everything follows from the Gramian of the bucket sums. The buckets of a language are independent samples of its
gradient, so products of two different buckets hold no noise on average, and products of a bucket with itself do.

Shapes: L languages, B buckets, R resamples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CLEAR_OF_NOISE = 2.0  # standard deviations of the estimate of a squared norm if there were no gradient at all


@dataclass(frozen=True)
class Agreement:
    """Cosines between language gradients (float64). NaN where there is nothing to say.

    Attributes:
        cosine_LL: as measured. Sampling noise pulls it towards 0: two languages of the same gradient, each seen through
            few noisy pairs, look unrelated.
        interval_LL2: the 95% bootstrap interval of `cosine_LL`. Where noise dominates it is too wide, not too narrow.
            NaN where a language has one bucket.
        corrected_LL: an estimate of the cosine that infinitely many pairs would give. Its errors average out, so it may
            lie outside [-1, 1]. NaN where a language's gradient is not clear of its noise.
    """

    cosine_LL: Tensor
    interval_LL2: Tensor
    corrected_LL: Tensor


def agreement(
    gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, *, num_languages: int, num_resamples: int, seed: int
) -> Agreement:
    """From the inner products of the bucket sums and every bucket's weight."""
    gram_BB, weight_B = gram_BB.double(), weight_B.double()
    member_LB = (torch.arange(num_languages)[:, None] == language_B).double()
    inner_LL = member_LB @ gram_BB @ member_LB.T
    cosine_LL = _cosines(inner_LL, inner_LL.diagonal().sqrt())
    interval_LL2 = _bootstrap(gram_BB, weight_B, language_B, member_LB, num_resamples, seed)
    interval_LL2[cosine_LL.isnan()] = torch.nan
    return Agreement(cosine_LL, interval_LL2, _corrected(inner_LL, gram_BB, weight_B, member_LB))


def _cosines(inner_LL: Tensor, norm_L: Tensor) -> Tensor:
    cosine_LL = inner_LL / (norm_L[..., :, None] * norm_L[..., None, :])
    cosine_LL.diagonal(dim1=-2, dim2=-1).copy_(torch.where(norm_L > 0, 1.0, torch.nan))
    return cosine_LL


def _corrected(inner_LL: Tensor, gram_BB: Tensor, weight_B: Tensor, member_LB: Tensor) -> Tensor:
    """Cosines with |mu_l|^2 estimated from products of different buckets only: the average over all split halves.

    With S_b the sum and W_b the weight of bucket b, E <S_b, S_c> = W_b W_c |mu|^2 for b != c, hence
    |mu|^2 ~ (|sum S_b|^2 - sum |S_b|^2) / ((sum W_b)^2 - sum W_b^2). If mu were 0, the numerator's variance would be
    2 sum_{b != c} E <S_b, S_c>^2; where the numerator is within `CLEAR_OF_NOISE` of its root, there is
    no clear gradient and no cosine.
    """
    weight_L = member_LB @ weight_B
    between_L = inner_LL.diagonal() - member_LB @ gram_BB.diagonal()
    squared_BB = (gram_BB**2).fill_diagonal_(0)
    noise_L = (2 * (member_LB @ squared_BB * member_LB).sum(1)).sqrt()
    squared_norm_L = between_L / (weight_L**2 - member_LB @ weight_B**2)
    norm_L = squared_norm_L.where(between_L > CLEAR_OF_NOISE * noise_L, torch.nan).sqrt()
    return _cosines(inner_LL / (weight_L[:, None] * weight_L), norm_L)


def _bootstrap(
    gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, member_LB: Tensor, num_resamples: int, seed: int
) -> Tensor:
    """Percentiles of the cosines when every language's buckets are drawn again with replacement.

    A bucket drawn twice stands for two fresh buckets, but the product of the two copies holds noise that fresh ones
    would not share: norms would come out too long and cosines too small. So the products of copies are replaced by the
    average product of different buckets.
    """
    generator = torch.Generator().manual_seed(seed)
    num_languages = len(member_LB)
    count_RB = torch.zeros(num_resamples, len(language_B), dtype=torch.float64)
    size_L = member_LB.sum(1).long()
    for language, size in enumerate(size_L.tolist()):
        if size:
            drawn = torch.randint(size, (num_resamples, size), generator=generator)
            count_RB[:, language_B == language] = torch.nn.functional.one_hot(drawn, size).sum(1).double()
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
    cosine_RLL = _cosines(inner_RLL, squared_norm_RL.clamp(min=1e-300).sqrt()).clamp_(-1, 1)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    interval_LL2 = torch.stack([torch.quantile(cosine_RLL[:, row], ends, dim=0).T for row in range(num_languages)])
    interval_LL2[size_L < 2] = torch.nan
    interval_LL2[:, size_L < 2] = torch.nan
    return interval_LL2
