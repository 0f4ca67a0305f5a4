"""What the pairs of one language do for another: gains of training on each language alone, on all, and on the others.

A prompt is held out in all languages at once, so that a language does not gain from translations of what it is read on.
The errors are those of leaving out prompts (`congrad.advice.language_sums`), each figure for itself: of many languages,
some pair's interval lies off 0 by chance. Which languages conflict is the conflict test's to say.

Shapes: L languages, E the measures, R the whole and without one bucket each, F folds, O sets of pairs to train on.
"""

from dataclasses import dataclass

import numpy as np

from congrad.advice.budget import Budget
from congrad.advice.language_sums import Estimate, LanguageSums, fold_up, gains, jackknife


@dataclass(frozen=True)
class Transfer:
    """Predicted gains by both measures (E); NaN where a language has no held-out pair.

    Attributes:
        gain_ELL: of the first language from training on the second alone.
        alone_EL: of every language from its own pairs alone, the diagonal of `gain_ELL`.
        others_EL: from the pairs of all others.
        together_EL: from all pairs.
    """

    gain_ELL: Estimate
    alone_EL: Estimate
    others_EL: Estimate
    together_EL: Estimate


def transfer(sums: LanguageSums, budget: Budget) -> Transfer:
    """What every language gains from every other one, from all others, alone and together."""
    num_languages, budget = sums.num_languages, budget.in_epochs(int(sums.count_LC.sum()))
    own_LL = np.eye(num_languages)
    set_OL = np.concatenate([own_LL, 1 - own_LL, np.ones((1, num_languages))])
    folded = fold_up(sums)
    gain_EROL = gains(folded, np.repeat(set_OL[None], len(sums.folds), axis=0), budget).sum(2)
    held_RL = folded.held_RFL.sum(1)
    gain_REOL = (gain_EROL / np.where(held_RL > 0, held_RL, np.nan)[:, None]).swapaxes(0, 1)
    alone_RELL = gain_REOL[:, :, :num_languages].swapaxes(2, 3)
    others_RELL = gain_REOL[:, :, num_languages:-1]
    return Transfer(
        jackknife(alone_RELL),
        jackknife(alone_RELL.diagonal(axis1=2, axis2=3)),
        jackknife(others_RELL.diagonal(axis1=2, axis2=3)),
        jackknife(gain_REOL[:, :, -1]),
    )
