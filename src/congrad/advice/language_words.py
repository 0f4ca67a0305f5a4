"""What the advice says of languages, in words: groups, numbers of pairs, weights. Figures are those for the budget."""

from collections.abc import Sequence

from congrad.advice.budget import MEASURES
from congrad.advice.figures import Estimate
from congrad.advice.groups import Cut, Groups
from congrad.advice.how_many import HowMany
from congrad.advice.language_sums import Estimate as Spread
from congrad.advice.languages import LanguageAdvice
from congrad.advice.weights import Weighting
from congrad.tables import Number

BUDGET, EQUAL = (MEASURES.index(measure) for measure in ("budget", "equal_length"))
MOST_NAMES = 20  # languages that a sentence names
TWICE = 2.0


def compared(estimate: Estimate, everything: Estimate) -> str:
    """The difference from all pairs with its interval: in percent of their gain, where that is clear of zero."""
    is_clear = everything.low > 0
    unit = everything.value if is_clear else 1.0
    ends = (estimate.delta, estimate.delta_low, estimate.delta_high)
    shown = Number(0, ".0%" if is_clear else ".3g", 1, None, None, *(end / unit for end in ends))
    return shown.difference() + ("" if is_clear else f", where all pairs gain {everything.value:.3g}")


def compared_with(more: Spread, everything: Spread, *place: int) -> str:
    """The same of a difference that was estimated as one; `place` is that of the figure."""
    low, high = more.interval[place].tolist()
    everything_low, everything_high = everything.interval[place[:1]].tolist()
    all_pairs = Estimate(float(everything.value[place[0]]), everything_low, everything_high, 0, 0, 0)
    return compared(Estimate(0, 0, 0, float(more.value[place]), low, high), all_pairs)


def groups_in_words(groups: Sequence[Sequence[str]]) -> str:
    """The languages of every group, or how many they are where they are too many for a sentence."""
    if sum(map(len, groups)) > MOST_NAMES:
        return f"of {', '.join(str(len(each)) for each in groups)} languages, which congrad groups names"
    return "; ".join(", ".join(each) for each in groups)


def language_notes(advice: LanguageAdvice, languages: Sequence[str]) -> tuple[str, ...]:
    """A sentence on each, where there is something to say."""
    if len(languages) < 2:
        return (_more_pairs(advice.how_many, advice.groups["budget"].cuts[0].gain, languages),)
    found = (
        _groups(advice.groups["budget"], languages),
        _more_pairs(advice.how_many, advice.groups["budget"].cuts[0].gain, languages),
        _weights({each.kind: each for each in advice.weights}),
    )
    return tuple(filter(None, found))


def members(cut: Cut, languages: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The languages of every group."""
    return tuple(
        tuple(name for name, label in zip(languages, cut.label_L.tolist(), strict=True) if label == number)
        for number in range(cut.num_groups)
    )


def _groups(found: Groups, languages: Sequence[str]) -> str:
    """Why the languages should stay together; empty where they should not, which is the verdict itself."""
    if found.recommended:
        return ""
    cut, together = found.cuts[max(found.chosen, 2) - 1], found.cuts[0].gain
    over = compared_with(cut.over_together, together, BUDGET)
    said = (
        f"Trained apart, an adapter for each, the best {cut.num_groups} groups "
        f"({groups_in_words(members(cut, languages))}) are predicted to gain {over} beside all together"
    )
    value, random = float(together.value[BUDGET]), float(cut.random_gain[BUDGET])
    said += f", random groups of these sizes {random / value - 1:+.0%}" if together.interval[BUDGET][0] > 0 else ""
    if cut.over_together.is_clear[EQUAL]:
        said += f"; {compared_with(cut.over_together, together, EQUAL)} at equal step length, which no budget pays for"
    return f"{said}: train them together."


def _more_pairs(found: HowMany, everything: Spread, languages: Sequence[str]) -> str:
    twice = found.times_X.tolist().index(TWICE)
    said = (
        "Twice as many pairs like these, trained in the same way, are predicted to gain "
        f"{compared_with(found.together.over_now_EX, everything, BUDGET, twice)}"
    )
    if len(languages) > 1:
        over_L = [float(each.over_now_EX.value[BUDGET, twice]) for each in found.languages]
        most = max(range(len(languages)), key=over_L.__getitem__)
        of_one = compared_with(found.languages[most].over_now_EX, everything, BUDGET, twice)
        said += f"; of one language alone, those of {languages[most]} most: {of_one}"
    return f"{said}."


def _weights(found: dict[str, Weighting]) -> str:
    """Only where the language that gains least would clearly gain more."""
    best, pairs = found["worst"], found["pairs"]
    if not best.worst_over_pairs.is_clear[BUDGET]:
        return ""
    return (
        "Languages weighted for the one that gains least (weights in advice.json) are predicted to lift it by "
        f"{compared_with(best.worst_over_pairs, pairs.gain, BUDGET)} of the mean gain, and the mean by "
        f"{compared_with(best.over_pairs, pairs.gain, BUDGET)}."
    )
