"""What to do, as data and in a sentence: from the predicted gains, for the budget that the user has.

filter          some share is clearly better than all pairs (`keep_auto`)
groups          languages trained in groups gain clearly more than together
no-difference   no share is, and the data would show a difference of `WORTH_IT`
keep-all        even the best share loses clearly
too-few         none of these can be told

Watched pairs have a veto, and no more: where the share that the pairs' own labels choose is predicted to make the mean
of the watched languages worse than all pairs do (the whole 95% interval of the difference is below 0), the verdict is
keep-all. They never choose a smaller share, since the best of ten for them would be a choice that nothing checks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from congrad.advice.advise import LEAST_PROMPTS, Advice
from congrad.advice.figures import Estimate
from congrad.advice.keep_auto import CLEARLY, Point
from congrad.advice.language_words import BUDGET, compared, compared_with, groups_in_words, language_notes, members
from congrad.advice.languages import LanguageAdvice
from congrad.advice.options import OWN
from congrad.tables import Number

Kind = Literal["filter", "groups", "no-difference", "keep-all", "too-few"]
WORTH_IT = 0.1  # of the gain of all pairs: a difference that a data set should be able to show
NORMAL = 1.96  # standard errors on each side of a 95% interval
FEW_WATCHED = 8  # prompts of a watched language: with fewer, the draws do not show how much they vary
MUCH_LENGTH = 0.5  # of the gain: where less is left without the length difference, it is said first
EVIDENCE = "docs/evidence.md"
SPEARMAN = "five options as it does with a Spearman of 0.7 with wrong labels, 0.9 without"  # for the budget
SAME_SOURCE = (
    "Measured against labels of the same source: an error that all of them share (length, position, one bad judge) "
    "cannot be seen."
)


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    share: what to keep of every language.
    sentence: what to do and what it should bring.
    basis: what the prediction is: its order, its moment and its budget; "" where nothing could be predicted.
    notes: what else should be known before it is followed, a sentence each.
    needed_pairs: about how many would be enough to tell; None where that is not the question, or cannot be said.
    groups: the languages of each group, where they are what is recommended.
    """

    kind: Kind
    share: float
    sentence: str
    basis: str
    notes: tuple[str, ...]
    needed_pairs: int | None = None
    groups: tuple[tuple[str, ...], ...] = ()


def judge(
    advice: Advice,
    languages: Sequence[str],
    of_languages: LanguageAdvice | None = None,
    watched: Sequence[str] = (),
) -> Verdict:
    """The verdict on what `advise` found, and on the languages where they were looked at.

    Args:
        languages: names of the languages that have a pair.
        watched: of those that are watched.
    """
    basis = (
        f"Predicted, to first order, at the start of training, for {advice.budget.in_words}; "
        f"real trainings ranked {SPEARMAN} ({EVIDENCE})."
    )
    if not advice.options:
        needed = LEAST_PROMPTS * advice.num_folds
        sentence = (
            f"There are too few pairs to tell whether filtering helps: {advice.num_prompts} prompts, and at least "
            f"{needed} are needed to hold some out."
        )
        return Verdict("too-few", 1.0, sentence, "", (), needed)
    chosen, everything = advice.chosen["budget"], advice.options[0].gains["budget"]
    share, gain = chosen.choice.share, everything.mean
    between = () if of_languages is None else language_notes(of_languages, languages)
    notes = (*_notes(advice, share, languages, watched), *between)
    if of_languages is not None:
        division = of_languages.groups["budget"]
        if division.recommended:
            groups, together = members(division.cuts[division.chosen - 1], languages), division.cuts[0].gain
            sentence = f"Train in {len(groups)} groups, with an adapter for each: {groups_in_words(groups)}."
            over = compared_with(division.chosen_over_together, together, BUDGET)
            said = f"Predicted gain on held-out pairs, compared with all together: {over}."
            if share < 1:
                filtered = compared(chosen.gains.mean, gain)
                notes = (f"Filtered to {share:.0%}, all together are predicted to gain {filtered}.", *notes)
            return Verdict("groups", share, f"{sentence} {said}", basis, notes, groups=groups)
    if share < 1:
        sentence = f"Filter: keep {share:.0%} of every language."
        said = f"Predicted gain on held-out pairs, compared with all pairs: {compared(chosen.gains.mean, gain)}."
        harm, of_all = chosen.gains.watched_mean, everything.watched_mean
        num_watched = sum(each.num_prompts for each in advice.watched)
        if harm is not None and of_all is not None and harm.delta_high < 0 and num_watched >= FEW_WATCHED:
            sentence = f"Do not filter: keep all pairs. To keep {share:.0%} of every language is predicted to make the"
            said = f"watched pairs worse: {compared(harm, of_all)}, compared with all pairs."
            decides = f"The watched pairs decide. By the pairs' own labels: {compared(chosen.gains.mean, gain)}."
            notes = (decides, *_notes(advice, 1.0, languages, watched), *between)
            return Verdict("keep-all", 1.0, f"{sentence} {said}", basis, notes)
        if chosen.gains.mean.delta_low <= 0:
            here = next(each for each in chosen.choice.curve if each.share == share)
            sentence = f"Filter, perhaps: keep {share:.0%} of every language. Predicted gain on held-out pairs,"
            said = (
                f"compared with all pairs: {compared(_interval(here), gain)} on those "
                f"that chose this share, but {compared(chosen.gains.mean, gain)} for the whole choosing procedure on "
                "those that had no part in it. That is a hint, and no proof."
            )
        return Verdict("filter", share, f"{sentence} {said}", basis, notes)
    best = max(chosen.choice.curve[:-1], key=lambda point: point.gain)
    said = (
        f"Predicted gain of the best smaller share, {best.share:.0%}, compared with all pairs: "
        f"{compared(_interval(best), gain)}."
    )
    shown = CLEARLY * best.standard_error
    if best.delta + shown < 0:
        return Verdict("keep-all", 1.0, f"Do not filter: keep all pairs. {said}", basis, notes)
    if gain.low > 0 and shown <= WORTH_IT * gain.value:
        sentence = "Filtering makes no difference that this data can show: keep all pairs."
        return Verdict("no-difference", 1.0, f"{sentence} {said}", basis, notes)
    sentence = "There are too few pairs to tell whether filtering helps: keep all pairs."
    if gain.value <= 0:
        said = "What one part of them teaches does not even help the others."
        return Verdict("too-few", 1.0, f"{sentence} {said}", basis, notes)
    error = max(shown / WORTH_IT, 0 if gain.low > 0 else CLEARLY * (gain.high - gain.low) / (2 * NORMAL))
    needed = rounded_up(advice.total_pairs * (error / gain.value) ** 2)
    enough = f"About {needed:,} pairs would be enough to see a difference of {WORTH_IT:.0%}."
    return Verdict("too-few", 1.0, f"{sentence} {said} {enough}", basis, notes, needed)


