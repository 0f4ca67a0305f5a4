"""How far the ranking depends on which prompts there were: the error of sampling, which compression has no part in.

Every pair is scored twice more, against the consensus of either half of the prompts outside its fold. Two halves that
know nothing of each other agree as far as there is something to agree on: where their scores correlate by r, the scores
of all prompts together correlate by about sqrt(2 r / (1 + r)) with those that endlessly many prompts would give (the
Spearman-Brown formula), and two halves of the kept pairs are the same as far as that says.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from congrad.filtering.fidelity import spearman, whole_of_halves
from congrad.filtering.score import ScoredRows
from congrad.selection.keep import select
from congrad.settings.selection import Selection

NOTHING: dict[str, Any] = {
    "pairs": 0,
    "half_spearman": None,
    "estimated_spearman": None,
    "kept_by_both": None,
    "kept_by_chance": None,
}


def ranking_stability(scored: ScoredRows, selection: Selection) -> dict[str, Any]:
    """What the two halves of the prompts say of the ranking and of the kept pairs.

    Returns:
        `pairs` compared; `half_spearman`, the rank correlation of their scores (within the languages, averaged by their
        pairs, where the selection is by language); `estimated_spearman`, of all prompts together with endlessly many;
        `kept_by_both`, the share of what one half keeps that the other keeps too; `kept_by_chance`, that share were the
        halves unrelated. None where it is not known: without folds, or with fewer than 8 pairs.
    """
    half_N2 = np.full((scored.rows.num_rows, 2), np.nan, dtype=np.float32)
    half_N2[scored.position_P] = scored.detail.half_score_P2.numpy()
    one_N, other_N = torch.from_numpy(half_N2).T.contiguous()
    both_N = one_N.isfinite() & other_N.isfinite()
    if both_N.sum() < 8:
        return NOTHING
    language_N = scored.language_N
    whole = selection.scope == "global" or selection.min_score is not None
    parts = [both_N] if whole else [both_N & (language_N == code) for code in range(len(scored.languages))]
    found = [(int(part_N.sum()), spearman(one_N[part_N], other_N[part_N])) for part_N in parts]
    known = [(size, r) for size, r in found if not math.isnan(r)]
    if not known:
        return NOTHING
    r = sum(size * r for size, r in known) / sum(size for size, _ in known)
    kept = [select(score_N, language_N, **asdict(selection)) & both_N for score_N in (one_N, other_N)]
    sizes = [int(keep_N.sum()) for keep_N in kept]
    same = int((kept[0] & kept[1]).sum()) / max(1, sum(sizes) / 2)
    return {
        "pairs": int(both_N.sum()),
        "half_spearman": round(r, 4),
        "estimated_spearman": round(whole_of_halves(r), 4),
        "kept_by_both": round(same, 4),
        "kept_by_chance": round(sum(sizes) / 2 / int(both_N.sum()), 4),
    }


def stability_in_words(found: dict[str, Any]) -> str:
    """ "" where nothing is known."""
    if found.get("half_spearman") is None:
        return ""
    return (
        f"stability: two halves of the prompts rank the pairs with a Spearman of {found['half_spearman']:.2f} and keep "
        f"{found['kept_by_both']:.0%} of the same pairs ({found['kept_by_chance']:.0%} by chance); all prompts "
        f"together would rank like endlessly many of them with about {found['estimated_spearman']:.2f}"
    )
