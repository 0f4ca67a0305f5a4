"""From measured rows to the figures of `congrad inspect`, as data. Shapes: N rows, S sides."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from congrad.evaluation.intervals import wilson
from congrad.inspecting.measure import SIDES, Measured
from congrad.preferences.prompt_ids import ID_COLUMNS, MIN_LINES, count_shared, prompt_ids, tells_prompts_apart
from congrad.preferences.rows import Preferences

MOST_PLACES = 5
CONFIDENCE = 0.95
TELLING = 0.8  # share of pairs whose label the length alone gives, from which it is worth a word
Numbers = npt.NDArray[np.int64]


def summarise(
    preferences: Preferences, measured: Measured, group: str | None, languages: str = "auto"
) -> dict[str, Any]:
    """All figures, ready for JSON.

    Args:
        languages: the setting `input.languages`.
    """
    usable, unusable = len(preferences), len(preferences.left_out)
    return {
        "rows": usable + unusable,
        "pairs": usable,
        "kind": "conversations" if usable and preferences.conversational else "text",
        "sources": [{"name": source.name, "rows": source.num_rows} for source in preferences.sources],
        "columns": list(preferences.dataset.column_names),
        "language_column": preferences.language_column,
        "detected": languages == "detect",
        "tags": dict(preferences.tags),
        "notes": list(preferences.notes),
        "languages": {
            name: of_rows(measured, np.flatnonzero(measured.language_N == number))
            for number, name in enumerate(measured.names)
        },
        "all": of_rows(measured, np.arange(usable)),
        "left_out": left_out(preferences),
        "repeated": found(preferences, repeated(measured.text_NS)),
        "contradicting": found(preferences, contradicting(measured.text_NS)),
        "identical_sides": found(preferences, np.flatnonzero(measured.text_NS[:, 1] == measured.text_NS[:, 2])),
        "shared_prompts": shared(preferences, measured, group),
    }


def of_rows(measured: Measured, rows: Numbers) -> dict[str, Any]:
    """Figures of some rows: lengths, and what a response's length says of the label."""
    length_NS = measured.length_NS[rows]
    longer = int((length_NS[:, 1] > length_NS[:, 2]).sum())
    unequal = int((length_NS[:, 1] != length_NS[:, 2]).sum())
    low, high = wilson(longer / unequal, unequal, CONFIDENCE) if unequal else (None, None)
    return {
        "pairs": len(rows),
        "characters": {side: lengths(length_NS[:, number]) for number, side in enumerate(SIDES)},
        "chosen_longer": {"share": longer / unequal if unequal else None, "low": low, "high": high, "count": unequal},
        "mean_difference": float((length_NS[:, 1] - length_NS[:, 2]).mean()) if len(rows) else None,
        "length_tells": None if low is None or high is None else bool(low > TELLING or high < 1 - TELLING),
    }


def lengths(length_N: Numbers) -> dict[str, int] | None:
    """Median, 95% and longest; None of no rows."""
    if not len(length_N):
        return None
    median, most = np.quantile(length_N, (0.5, 0.95), method="higher")
    return {"median": int(median), "p95": int(most), "longest": int(length_N.max())}


def repeated(text_NS: Numbers) -> Numbers:
    """Rows whose prompt and sides stand in an earlier row, too."""
    first_N = np.unique(text_NS, axis=0, return_index=True)[1]
    return np.setdiff1d(np.arange(len(text_NS)), first_N)


def contradicting(text_NS: Numbers) -> Numbers:
    """Rows whose sides stand in another row of the same prompt the other way round."""
    differing = np.flatnonzero(text_NS[:, 1] != text_NS[:, 2])
    both = np.concatenate([text_NS[differing], text_NS[differing][:, [0, 2, 1]]])
    code = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    return differing[np.isin(code[: len(differing)], code[len(differing) :])]


def found(preferences: Preferences, positions: Numbers) -> dict[str, Any]:
    """How many rows, in which languages, and where the first are."""
    languages = Counter(preferences.languages[position] for position in positions.tolist())
    return {
        "count": len(positions),
        "languages": dict(languages.most_common()),
        "first": _places(preferences.where(position) for position in positions[:MOST_PLACES].tolist()),
    }


def left_out(preferences: Preferences) -> list[dict[str, Any]]:
    """Rows that cannot be used, by their reason: the most frequent first."""
    by_reason: dict[str, list[Any]] = {}
    for each in preferences.left_out:
        by_reason.setdefault(each.mistake.reason, []).append(each)
    return [
        {
            "reason": reason,
            "count": len(rows),
            "is_bad": rows[0].mistake.is_bad,
            "first": _places(row.spot for row in rows[:MOST_PLACES]),
        }
        for reason, rows in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]


def _places(spots: Iterable[Any]) -> list[str]:
    return [str(spot) for spot in spots]


def shared(preferences: Preferences, measured: Measured, group: str | None) -> dict[str, Any]:
    """Prompts of several languages, by the ids of a column, by their text or, perhaps, line by line.

    Whether lines are parallel is decided by their gradients, when pairs are filtered: an equal number is a hint.
    """
    prompt_N = np.unique(measured.text_NS[:, 0], return_inverse=True)[1]
    named = [group] if group is not None else [name for name in ID_COLUMNS if name in preferences.dataset.column_names]
    for name in named:
        key_N = np.unique(np.array(prompt_ids(preferences, name, tagged=group is None)), return_inverse=True)[1]
        if group is not None or tells_prompts_apart(key_N, prompt_N, measured.language_N):
            count = count_shared(key_N, measured.language_N)
            if count:
                return {"count": count, "by": name, "perhaps_lines": None}
    count = count_shared(prompt_N, measured.language_N) if len(prompt_N) else 0
    sizes = np.bincount(measured.language_N) if len(prompt_N) else np.zeros(0)
    parallel = len(sizes) > 1 and sizes.min() == sizes.max() >= MIN_LINES and not preferences.left_out
    return {"count": count, "by": "text", "perhaps_lines": int(sizes[0]) if parallel else None}
