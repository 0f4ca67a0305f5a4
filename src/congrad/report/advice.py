"""The advice on a terminal: the verdict, and a small table of the options that matter.

What is shown is what advice.json holds.
"""

from collections.abc import Mapping
from typing import Any

from congrad.advice.budget import MEASURES
from congrad.advice.options import TITLES
from congrad.tables import Cell, Number, Table, columns

HALF = 0.5  # the paper's
NOT_SHOWN = ("upgrad", "mgda", "cagrad", "gradvac", "aligned-mtl")  # they differ by little; advice.json has them


def verdict_lines(advice: Mapping[str, Any]) -> list[str]:
    """The sentence, what kind of prediction it is, and what else should be known."""
    verdict = advice["verdict"]
    more = filter(None, (verdict["basis"], *verdict["notes"]))
    return [f"advice: {verdict['sentence']}", *(f"  {each}" for each in more)]


def matters(advice: Mapping[str, Any], keep: float | None) -> list[Mapping[str, Any]]:
    """All pairs, ConGrad at the best share, at half and at the share that was kept, and other rankings at the best."""
    chosen = advice["chosen"]["budget"]
    best_below = max(chosen["curve"][:-1], key=lambda point: point["gain"])["share"]
    share = chosen["share"] if chosen["share"] < 1 else best_below
    own = {("congrad", each) for each in (HALF, round(keep or 1, 1)) if each < 1}
    wanted = {("all", 1.0), *own} | {(ranking, share) for ranking in TITLES if ranking not in NOT_SHOWN}
    return [option for option in advice["options"] if (option["ranking"], option["share"]) in wanted]


def option_table(advice: Mapping[str, Any], keep: float | None = None) -> Table:
    """Gains compared with all pairs, in percent of their gain; where that is not clear of zero, as they are.

    Args:
        keep: the share that was kept, if it was one; the nearest of the options' is shown.
    """
    everything = advice["options"][0]["gains"]
    watched = everything["budget"].get("watched_mean")
    rows: list[list[Cell]] = []
    for option in matters(advice, keep):
        title = option["title"] if option["share"] == 1 else f"{option['title']}, {option['share']:.0%}"
        budget, equal = (_compared(option["gains"][name]["mean"], everything[name]["mean"]) for name in MEASURES)
        worst = option["gains"]["budget"]["worst"]
        language = advice["languages"][option["gains"]["budget"]["worst_language"]]
        least = f"{language} {_compared(worst, everything['budget']['mean'], whole=True)}"
        row = [title, Number(option["num_pairs"], "d"), budget, least, equal]
        if watched is not None:
            row.append(_compared(option["gains"]["budget"]["watched_mean"], watched))
        rows.append(row)
    titles = ["option", "pairs", "gain beside all [95%]", "worst language", "at equal step length"]
    return Table(columns(*titles, *(["watched"] if watched is not None else [])), rows)


def _compared(figure: Mapping[str, Any], everything: Mapping[str, Any], *, whole: bool = False) -> str:
    """The difference from all pairs with its interval, or the whole figure."""
    is_clear = everything["low"] > 0
    scale = 1 / everything["value"] if is_clear else 1
    ends = [figure[name] for name in ("delta", "delta_low", "delta_high")]
    shown = Number(figure["value"], ".0%" if is_clear else ".3g", scale, None, None, *ends)
    return str(shown) if whole else shown.difference()
