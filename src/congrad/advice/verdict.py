"""What to do, as data and in a sentence: from the predicted gains, for the budget that the user has.

filter          some share is clearly better than all pairs (`keep_auto`)
groups          languages trained in groups gain clearly more than together
no-difference   no share is, and the data would show a difference of `WORTH_IT`
keep-all        even the best share loses clearly
too-few         none of these can be told
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from congrad.advice.advise import LEAST_PROMPTS, Advice
from congrad.advice.figures import Estimate
from congrad.advice.keep_auto import CLEARLY, Point
from congrad.advice.options import OWN
from congrad.tables import Number

Kind = Literal["filter", "groups", "no-difference", "keep-all", "too-few"]
WORTH_IT = 0.1  # of the gain of all pairs: a difference that a data set should be able to show
NORMAL = 1.96  # standard errors on each side of a 95% interval
MUCH_LENGTH = 0.5  # of the gain: where less is left without the length difference, it is said first
EVIDENCE = "docs/evidence.md"
SAME_SOURCE = (
    "Measured against labels of the same source: an error that all of them share (length, position, one bad judge) "
    "cannot be seen."
)


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    share: what to keep of every language.
    sentence: what to do and what it should bring.
    basis: what the prediction is: its order, its moment and its budget.
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


@dataclass(frozen=True)
class Groups:
    """What another way of training promises: the languages of each group, and the gain beside all together, read where
    the division was not made."""

    languages: tuple[tuple[str, ...], ...]
    gain: Estimate


def judge(advice: Advice, languages: Sequence[str], groups: Groups | None = None) -> Verdict:
    """The verdict on what `advise` found, and on the best division into groups where one was looked for.

    Args:
        languages: names of the languages that have a pair.
    """
    basis = (
        f"Predicted, to first order, at the start of training, for {advice.budget.in_words}; "
        f"how far that carries: {EVIDENCE}."
    )
    if not advice.options:
        needed = LEAST_PROMPTS * advice.num_folds
        sentence = (
            f"There are too few pairs to tell whether filtering helps: {advice.num_prompts} prompts, and at least "
            f"{needed} are needed to hold some out."
        )
        return Verdict("too-few", 1.0, sentence, basis, (), needed)
    chosen, everything = advice.chosen["budget"], advice.options[0].gains["budget"]
    share, gain = chosen.choice.share, everything.mean
    notes = _notes(advice, share, languages)
    if groups is not None and groups.gain.delta_low > 0:
        names = "; ".join(", ".join(each) for each in groups.languages)
        sentence = f"Train in {len(groups.languages)} groups, with an adapter for each: {names}."
        said = f"Predicted gain on held-out pairs, compared with all together: {compared(groups.gain, gain)}."
        return Verdict("groups", share, f"{sentence} {said}", basis, notes, groups=groups.languages)
    if share < 1:
        sentence = f"Filter: keep {share:.0%} of every language."
        said = f"Predicted gain on held-out pairs, compared with all pairs: {compared(chosen.gains.mean, gain)}."
        if chosen.gains.mean.delta_low <= 0:
            weak = "The interval, that of the whole choosing procedure, reaches 0: take it as a hint, not as proof."
            notes = (weak, *notes)
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


def _notes(advice: Advice, share: float, languages: Sequence[str]) -> tuple[str, ...]:
    other = advice.chosen["equal_length"].choice.share
    notes = [SAME_SOURCE]
    option = next(each for each in advice.options if (each.ranking, each.share) == (OWN, share)).gains["budget"]
    worse = [name for name, each in zip(languages, option.languages, strict=True) if each.high < 0]
    if worse:
        notes.append(f"Predicted to get worse from it, because the others pull the other way: {', '.join(worse)}.")
    if option.without_length is not None and option.mean.low > 0:
        left = max(option.without_length / option.mean.value, 0)
        said = f"Between responses of one length, {left:.0%} of the predicted gain is left"
        if left < MUCH_LENGTH:
            notes.insert(0, f"{said}: most of what these labels teach goes with length.")
        else:
            notes.append(f"{said}.")
    if other != share:
        here, there = (f"{each:.0%}" if each < 1 else "all pairs" for each in (share, other))
        notes.append(
            f"The two budgets disagree: at equal step length, which many steps on few pairs come close to, the choice "
            f"would be {there}, not {here}."
        )
    if advice.num_pairs < advice.total_pairs:
        notes.append(f"From a sample of {advice.num_pairs:,} of {advice.total_pairs:,} pairs.")
    return tuple(notes)


def _interval(point: Point) -> Estimate:
    """A point of the curve with the interval of its difference."""
    half = NORMAL * point.standard_error
    return Estimate(point.gain, math.nan, math.nan, point.delta, point.delta - half, point.delta + half)


def compared(estimate: Estimate, everything: Estimate) -> str:
    """The difference from all pairs with its interval: in percent of their gain, where that is clear of zero."""
    is_clear = everything.low > 0
    unit = everything.value if is_clear else 1.0
    ends = (estimate.delta, estimate.delta_low, estimate.delta_high)
    shown = Number(0, ".0%" if is_clear else ".3g", 1, None, None, *(end / unit for end in ends))
    return shown.difference() + ("" if is_clear else f", where all pairs gain {everything.value:.3g}")


def rounded_up(count: float) -> int:
    """To two digits."""
    unit: int = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return int(math.ceil(count / unit) * unit)
