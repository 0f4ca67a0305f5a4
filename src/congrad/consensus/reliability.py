"""How much of a language's mean gradient is gradient and not sampling noise: what its mean is to be shrunk by.

The buckets of a language are independent samples of its gradient, so products of two different buckets hold no noise
on average. With S_b the sum and W_b the weight of bucket b, |mu|^2 is about sum_{b != c} <S_b, S_c> over
sum_{b != c} W_b W_c; what the squared length of the mean has more than that is noise. Reliability is |mu|^2 over the
sum of the two.

The noise is known well, |mu|^2 from few buckets hardly. So each language borrows from all of them, as if it had `PRIOR`
buckets more of the average |mu|^2 (empirical Bayes: James and Stein 1961; Morris 1983); of one bucket alone, whatever
is above the average is noise.

Measured in simulations of 12 languages with 1 to 500 pairs: the mean of the languages' gradients, each times its
reliability, gains as much as with the true shares; with every language's own estimate alone up to 4% less, with no
shrinkage 1 to 42% less.

Shapes: L languages, B buckets.
"""

import torch
from torch import Tensor

PRIOR = 10.0  # buckets; 5 to 20 gave the same gain


def reliability(gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, *, num_languages: int) -> Tensor:
    """The share of every language's squared mean gradient that is not noise (L, float64, in [0, 1]).

    0 for a language without a gradient, and for all of them where no two buckets of a language agree on average: then
    nothing says which language is known better than another.

    Args:
        gram_BB: inner products of the bucket sums.
        weight_B: every bucket's weight.
        language_B: every bucket's language.
    """
    gram_BB, weight_B = gram_BB.double(), weight_B.double()
    member_LB = (torch.arange(num_languages)[:, None] == language_B).double()
    weight_L = member_LB @ weight_B
    total_L = (member_LB @ gram_BB * member_LB).sum(1)
    product_L = total_L - member_LB @ gram_BB.diagonal()
    different_L = weight_L**2 - member_LB @ weight_B**2
    spare_L = (member_LB.sum(1) - 1).clamp(min=0)
    plain_L = torch.where(weight_L > 0, total_L / weight_L**2, 0.0)
    own_L = torch.where(spare_L > 0, product_L / different_L, 0.0)
    average = ((spare_L @ own_L) / spare_L.sum().clamp(min=1)).clamp(min=0)
    noise_L = (plain_L - own_L.where(spare_L > 0, average)).clamp(min=0)
    signal_L = ((spare_L * own_L + PRIOR * average) / (spare_L + PRIOR)).clamp(min=0)
    return torch.where((plain_L > 0) & (signal_L > 0), signal_L / (signal_L + noise_L), 0.0)
