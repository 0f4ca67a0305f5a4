"""ConGrad: filter multilingual preference data by the update direction that the languages agree on.

Three calls from a notebook, each usable alone (everything below is imported when it is first asked for):

    pairs = tokenise(load_preferences("pairs/"), load_tokenizer("gemma3-270m"))
    index = build_index(load_model("gemma3-270m"), pairs, "runs/x/index")
    scored = score(index)
    keep = select(scored.score_N, scored.language_N, keep=0.5)
"""

import importlib
from typing import Any

PUBLIC = {
    "congrad.errors": ["UserError"],
    "congrad.preferences": ["Preferences", "TokenisedPairs", "load_preferences", "sample", "tokenise"],
    "congrad.models.load": ["load_model", "load_tokenizer"],
    "congrad.gradients": ["GradientIndex", "PassSettings", "build_index", "open_index"],
    "congrad.consensus": ["Consensus", "Loss", "score_pairs"],
    "congrad.filtering": ["FilterConfig", "Input", "Model", "Selection", "filter_preferences", "refilter", "score"],
    "congrad.selection": ["select"],
}
MODULE_OF = {name: module for module, names in PUBLIC.items() for name in names}
__all__ = sorted(MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
