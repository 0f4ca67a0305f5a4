"""Is the judge worth listening to? What can be said of it from its own judgements, by language.

A judge that hardly parses, that gives everything the same score, that disagrees with itself or that only counts
letters makes pairs all the same; these figures are where it shows.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from congrad.tables import Number, Table, columns

ALL = "all"
Scores = Sequence[Sequence[float | None]]
"""By response, the scores of its judgements; None where one is missing."""

# Of the tables: the figure, its title, its format.
COLUMNS = (
    ("responses", "answers", "d"),
    ("parse_rate", "parsed", ".0%"),
    ("tie_rate", "tied", ".0%"),
    ("entropy_bits", "entropy, bits", ".2f"),
    ("sample_difference", "judge disagreement", ".2f"),
    ("alpha", "alpha", ".2f"),
    ("mean_score", "score", ".2f"),
    ("mean_length", "length", ".0f"),
    ("length_correlation", "length ~ score", "+.2f"),
)


def measure_hygiene(responses: Sequence[Mapping[str, Any]], scores: Scores, *, rubric: bool = True) -> dict[str, Any]:
    """The figures of every language, and of all under `all`, as `hygiene.json` holds them. None: unknown.

    Args:
        responses: rows of `responses.jsonl`.
        scores: of each, in the same order.
        rubric: the scores are points of a rubric; else real numbers, which have no entropy.

    Returns:
        responses, judgements, scored: how many there are, and how many responses have a score;
        parse_rate: share of the judgements that gave a score;
        entropy_bits: of the responses' mean scores, rounded to whole points: from 0 (all the same) to log2 6 = 2.58;
        alpha: 1 where judgements of a response agree, 0 where they differ as those of different responses do;
        mean_length: in characters; length_correlation: Spearman's, of length and mean score;
        tie_rate, sample_difference: as the functions below; mean_length_by_score: by whole points.
    """
    found = {}
    for name in sorted({row["language"] for row in responses}):
        own = [i for i, row in enumerate(responses) if row["language"] == name]
        found[name] = _measure([responses[i] for i in own], [scores[i] for i in own], rubric)
    return {"languages": found, ALL: _measure(responses, scores, rubric)}


def _measure(responses: Sequence[Mapping[str, Any]], scores: Scores, rubric: bool) -> dict[str, Any]:
    parsed = [[score for score in each if score is not None] for each in scores]
    means = [mean(each) for each in parsed]
    judgements = sum(map(len, scores))
    lengths = [len(row["response"]) for row in responses]
    known = [(length, score) for length, score in zip(lengths, means, strict=True) if score is not None]
    by_score: dict[int, list[int]] = {}
    for length, score in known if rubric else []:
        by_score.setdefault(nearest(score), []).append(length)
    return {
        "responses": len(responses),
        "judgements": judgements,
        "scored": len(known),
        "parse_rate": rounded(sum(map(len, parsed)) / judgements) if judgements else None,
        "tie_rate": rounded(tie_rate([row["prompt_key"] for row in responses], means)),
        "entropy_bits": rounded(entropy_bits([nearest(score) for _, score in known])) if rubric else None,
        "sample_difference": rounded(sample_difference(parsed)),
        "alpha": rounded(krippendorff_alpha(parsed)),
        "mean_score": rounded(mean([score for _, score in known])),
        "mean_length": rounded(sum(lengths) / len(lengths), 1) if lengths else None,
        "length_correlation": rounded(spearman(*zip(*known, strict=True))) if known else None,
        "mean_length_by_score": {str(score): round(sum(own) / len(own), 1) for score, own in sorted(by_score.items())},
    }


def mean(scores: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    found = [score for score in scores if score is not None]
    return fmean(found) if found else None


def nearest(score: float) -> int:
    """Whole points, halves up."""
    return math.floor(score + 0.5)


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def tie_rate(prompt_keys: Sequence[str], means: Sequence[float | None]) -> float | None:
    """Share of the prompts with two or more scored responses whose two best score the same."""
    of_prompt: dict[str, list[float]] = {}
    for key, score in zip(prompt_keys, means, strict=True):
        if score is not None:
            of_prompt.setdefault(key, []).append(score)
    best = [sorted(own)[-2:] for own in of_prompt.values() if len(own) > 1]
    return sum(second == first for second, first in best) / len(best) if best else None


def entropy_bits(values: Sequence[int]) -> float | None:
    """Shannon entropy of the empirical distribution."""
    if not values:
        return None
    shares = [count / len(values) for count in Counter(values).values()]
    return -math.fsum(share * math.log2(share) for share in shares) + 0.0  # no -0.0


def sample_difference(parsed: Sequence[Sequence[float]]) -> float | None:
    """Mean over the responses with two or more scores of the mean absolute difference of two of them, in points."""
    return mean([fmean(abs(a - b) for a, b in combinations(own, 2)) for own in parsed if len(own) > 1])


def krippendorff_alpha(parsed: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for interval data, 1 - D_o / D_e; None where the scores do not vary or none has a partner.

    D_o is the mean squared difference of scores of one response, each response weighted by the scores it has; D_e that
    of all scores that have a partner, whosever they are (Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability).
    """
    units = [np.array(own, dtype=np.float64) for own in parsed if len(own) > 1]
    if not units:
        return None
    values = np.concatenate(units)
    # Over the ordered pairs of n values, squared differences sum to 2 n sum (x - mean)^2.
    observed = sum(2 * len(own) * float(((own - own.mean()) ** 2).sum()) / (len(own) - 1) for own in units)
    expected = 2 * len(values) * float(((values - values.mean()) ** 2).sum()) / (len(values) - 1)
    return 1 - observed / expected if expected > 0 else None


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties with their mean rank; None where either does not vary."""
    ranks = _ranks(first), _ranks(second)
    if len(first) < 2 or any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.array(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def hygiene_warnings(hygiene: Mapping[str, Any]) -> list[str]:
    """What a person should know of the judge before going on, by language."""
    rows = hygiene["languages"]
    never = [name for name, row in rows.items() if row["parse_rate"] == 0]
    seldom = [f"{name} ({row['parse_rate']:.0%})" for name, row in rows.items() if 0 < (row["parse_rate"] or 0) < 0.5]
    same = [name for name, row in rows.items() if row["entropy_bits"] == 0 and row["scored"] > 1 and row["tie_rate"]]
    found = []
    if never:
        found.append(f"the judge never gives a score that can be read in {', '.join(never)}: they get no pairs")
    if seldom:
        where = ", ".join(seldom)
        found.append(f"the judge gives a score that can be read in less than half of its judgements in {where}")
    if same:
        found.append(f"the judge gives all answers the same score in {', '.join(same)}, to the nearest point")
    return found


def hygiene_table(hygiene: Mapping[str, Any]) -> Table:
    """The figures, a row per language and one for all; those whose judgements give no score at all are flagged."""
    named = [*hygiene["languages"].items(), (ALL, hygiene[ALL])]
    rows = [
        [name, *(None if row[key] is None else Number(row[key], form) for key, _, form in COLUMNS)]
        for name, row in named
    ]
    flagged = {number for number, (_, row) in enumerate(named) if not row["scored"]}
    return Table(columns("language", *(title for _, title, _ in COLUMNS)), rows, flagged, has_total=True)