def _notes(advice: Advice, share: float, languages: Sequence[str], watched: Sequence[str]) -> tuple[str, ...]:
    other = advice.chosen["equal_length"].choice.share
    notes = [SAME_SOURCE]
    option = next(each for each in advice.options if (each.ranking, each.share) == (OWN, share)).gains["budget"]
    worse = [name for name, each in zip(languages, option.languages, strict=True) if each.high < 0]
    if worse:
        notes.append(f"Predicted to get worse from it, because the others pull the other way: {', '.join(worse)}.")
    notes += _watched(advice, share, watched)
    if option.without_length is not None and option.mean.low > 0:
        left = max(option.without_length / option.mean.value, 0)
        said = f"Between responses of one length, {left:.0%} of the predicted gain is left"
        if left < MUCH_LENGTH:
            notes.insert(0, f"{said}: most of what these labels teach goes with length.")
        else:
            notes.append(f"{said}.")
    if other == 1 > share:
        notes.append(
            "At equal step length, which many steps on few pairs come close to, no share is clearly better than all "
            "pairs."
        )
    elif other != share:
        here = f"{share:.0%}" if share < 1 else "all pairs"
        notes.append(
            f"The two budgets disagree: at equal step length, which many steps on few pairs come close to, the choice "
            f"would be {other:.0%}, not {here}."
        )
    if advice.num_pairs < advice.total_pairs:
        notes.append(f"From a sample of {advice.num_pairs:,} of {advice.total_pairs:,} pairs.")
    return tuple(notes)


def _watched(advice: Advice, share: float, watched: Sequence[str]) -> list[str]:
    """What is said of pairs that are not trained on."""
    everything, chosen = advice.options[0].gains["budget"], advice.chosen["budget"]
    mean, gains = everything.watched_mean, chosen.gains.watched_mean
    if mean is None or gains is None:
        return []
    notes = []
    if share < 1:
        notes.append(f"Watched pairs, predicted gain compared with all pairs: {compared(gains, mean)}.")
    else:
        shown = Number(mean.value, ".3g", 1, mean.low, mean.high)
        held_out = f"where held-out pairs gain {everything.mean.value:.3g}"
        notes.append(f"Watched pairs, predicted gain from all pairs: {shown} {shown.interval}, {held_out}.")
    worse = [name for name, each in zip(watched, everything.watched, strict=True) if each.high < 0]
    if worse:
        notes.append(f"Watched, and predicted to get worse from training on all pairs: {', '.join(worse)}.")
    few = [name for name, each in zip(watched, advice.watched, strict=True) if each.num_prompts < FEW_WATCHED]
    if few:
        names = ", ".join(few)
        notes.append(f"Watched with fewer than {FEW_WATCHED} prompts, so that intervals are too narrow: {names}.")
    return notes


def _interval(point: Point) -> Estimate:
    """A point of the curve with the interval of its difference."""
    half = NORMAL * point.standard_error
    return Estimate(point.gain, math.nan, math.nan, point.delta, point.delta - half, point.delta + half)


def rounded_up(count: float) -> int:
    """To two digits."""
    unit: int = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return int(math.ceil(count / unit) * unit)
