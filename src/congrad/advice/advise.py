"""The advice on a set of pairs: every option's predicted gain, the share that would be chosen, and what that is worth.

Means, products, directions, gains: four passes over the sketches for all options at once (more where the directions of
all of them take more than 1 GiB), and none for other budgets.

Shapes: N pairs that could be scored, P of them that are measured, L languages, W watched languages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from congrad.advice.budget import MEASURES, Budget, Floats, Measure
from congrad.advice.figures import Chosen, Figures, Gains
from congrad.advice.folds import deal, sample
from congrad.advice.gain import SHARES, Reader, follow
from congrad.advice.measure import Gradients, measure
from congrad.advice.options import ALL, OWN, rankings
from congrad.consensus.buckets import Sketches
from congrad.consensus.score import one_thread_an_operation
from congrad.selection.keep import num_kept
from congrad.settings.advice import Advice as AdviceSettings
from congrad.settings.consensus import AGGREGATORS, Consensus

LEAST_PROMPTS = 4  # of a fold, on average: with fewer in all nothing is predicted
NUM_PASSES = 4


@dataclass(frozen=True)
class Option:
    """Attributes:
    ranking: of `options.TITLES`.
    share: of every language; None where the ranking is missing.
    num_pairs: that are kept.
    missing: what the ranking lacks.
    gains: by measure; empty where it is missing.
    """

    ranking: str
    share: float | None
    num_pairs: int
    missing: str | None
    gains: Mapping[Measure, Gains]


@dataclass(frozen=True)
class Advice:
    """Attributes:
    num_pairs, total_pairs: pairs that were measured, and of how many.
    num_prompts: of the measured pairs.
    language_L: codes of the languages that have a pair.
    options: all pairs first; empty where there are too few prompts to hold any out.
    chosen: by measure; empty where there are too few.
    """

    budget: Budget
    num_pairs: int
    total_pairs: int
    num_prompts: int
    language_L: tuple[int, ...]
    num_folds: int
    options: tuple[Option, ...]
    chosen: Mapping[Measure, Chosen]


def advise(
    sketches: Sketches,
    *,
    factor_N: Tensor,
    language_N: Tensor,
    group_N: Tensor,
    length_N: Floats,
    given: Mapping[str, Floats | str],
    consensus: Consensus,
    settings: AdviceSettings,
    watch_WD: Tensor | None = None,
    aggregators: Sequence[str] = AGGREGATORS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Advice:
    """Predicts the held-out gain of every option.

    Args:
        sketches: the stored sketches (N x D).
        factor_N: what makes a pair's sketch its gradient; a pair whose factor is zero or not finite takes no part.
        language_N: codes of the languages. Each that has a pair takes part.
        group_N: the same number for the pairs of one prompt, in whatever language.
        length_N: tokens of the chosen response minus those of the rejected.
        given: see `rankings`; of N pairs.
        watch_WD: mean gradients of watched languages, which are not trained on.
        aggregators: that are compared with that of the filter.
        on_progress: called with how many pairs are done, and of how many.
    """
    factor_N = factor_N.double()
    row_P = torch.nonzero(factor_N.isfinite() & (factor_N != 0)).flatten()
    total_pairs, total_L = len(row_P), torch.bincount(language_N[row_P])
    if total_pairs > settings.max_pairs:
        row_P = row_P[sample(group_N[row_P], settings.max_pairs, settings.seed, language_N[row_P])]
    code_L, language_P = torch.unique(language_N[row_P], return_inverse=True)
    prompt_U, prompt_P = torch.unique(group_N[row_P], return_inverse=True)
    budget = Budget(settings.epochs, settings.batch_size, settings.steps)
    sizes = (budget, len(row_P), total_pairs, len(prompt_U), tuple(code_L.tolist()), settings.num_folds)
    if len(prompt_U) < LEAST_PROMPTS * settings.num_folds:
        return Advice(*sizes, options=(), chosen={})
    scale = float(factor_N[row_P].abs().max())
    gradients = Gradients(sketches, row_P, factor_N[row_P] / scale)  # clear of both ends of float32
    position_P, read = row_P.numpy(), 0

    def on_rows(rows: int) -> None:
        nonlocal read
        read += rows
        on_progress(min(read // NUM_PASSES, len(row_P)), len(row_P))

    with one_thread_an_operation() as num_threads:
        measured = measure(
            gradients,
            language_P=language_P,
            prompt_P=prompt_P,
            fold_P=deal(prompt_P, settings.num_folds, settings.seed, language_P),
            num_folds=settings.num_folds,
            consensus=consensus,
            watch_WD=None if watch_WD is None else watch_WD / scale,
            num_threads=num_threads,
            on_rows=on_rows,
        )
        own = {name: of if isinstance(of, str) else of[position_P] for name, of in given.items()}
        ranked = rankings(measured, consensus, own, aggregators)
        columns = {ranking.name: ranking.scorer for ranking in ranked if ranking.scorer is not None}
        inner = [(columns[OWN], away) for away in range(1, settings.num_folds)]
        directions = follow(measured, [*((scorer, 0) for scorer in columns.values()), *inner], num_threads, on_rows)
    readers = [Reader(measured, directions, each, budget, total_pairs, scale) for each in MEASURES]
    figures = [
        Figures(reader, reader.gain(0, len(SHARES) - 1), settings.num_resamples, settings.seed, length_N[position_P])
        for reader in readers
    ]
    options = [Option(ALL, 1.0, total_pairs, None, {each.measure: each.of([each.everything])[0] for each in figures})]
    for ranking in ranked:
        if ranking.scorer is None:
            options.append(Option(ranking.name, None, 0, ranking.missing, {}))
            continue
        column = list(columns).index(ranking.name)
        found = {each.measure: each.of_shares(column) for each in figures}
        for number, share in enumerate(SHARES):
            kept = sum(num_kept(size, share) for size in total_L[code_L].tolist())
            gains = {measured_by: of_shares[number] for measured_by, of_shares in found.items()}
            options.append(Option(ranking.name, share, kept, None, gains))
    inner_columns = list(range(len(columns), len(columns) + len(inner)))
    chosen = {each.measure: each.chosen(0, inner_columns) for each in figures}
    return Advice(*sizes, options=tuple(options), chosen=chosen)
