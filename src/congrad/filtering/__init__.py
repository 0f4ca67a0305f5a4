"""The filter: preference pairs and a model in, the pairs that the languages agree on out."""

from congrad.filtering.run import (
    FilterConfig,
    FilterResult,
    Input,
    Listener,
    Model,
    Selection,
    filter_preferences,
    refilter,
)
from congrad.filtering.score import ScoredRows, score

__all__ = [
    "FilterConfig",
    "FilterResult",
    "Input",
    "Listener",
    "Model",
    "ScoredRows",
    "Selection",
    "filter_preferences",
    "refilter",
    "score",
]
