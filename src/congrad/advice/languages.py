"""All that the advice says of languages, from one pass over the sketches."""

from dataclasses import dataclass

from torch import Tensor

from congrad.advice.budget import MEASURES, Budget, Measure
from congrad.advice.folds import deal
from congrad.advice.groups import Groups, best_groups
from congrad.advice.how_many import HowMany, how_many
from congrad.advice.language_sums import LanguageSums, sum_languages
from congrad.advice.transfer import Transfer, transfer
from congrad.advice.weights import Weighting, weigh
from congrad.consensus.buckets import Sketches
from congrad.settings.advice import Advice


@dataclass(frozen=True)
class LanguageAdvice:
    """Attributes:
    groups: the best divisions, by each measure.
    transfer: what each language does for each.
    weights: how much each counts, in several ways.
    how_many: what more pairs would gain.
    """

    groups: dict[Measure, Groups]
    transfer: Transfer
    weights: list[Weighting]
    how_many: HowMany


def advise_on_languages(
    sketches: Sketches,
    *,
    factor_P: Tensor,
    language_P: Tensor,
    group_P: Tensor,
    num_languages: int,
    advice: Advice,
    num_threads: int = 1,
) -> LanguageAdvice:
    """Groups of languages, transfer, weights and numbers of pairs; the arguments are those of `sum_languages`."""
    sums = dealt_sums(
        sketches,
        factor_P=factor_P,
        language_P=language_P,
        group_P=group_P,
        num_languages=num_languages,
        advice=advice,
        num_threads=num_threads,
    )
    budget = Budget(advice.epochs, advice.batch_size, advice.steps)
    return LanguageAdvice(
        {measure: best_groups(sums, budget, measure, seed=advice.seed) for measure in MEASURES},
        transfer(sums, budget),
        weigh(sums, budget),
        how_many(sums, budget),
    )


def dealt_sums(
    sketches: Sketches,
    *,
    factor_P: Tensor,
    language_P: Tensor,
    group_P: Tensor,
    num_languages: int,
    advice: Advice,
    num_threads: int = 1,
) -> LanguageSums:
    """The sums, the prompts being dealt to the folds of the settings."""
    return sum_languages(
        sketches,
        factor_P=factor_P,
        language_P=language_P,
        group_P=group_P,
        fold_P=deal(group_P, advice.num_folds, advice.seed, language_P),
        num_languages=num_languages,
        seed=advice.seed,
        num_threads=num_threads,
    )
