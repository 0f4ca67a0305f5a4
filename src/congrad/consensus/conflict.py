"""Which languages conflict, which agree, and where there are too few pairs to tell.

The gradients of languages a and b conflict where the mean of their cross products <x_b, y_c> is below zero: x and y are
mean gradients of units, which are buckets of prompts, so the cost is the square of the units and not of the pairs. The
products of a table share rows and columns, so its mean has the variance of an analysis of rows and columns,

    var = var_rows / n_a + var_columns / n_b - var_rest / (n_a n_b),

and never less than what the rest alone gives. Rows and columns are those of the cosine: a unit that makes the product
larger only because its language's gradient becomes longer says nothing of the angle, so its part in the squared length,
times mean product / squared length, is taken from its row (the delta method).

Where prompts are in several languages, a product of two translations is left out: they share what is special to their
prompt. A row and a column of one unit then vary together, and so do the products <x_b, y_c> and <x_c, y_b>, which the
variance counts. The test is Student's t with the smaller number of units less one, two-sided, at a false discovery rate
of 5% over all pairs of languages (Benjamini and Hochberg 1995).

Shapes: L languages, B buckets, J units of a language.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import pi

import torch
from torch import Tensor

from congrad.consensus.findings import AGREE, CANNOT_TELL, CONFLICT

FALSE_DISCOVERIES = 0.05
VERDICTS = {1: AGREE, 0: CANNOT_TELL, -1: CONFLICT}

CLEAR_OF_NOISE = 2.0  # standard deviations of the estimate of a squared norm if there were no gradient at all
SWEEPS = 6  # a whole table needs one; without its diagonal, each leaves 1 / (J - 1)^2 of the error


@dataclass(frozen=True)
class Compared:
    """What the test says of each pair of languages (L x L). NaN where there is nothing to say.

    Attributes:
        effect_LL: the cosine that infinitely many pairs would give, inside [-1, 1] (float64). NaN where a language's
            gradient is not clear of its noise.
        interval_LL2: its 95% interval, inside [-1, 1]; of this pair of languages alone.
        smallest_LL: the size of effect from which on these pairs could show it, were it the only one. NaN where not
            even the largest could be shown.
        t_LL: the mean product over its standard error (float64).
        verdict_LL: 1 agree, -1 conflict, 0 cannot tell (int64): see `VERDICTS`. 0 on the diagonal.
    """

    effect_LL: Tensor
    interval_LL2: Tensor
    smallest_LL: Tensor
    t_LL: Tensor
    verdict_LL: Tensor


def compare_languages(
    gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, unit_B: Tensor, num_languages: int
) -> Compared:
    """From the inner products of the bucket sums and every bucket's weight.

    Args:
        unit_B: buckets of one number hold the same prompts in their languages; all different where no prompt is in
            several.
    """
    table_LJLJ, cell_LJLJ, shared = _tables(gram_BB, weight_B, language_B, unit_B, num_languages)
    num_LL = cell_LJLJ.sum((1, 3))
    mean_LL = table_LJLJ.sum((1, 3)) / num_LL
    # with no gradient at all, the variance of a sum of products of different units is the sum of its squares, twice
    noise_L = (2 * (table_LJLJ**2).sum((1, 3)).diagonal()).sqrt() / num_LL.diagonal()
    squared_norm_L = mean_LL.diagonal()
    length_L = squared_norm_L.where(squared_norm_L > CLEAR_OF_NOISE * noise_L, torch.nan).sqrt()
    variance_LL, df_LL = _variance(
        table_LJLJ, cell_LJLJ, mean_LL, num_LL, shared, _squared_lengths(gram_BB, weight_B, language_B, num_languages)
    )
    upper_LL = torch.ones_like(mean_LL, dtype=torch.bool).triu(1)
    variance_LL = (upper_LL * variance_LL) + (upper_LL * variance_LL).T  # rows come before columns: not quite the same
    error_LL = variance_LL.where(df_LL > 0, torch.nan).sqrt()
    t_LL = mean_LL / error_LL
    p_LL = _by_df(two_sided, t_LL, df_LL)
    tested_LL = upper_LL & p_LL.isfinite()
    num_tests = max(1, int(tested_LL.sum()))
    found_LL = torch.zeros_like(upper_LL)
    found_LL[tested_LL] = discoveries(p_LL[tested_LL])
    scale_LL = length_L[:, None] * length_L
    effect_LL = (mean_LL / scale_LL).clamp(-1, 1)
    reach_LL = _by_df(lambda _, df: critical(0.05, df), t_LL, df_LL) * error_LL
    ends_LL2 = torch.stack([mean_LL - reach_LL, mean_LL + reach_LL], dim=-1) / scale_LL[..., None]
    alone_LL = _by_df(lambda _, df: critical(FALSE_DISCOVERIES / num_tests, df), t_LL, df_LL)
    smallest_LL = alone_LL * error_LL / scale_LL
    return Compared(
        effect_LL=effect_LL,
        interval_LL2=ends_LL2.clamp(-1, 1),
        smallest_LL=smallest_LL.where(smallest_LL <= 1, torch.nan),
        t_LL=t_LL,
        verdict_LL=(found_LL | found_LL.T) * mean_LL.nan_to_num().sign().long(),
    )


def in_words(verdict_LL: Tensor) -> list[list[str | None]]:
    """The verdicts as languages.json has them: None on the diagonal."""
    rows = enumerate(verdict_LL.tolist())
    return [[None if i == j else VERDICTS[code] for j, code in enumerate(row)] for i, row in rows]


def _tables(
    gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, unit_B: Tensor, num_languages: int
) -> tuple[Tensor, Tensor, bool]:
    """The inner products of the units' mean gradients by language and unit, 0 where there is none; where there is one
    that counts (L x J x L x J), not of a bucket with itself or with the same prompts; and whether languages share any.
    """
    used_B = torch.nonzero(weight_B > 0).flatten()
    language_B, weight_B = language_B[used_B], weight_B[used_B].double()
    units, unit_B = torch.unique(unit_B[used_B], return_inverse=True)
    shared = len(units) < len(unit_B)
    if not shared:  # a unit's place is then its rank in its language
        order_B = torch.argsort(language_B, stable=True)
        first_L = torch.searchsorted(language_B[order_B], torch.arange(num_languages))
        unit_B[order_B] = torch.arange(len(order_B)) - first_L[language_B[order_B]]
    size = int(unit_B.max()) + 1 if len(unit_B) else 1
    at_B, total = language_B * size + unit_B, num_languages * size
    table_TT = torch.zeros(total, total, dtype=torch.float64)
    table_TT[at_B[:, None], at_B] = gram_BB[used_B[:, None], used_B].double() / (weight_B[:, None] * weight_B)
    there_T = torch.zeros(total, dtype=torch.bool).index_fill_(0, at_B, True)
    language_T, unit_T = torch.arange(total) // size, torch.arange(total) % size
    left_out_TT = unit_T[:, None] == unit_T
    if not shared:
        left_out_TT &= language_T[:, None] == language_T
    cell_TT = there_T[:, None] & there_T & ~left_out_TT
    shape = (num_languages, size, num_languages, size)
    return (table_TT * cell_TT).reshape(shape), cell_TT.reshape(shape), shared


def _squared_lengths(gram_BB: Tensor, weight_B: Tensor, language_B: Tensor, num_languages: int) -> Tensor:
    """|mean of a language's units|^2 with its noise (L, float64)."""
    member_LB = ((torch.arange(num_languages)[:, None] == language_B) & (weight_B > 0)).double()
    mean_LB = member_LB / member_LB.sum(1, keepdim=True).clamp(min=1) / weight_B.double().where(weight_B > 0, 1.0)
    return (mean_LB @ gram_BB.double() * mean_LB).sum(1)


