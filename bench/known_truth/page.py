"""The tables of what was measured, and what they are of."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.log import Row
from bench.markdown import markdown
from bench.where import origin
from congrad.consensus.findings import AGREE, CANNOT_TELL, CONFLICT

DATA = SIGNED, FEW, HALF, NAMED = "signs", "signs, few points", "signs and names", "names"
MEASURES = {"budget": "for the budget", "equal_length": "at equal step length"}
TEXT = """## A larger set with known truth

No training: what the advice makes of pairs whose conflicts are known. {languages} languages out of Unicode CLDR, half
of which write a decimal comma and half a decimal point; every prompt is in all of them. Asked for a number, a
percentage or an amount (*signs*), a language with a comma chooses the comma and rejects the point, and one with a point
does the reverse. Asked for the name of a country, a language or a currency (*names*), a language's mistake is another
name of its own, so nothing that one chooses is rejected in another. Four sets: *signs*; *signs, few points*, with all
languages that write a comma and five of those that write a point; *signs and names*, half of the prompts each; and
*names*. {prompts} prompts of each kind, {pairs:,} pairs. Gemma 3 270M (`gemma3-270m`), sketches as `congrad filter`
makes them, the budget of its advice (one epoch in batches of 32). Gains are predicted, to first order, and read on
prompts that are held out in all languages; their unit has no meaning of its own, and is the same within a measure.

{where}

<!-- not run: it takes half an hour -->
```sh
python -m bench.known_truth
```

**Are the conflicts found?** Pairs of languages, in percent, means over draws of prompts: those with different signs,
which conflict in *signs*, and those with the same sign, which agree there. *Effect* is the mean estimated cosine.

{conflicts}

**Are the groups right?** Two groups beside all languages together, two groups by the signs and random groups of the
sizes of those that were found; chosen and read by the same measure, outside the folds that chose them; the number of
groups that is chosen, and what the whole choosing gains over together. Means over draws; in brackets two standard
errors of one draw. The Rand index (adjusted; 1: the same division, 0: no more alike than by chance) is that of the two
groups that were found and the signs.

{divisions}

**What does one language do for another?** Gain from the pairs of one language alone, in brackets two standard errors.

{transfers}

**Does surgery earn its keep?** *A step along the consensus* of all pairs, after surgery and without it (the plain mean
of the languages), and *the pairs kept* by either, on whose plain mean the step is then taken, as a filter has it. In
brackets the 95% interval of the paired difference. The worst language is that with the least gain. The languages have
as many pairs each, so a step along the plain mean is what training on all pairs begins with.

