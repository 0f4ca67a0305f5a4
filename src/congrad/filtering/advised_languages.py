"""What advice.json and groups.json hold of languages: groups, transfer, weights and numbers of pairs.

A figure stands under the measure that it is read by: its value and the ends of its 95% interval, each of the figure's
own shape, with NaN where there is nothing to say (null, once it is written).
"""

from collections.abc import Sequence
from typing import Any

from congrad.advice.budget import MEASURES
from congrad.advice.groups import Groups
from congrad.advice.how_many import Curve
from congrad.advice.language_sums import Estimate
from congrad.advice.language_words import members
from congrad.advice.languages import LanguageAdvice


def languages_content(advice: LanguageAdvice, names: Sequence[str]) -> dict[str, Any]:
    """The part of advice.json that is about languages.

    Args:
        names: of the languages of the advice, in its order.
    """
    transfer, more = advice.transfer, advice.how_many
    return {
        "groups": {measure: division(found, names) for measure, found in advice.groups.items()},
        "transfer": {
            "pairs": by_measure(transfer.gain_ELL),
            "alone": by_measure(transfer.alone_EL),
            "others": by_measure(transfer.others_EL),
            "together": by_measure(transfer.together_EL),
        },
        "weights": [
            {
                "kind": each.kind,
                "weights": each.weight_L.tolist(),
                "promised": dict(zip(MEASURES, each.promised.tolist(), strict=True)),
                "gain": by_measure(each.gain),
                "worst": by_measure(each.worst),
                "over_pairs": by_measure(each.over_pairs),
                "worst_over_pairs": by_measure(each.worst_over_pairs),
                "languages": by_measure(each.gain_L),
            }
            for each in advice.weights
        ],
        "how_many": {
            "times": more.times_X.tolist(),
            "together": _curve(more.together),
            "languages": [_curve(each) for each in more.languages],
        },
    }


def division(found: Groups, names: Sequence[str]) -> dict[str, Any]:
    """The best divisions by one measure: of every number of groups what it gains, and how many are chosen."""
    return {
        "chosen": found.chosen,
        "recommended": found.recommended,
        "over_together": by_measure(found.chosen_over_together),
        "over_random": by_measure(found.chosen_over_random),
        "cuts": [
            {
                "groups": members(cut, names),
                "gain": by_measure(cut.gain),
                "over_together": by_measure(cut.over_together),
                "languages": by_measure(cut.gain_L),
                "random_groups": dict(zip(MEASURES, cut.random_gain.tolist(), strict=True)),
            }
            for cut in found.cuts
        ],
        "merges": [[int(node) for node in each] for each in found.tree.merges],
    }


def by_measure(estimate: Estimate) -> dict[str, Any]:
    """An estimate whose first axis is the measures."""
    interval = estimate.interval
    return {
        measure: {
            "value": estimate.value[number].tolist(),
            "low": interval[number, ..., 0].tolist(),
            "high": interval[number, ..., 1].tolist(),
        }
        for number, measure in enumerate(MEASURES)
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "num_pairs": curve.num_pairs_X.tolist(),
        "gain": by_measure(curve.gain_EX),
        "own": by_measure(curve.own_EX),
        "over_now": by_measure(curve.over_now_EX),
    }