def _variance(
    table_LJLJ: Tensor, cell_LJLJ: Tensor, mean_LL: Tensor, num_LL: Tensor, shared: bool, squared_length_L: Tensor
) -> tuple[Tensor, Tensor]:
    """The variance of every table's mean, and its degrees of freedom (L x L); 0 of these where it is not known."""
    rest_LJLJ = (table_LJLJ - mean_LL[:, None, :, None]) * cell_LJLJ
    in_row_LJL, in_column_LLJ = cell_LJLJ.sum(3), cell_LJLJ.sum(1)
    row_LJL, column_LLJ = torch.zeros_like(rest_LJLJ[..., 0]), torch.zeros_like(rest_LJLJ[:, 0])
    for _ in range(SWEEPS):
        step_LJL = rest_LJLJ.sum(3) / in_row_LJL.clamp(min=1)
        rest_LJLJ -= step_LJL[..., None] * cell_LJLJ
        step_LLJ = rest_LJLJ.sum(1) / in_column_LLJ.clamp(min=1)
        rest_LJLJ -= step_LLJ[:, None] * cell_LJLJ
        row_LJL += step_LJL
        column_LLJ += step_LLJ
    all_L = torch.arange(len(mean_LL))
    own_LJ = (row_LJL[all_L, :, all_L] + column_LLJ[all_L, all_L]) / 2
    share_LL = torch.where(squared_length_L > 0, mean_LL.T / squared_length_L, 0.0).T
    row_LJL -= own_LJ[:, :, None] * share_LL[:, None]
    column_LLJ -= own_LJ * share_LL.T[..., None]
    rows_LL, columns_LL = (in_row_LJL > 0).sum(1), (in_column_LLJ > 0).sum(2)
    rest_df_LL = num_LL - rows_LL - columns_LL + 1
    rest_LL = (rest_LJLJ**2).sum((1, 3))
    variance_LL = (row_LJL**2).sum(1) / ((rows_LL - 1) * rows_LL)
    variance_LL += (column_LLJ**2).sum(2) / ((columns_LL - 1) * columns_LL)
    if shared:
        both_LJL = (in_row_LJL > 0) & (in_column_LLJ > 0).transpose(1, 2)
        together_LL = (row_LJL * column_LLJ.transpose(1, 2) * both_LJL).sum(1)
        num_both_LL = both_LJL.sum(1)
        variance_LL += 2 * together_LL * num_both_LL / ((num_both_LL - 1).clamp(min=1) * rows_LL * columns_LL)
        rest_LL += (rest_LJLJ * rest_LJLJ.transpose(1, 3)).sum((1, 3))
    rest_LL /= rest_df_LL * num_LL
    df_LL = (torch.minimum(rows_LL, columns_LL) - 1).where(rest_df_LL > 0, 0).clamp(min=0)
    return torch.maximum(variance_LL - rest_LL, rest_LL), df_LL


