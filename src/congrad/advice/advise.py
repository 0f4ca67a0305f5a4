"""The advice on a set of pairs: every option's predicted gain, the share that would be chosen, and what that is worth.

Means, products, directions, gains: four passes over the sketches for all options at once (more where the directions of
all of them take more than 1 GiB), and none for other budgets.

Shapes: N pairs that could be scored, P of them that are measured, L languages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from congrad.advice.budget import MEASURES, Budget, Floats, Measure
from congrad.advice.figures import Chosen, Figures, Gains
from congrad.advice.folds import deal
from congrad.advice.gain import SHARES, Reader, follow
from congrad.advice.measure import measure
from congrad.advice.options import ALL, OWN, rankings
from congrad.advice.sample import draw
from congrad.advice.watched import WatchedLanguage, WatchedPairs, sum_watched
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
    watched: languages of pairs that are not trained on, as the figures have them; none where nothing is watched.
    """

    budget: Budget
    num_pairs: int
    total_pairs: int
    num_prompts: int
    language_L: tuple[int, ...]
    num_folds: int
    options: tuple[Option, ...]
    chosen: Mapping[Measure, Chosen]
    watched: tuple[WatchedLanguage, ...] = ()


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
    watch: WatchedPairs | None = None,
    aggregators: Sequence[str] = AGGREGATORS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Advice:
    """Predicts the held-out gain of every option.

    Args:
        sketches, factor_N, language_N, group_N: see `sample.draw`.
        length_N: tokens of the chosen response minus those of the rejected.
        given: see `rankings`; of N pairs.
        watch: pairs that are not trained on, one with a gradient at least.
        aggregators: that are compared with that of the filter.
        on_progress: called with how many pairs are done, and of how many.
    """
    drawn = draw(sketches, factor_N=factor_N, language_N=language_N, group_N=group_N, settings=settings)
    budget = Budget.of(settings)
    total_pairs, scale, language_L = drawn.total_pairs, drawn.scale, tuple(drawn.code_L.tolist())
    sizes = (budget, drawn.num_pairs, total_pairs, drawn.num_prompts, language_L, settings.num_folds)
    if drawn.num_prompts < LEAST_PROMPTS * settings.num_folds:
        return Advice(*sizes, options=(), chosen={})
    position_P, read = drawn.row_P.numpy(), 0
    fold_P = deal(drawn.prompt_P, settings.num_folds, settings.seed, drawn.language_P)

    def on_rows(rows: int) -> None:
        nonlocal read
        read += rows
        on_progress(min(read // NUM_PASSES, drawn.num_pairs), drawn.num_pairs)

    with one_thread_an_operation() as num_threads:
        watched = (
            None
            if watch is None
            else sum_watched(
                watch,
                group_P=group_N[drawn.row_P],
                fold_P=fold_P,
                num_folds=settings.num_folds,
                max_pairs=settings.max_pairs,
                seed=settings.seed,
                scale=scale,
                num_threads=num_threads,
            )
        )
        measured = measure(
            drawn.gradients,
            language_P=drawn.language_P,
            prompt_P=drawn.prompt_P,
            fold_P=fold_P,
            num_folds=settings.num_folds,
            consensus=consensus,
            watch_KD=None if watched is None else watched.mean_KD,
            share_WFS=None if watched is None else watched.share_WFS,
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
            kept = sum(num_kept(size, share) for size in drawn.total_L.tolist())
            gains = {measured_by: of_shares[number] for measured_by, of_shares in found.items()}
            options.append(Option(ranking.name, share, kept, None, gains))
    inner_columns = list(range(len(columns), len(columns) + len(inner)))
    chosen = {each.measure: each.chosen(0, inner_columns) for each in figures}
    watched_languages = () if watched is None else watched.languages
    return Advice(*sizes, options=tuple(options), chosen=chosen, watched=watched_languages)