{surgery}
"""


def tables(rows: Sequence[Row]) -> str:
    """The section of all that is done; empty where nothing is."""
    by_what: dict[str, list[Row]] = {}
    for row in rows:
        if "known_truth" in row["key"]:
            by_what.setdefault(row["key"]["known_truth"], []).append(row)
    if not by_what:
        return ""
    languages, prompts = max(row["languages"] for row in rows), max(row["key"]["prompts"] for row in rows)
    return TEXT.format(
        where=origin(rows),
        languages=languages,
        prompts=prompts,
        pairs=2 * prompts * languages,
        conflicts=_conflicts(by_what.get("conflicts", [])),
        divisions=_divisions(by_what.get("divisions", []), by_what.get("by_signs", [])),
        transfers=_transfers(by_what.get("transfers", [])),
        surgery=_surgery(by_what),
    ).rstrip()


def _of(rows: Iterable[Row], **key: Any) -> list[Row]:
    return [row for row in rows if all(row["key"][name] == value for name, value in key.items())]


def _conflicts(rows: Sequence[Row]) -> str:
    head = ["prompts of a language", "language pairs", AGREE, CANNOT_TELL, CONFLICT, "effect", "draws"]
    lines: list[list[Any]] = []
    for data in DATA:
        for size in sorted({row["key"]["prompts"] for row in _of(rows, data=data)}):
            own = _of(rows, data=data, prompts=size)
            for block in ("different", "same"):
                total = sum(own[0][block][verdict] for verdict in (AGREE, CANNOT_TELL, CONFLICT))
                found = [
                    f"{statistics.fmean(row[block][verdict] for row in own) / total:.1%}"
                    for verdict in (AGREE, CANNOT_TELL, CONFLICT)
                ]
                effects = [effect for row in own if not math.isnan(effect := row[block]["effect"])]
                effect = f"{statistics.fmean(effects):+.2f}" if effects else "not known"
                lines.append([data, str(size), f"{total} {block}", *found, effect, str(len(own))])
    return markdown(["set", *head], lines)


def _divisions(rows: Sequence[Row], by_signs: Sequence[Row]) -> str:
    head = ["prompts", "together", "two groups", "by the signs", "random", "Rand index", "over together", "chosen"]
    lines: list[list[Any]] = []
    for measure, words in MEASURES.items():
        for data in DATA:
            for size in sorted({row["key"]["prompts"] for row in _of(rows, data=data)}):
                own = [row[measure] for row in _of(rows, data=data, prompts=size)]
                of_signs = [row[measure]["value"] for row in _of(by_signs, data=data, prompts=size)]
                gains = [[each[name] for each in own] for name in ("together", "two", "random")]
                gains.insert(2, of_signs)
                figures = [f"{statistics.fmean(each):.3g}" if each else "" for each in gains]
                rand = f"{statistics.fmean(each['rand_index'] for each in own):.2f}"
                over, of_chosen = (
                    _means(each[name] for each in own) for name in ("over_together", "chosen_over_together")
                )
                groups = ", ".join(str(each["chosen"]) for each in own)
                recommended = f"{sum(each['recommended'] for each in own)} of {len(own)}"
                lines.append([words, data, str(size), *figures, rand, over, groups, of_chosen, recommended])
    return markdown(["measure", "set", *head, "its gain", "recommended"], lines)


def _transfers(rows: Sequence[Row]) -> str:
    blocks = ["itself", "same sign", "other sign"]
    lines = [
        [words, data, *(_with_error(row[measure][block]) if block in row[measure] else "" for block in blocks)]
        for measure, words in MEASURES.items()
        for data in DATA
        for row in _of(rows, data=data)
    ]
    return markdown(["measure", "set", *blocks], lines)


def _surgery(by_what: dict[str, list[Row]]) -> str:
    lines: list[list[Any]] = []
    for measure, words in MEASURES.items():
        for data in DATA:
            for row in _of(by_what.get("steps", []), data=data):
                lines.append([words, data, "step along it", *_beside(row[measure])])
            for row in _of(by_what.get("filters", []), data=data):
                shares = {share: each for share, each in row[measure].items() if share != "all"}
                lines += [[words, data, f"kept {float(share):.0%}", *_beside(each)] for share, each in shares.items()]
    names = ["surgery", "plain mean", "difference"]
    return markdown(["measure", "set", "what", *names, *(f"worst: {name}" for name in names)], lines)


def _beside(found: dict[str, Any]) -> list[str]:
    cells = []
    for figure in ("mean", "worst"):
        each = found[figure]
        low, high = each["interval"]
        cells += [f"{each[name]:.3g}" for name in ("surgery", "mean")]
        cells.append(f"{each['difference']:+.2g} [{low:+.2g}, {high:+.2g}]")
    return cells


def _means(figures: Iterable[dict[str, float]]) -> str:
    """Of several draws, the mean figure and the mean error."""
    found = list(figures)
    return _with_error({name: statistics.fmean(each[name] for each in found) for name in ("value", "error")}, "+.3g")


def _with_error(figure: dict[str, float], form: str = ".3g") -> str:
    return f"{figure['value']:{form}} [{2 * figure['error']:.2g}]"
