"""All that the advice says of languages, from one pass over the sketches."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from congrad.advice.budget import MEASURES, Budget, Measure
from congrad.advice.folds import deal
from congrad.advice.groups import Groups, best_groups
from congrad.advice.how_many import HowMany, how_many
from congrad.advice.language_sums import LanguageSums, sum_languages
from congrad.advice.sample import Sample, draw
from congrad.advice.transfer import Transfer, transfer
from congrad.advice.weights import Weighting, weigh
from congrad.consensus.buckets import Sketches
from congrad.consensus.score import one_thread_an_operation
from congrad.settings.advice import Advice


@dataclass(frozen=True)
class LanguageAdvice:
    """Attributes:
    language_L: codes of the languages that have a pair.
    groups: the best divisions, by each measure.
    transfer: what each language does for each.
    weights: how much each counts, in several ways.
    how_many: what more pairs would gain.
    """

    language_L: tuple[int, ...]
    groups: dict[Measure, Groups]
    transfer: Transfer
    weights: list[Weighting]
    how_many: HowMany


def advise_on_languages(
    sketches: Sketches, *, factor_N: Tensor, language_N: Tensor, group_N: Tensor, settings: Advice
) -> LanguageAdvice:
    """Groups of languages, transfer, weights and numbers of pairs; the arguments are those of `sample.draw`."""
    drawn = draw(sketches, factor_N=factor_N, language_N=language_N, group_N=group_N, settings=settings)
    sums, budget = sums_of(drawn, settings), budget_of(drawn, settings)
    return LanguageAdvice(
        tuple(drawn.code_L.tolist()),
        {measure: best_groups(sums, budget, measure, seed=settings.seed) for measure in MEASURES},
        transfer(sums, budget),
        weigh(sums, budget),
        how_many(sums, budget, pairs_of_each=drawn.total_pairs / drawn.num_pairs),
    )


def sums_of(drawn: Sample, settings: Advice) -> LanguageSums:
    """The sums of the measured pairs, the prompts being dealt to the folds of the settings."""
    with one_thread_an_operation() as num_threads:
        return sum_languages(
            drawn.gradients,
            factor_P=torch.full((drawn.num_pairs,), drawn.scale, dtype=torch.float64),
            language_P=drawn.language_P,
            group_P=drawn.prompt_P,
            fold_P=deal(drawn.prompt_P, settings.num_folds, settings.seed, drawn.language_P),
            num_languages=len(drawn.code_L),
            seed=settings.seed,
            num_threads=num_threads,
        )


def budget_of(drawn: Sample, settings: Advice) -> Budget:
    """That of the settings: an epoch has the steps of all pairs, of which the measured ones may be a sample."""
    budget = Budget.of(settings)
    return replace(budget, epochs=budget.epochs * drawn.total_pairs / drawn.num_pairs)