def discoveries(p_T: Tensor, rate: float = FALSE_DISCOVERIES) -> Tensor:
    """Which of T tests are found at a false discovery rate (Benjamini and Hochberg 1995): those up to the last p, in
    order, that is no larger than its rank times rate / T."""
    order_T = torch.argsort(p_T)
    fits_T = p_T[order_T] <= rate * torch.arange(1, len(p_T) + 1) / len(p_T)
    last = int(torch.nonzero(fits_T).max()) + 1 if fits_T.any() else 0
    found_T = torch.zeros_like(p_T, dtype=torch.bool)
    found_T[order_T[:last]] = True
    return found_T


def two_sided(t: Tensor, df: int) -> Tensor:
    """P(|T| > |t|) of Student's t with 1 or more degrees of freedom, elementwise in float64.

    The finite series of Abramowitz and Stegun 26.7.3 and 26.7.4 in the angle atan(t / sqrt(df)).
    """
    angle = torch.atan(t.double().abs() / df**0.5)
    squared_cosine = torch.cos(angle) ** 2
    term = torch.cos(angle) if df % 2 else torch.ones_like(angle)
    total = torch.zeros_like(angle) if df == 1 else term.clone()
    for k in range(2 if df % 2 else 1, df - 2, 2):
        term = term * squared_cosine * (k / (k + 1))
        total += term
    inside = 2 / pi * (angle + torch.sin(angle) * total) if df % 2 else torch.sin(angle) * total
    return (1 - inside).clamp(min=0)


@cache
def critical(p: float, df: int) -> float:
    """The t that `two_sided` gives p, in nine digits."""
    low, high = 0.0, 2 / p
    for _ in range(8):
        ends = torch.linspace(low, high, 65, dtype=torch.float64)
        above = int((two_sided(ends, df) > p).sum())
        low, high = float(ends[above - 1]), float(ends[above])
    return high


def _by_df(function: Callable[[Tensor, int], Tensor | float], t_LL: Tensor, df_LL: Tensor) -> Tensor:
    """A function of t and its degrees of freedom, NaN where these are 0."""
    found_LL = torch.full_like(t_LL, torch.nan)
    for df in torch.unique(df_LL[df_LL > 0]).tolist():
        found_LL[df_LL == df] = function(t_LL[df_LL == df], df)
    return found_LL
