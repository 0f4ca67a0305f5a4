"""The pairs of one prompt's scored responses: one rule, for data sets with ratings and for the stage `pair`.

A response ranks by its score, less what its language and its length take away:

    s(y) = score(y) - language_penalty [y is in another language] - length_control (|y| - mean |y|) / sd |y|

with lengths in characters, and mean and standard deviation over the prompt's own scored responses.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from congrad.settings.selfreward import Pair
from congrad.sources.part import Mistake

DIGITS = 9  # closer than this two numbers are a tie that arithmetic blurred

# What became of a prompt, the first that holds.
PAIRED, SINGLE, MISSING, DROPPED, TIE, MARGIN = OUTCOMES = (
    "paired",
    "single_response",
    "missing_scores",
    "dropped_for_language",
    "ties",
    "below_min_margin",
)
AS_PUBLISHED = Pair()  # no language and no length counts: a data set's scores are taken as they are


@dataclass(frozen=True)
class Candidate:
    """What the ranking of a response depends on.

    Attributes:
        score: None where it is missing.
        length: in characters; counts with `length_control`.
        off_target: it is in another language than its prompt's.
    """

    score: float | None
    length: int = 0
    off_target: bool = False


IN_WORDS = {
    SINGLE: Mistake("a single response", is_bad=False),
    MISSING: Mistake("fewer than two responses have scores", is_bad=False),
    TIE: Mistake("a tie", is_bad=False),
}
"""What becomes of a prompt that gives no pair `AS_PUBLISHED`."""


def choose(
    candidates: Sequence[Candidate], rule: Pair = AS_PUBLISHED, key: str = ""
) -> tuple[list[tuple[int, int, float]], str]:
    """The pairs of one prompt, given its responses in the order of their samples.

    Args:
        key: the prompt's, which decides the draws of `best-random` together with the rule's seed.

    Returns:
        The positions of the better and of the worse response and by how much, for every pair; and what became of the
        prompt, of `OUTCOMES`.
    """
    scored = [number for number, each in enumerate(candidates) if each.score is not None]
    left = [number for number in scored if not (rule.language == "drop" and candidates[number].off_target)]
    if len(left) < 2:
        return [], SINGLE if len(candidates) < 2 else MISSING if len(scored) < 2 else DROPPED
    rank = dict(zip(left, ranking_scores([candidates[number] for number in left], rule), strict=True))

    def margin(better: int, worse: int) -> float:
        return round(rank[better] - rank[worse], DIGITS)

    best = max(left, key=lambda number: rank[number])
    worst = min(left, key=lambda number: rank[number])
    if margin(best, worst) <= rule.min_margin:
        return [], TIE if margin(best, worst) == 0 else MARGIN
    if rule.method == "best-worst":
        ordered = [(best, worst)]
    elif rule.method == "all":
        ordered = [(one, other) for one in left for other in left if margin(one, other) > rule.min_margin]
    else:
        below = [number for number in left if margin(best, number) > rule.min_margin]
        ordered = [(best, random.Random(f"{rule.seed} {key}").choice(below))]
    return [(better, worse, margin(better, worse)) for better, worse in ordered], PAIRED


def ranking_scores(candidates: Sequence[Candidate], rule: Pair) -> list[float]:
    """s(y) of responses that all have a score."""
    lengths = [each.length for each in candidates]
    mean = sum(lengths) / len(lengths)
    deviation = math.sqrt(sum((length - mean) ** 2 for length in lengths) / len(lengths))
    ranking = []
    for each in candidates:
        assert each.score is not None
        score = each.score
        if rule.language == "penalise" and each.off_target:
            score -= rule.language_penalty
        if rule.length_control and deviation:
            score -= rule.length_control * (each.length - mean) / deviation
        ranking.append(score)
    return ranking
