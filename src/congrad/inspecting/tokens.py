"""What a model's tokenizer makes of the pairs: tokens, cuts and rows that will not be scored, on a sample."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from congrad.evaluation.intervals import wilson
from congrad.inspecting.summary import CONFIDENCE, lengths
from congrad.preferences.rows import Preferences, sample
from congrad.settings.input import Input

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = 2000
UNCUT = 2**30  # tokens; longer than any pair


def look_at_tokens(
    preferences: Preferences, tokenizer: "PreTrainedTokenizerBase", settings: Input, *, everything: bool = False
) -> dict[str, Any]:
    """Tokens as they are scored, on a sample that is stratified by language.

    Shares have Wilson's intervals at 95%, as of a plain sample: strata in proportion make them only wider than need
    be. Of all rows a share is exact and has none.
    """
    from congrad.preferences.tokenise import tokenise

    drawn = preferences if everything else sample(preferences, SAMPLE, settings.seed)
    whole = len(drawn) == len(preferences)
    full = tokenise(drawn, tokenizer, chat=settings.chat, max_length=UNCUT)
    cut = tokenise(drawn, tokenizer, chat=settings.chat, max_length=settings.max_length)
    sides = zip(full.prompt_ids, full.chosen_ids, full.rejected_ids, strict=True)
    tokens_N = np.array([len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in sides])
    language_N = np.array(drawn.languages, dtype=object)
    unscored_N = np.array([reason != "" for reason in cut.reasons], dtype=bool)

    def figures(mask_N: Any) -> dict[str, Any]:
        own_N = tokens_N[mask_N]
        return {
            "pairs": len(own_N),
            "tokens": lengths(own_N),
            "cut": _share(int((own_N > settings.max_length).sum()), len(own_N), whole),
            "not_scored": _share(int(unscored_N[mask_N].sum()), len(own_N), whole),
        }

    return {
        "rows": len(drawn),
        "of": len(preferences),
        "max_length": settings.max_length,
        "confidence": None if whole else CONFIDENCE,
        "languages": {name: figures(language_N == name) for name in sorted(set(drawn.languages))},
        "all": figures(np.ones(len(drawn), dtype=bool)),
        "not_scored": dict(Counter(reason for reason in cut.reasons if reason).most_common()),
    }


def _share(count: int, of: int, whole: bool) -> dict[str, float | None]:
    low, high = (None, None) if whole else wilson(count / of, of, CONFIDENCE)
    return {"share": count / of, "low": low, "high": high}
