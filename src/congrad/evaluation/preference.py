"""Preference accuracy on held-out pairs: how often a model puts the chosen response above the rejected one, by

    implicit reward   log pi(y) - log ref(y) with M0 as ref (arXiv 2305.18290, eq. 5; beta changes no order): what the
                      rounds added. M0 itself is at 1/2 by definition, as all its rewards are 0.
    log-probability   log pi(y), summed over tokens: what the model would rather write. Longer is less probable.
    per token         its mean over tokens.

A tie counts half. Tokens are those that the trainer sees (`congrad.preferences`), by each model's own tokenizer. All
models are compared on the same pairs: those that every one of them can score.

Shapes: N pairs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from congrad.evaluation.intervals import Examples, Floats
from congrad.gradients.build import triples
from congrad.gradients.logps import Row, logged_logps
from congrad.preferences import Preferences, tokenise
from congrad.preferences.render import explicit
from congrad.preferences.rows import iterate
from congrad.stage import content_key

IMPLICIT, SUMMED, PER_TOKEN = "preference-implicit", "preference-summed", "preference-per-token"
METRICS = {
    IMPLICIT: "Preference accuracy, implicit reward against M0",
    SUMMED: "Preference accuracy, log-probability",
    PER_TOKEN: "Preference accuracy, log-probability per token",
}


@dataclass(frozen=True)
class PairLogps:
    """What a model says of N pairs, NaN where it cannot score one."""

    logps_N2: Floats  # of (chosen, rejected), summed over tokens
    tokens_N2: Floats  # how many they are


def measure_pairs(
    load: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    preferences: Preferences,
    path: Path,
    *,
    chat: bool = False,
    max_length: int = 1024,
    on_progress: Callable[[int], None] = lambda done: None,
) -> PairLogps:
    """Log-probabilities of both sides of every pair; continues from the rows that are in the log at `path`.

    `load` gives the model, frozen, where there is anything left to compute.
    """
    pairs = tokenise(preferences, tokenizer, chat=chat, max_length=max_length)
    usable = [position for position, reason in enumerate(pairs.reasons) if not reason]
    keys = [content_key(position) for position in usable]
    unusable = len(pairs) - len(usable)

    def rows(position: int, chosen: float, rejected: float) -> list[Row]:
        return [{"key": keys[position], "logps": [chosen, rejected]}]

    log = logged_logps(load, triples(pairs, usable), path, rows, lambda num_rows: on_progress(unusable + num_rows))
    logps_N2 = np.full((len(pairs), 2), np.nan)
    for position, key in zip(usable, keys, strict=True):
        logps_N2[position] = np.array(log[key]["logps"], dtype=float)  # null is NaN
    sides = zip(pairs.chosen_ids, pairs.rejected_ids, strict=True)
    tokens = [[len(chosen), len(rejected)] for chosen, rejected in sides]
    return PairLogps(logps_N2, np.array(tokens, dtype=float).reshape(-1, 2))


def accuracies(
    found: Mapping[str, PairLogps], initial: str, preferences: Preferences
) -> dict[str, dict[str, dict[str, Examples]]]:
    """What `METRICS` names, by metric, model and language; `initial` is M0's name."""
    clusters = [content_key(explicit(row)[0]) for row in iterate(preferences.dataset)]  # the prompts
    languages = np.array(preferences.languages)
    there_N = scored_by_all(found)
    reference = found[initial]
    result: dict[str, dict[str, dict[str, Examples]]] = {metric: {} for metric in METRICS}
    for name, model in found.items():
        for metric, side_N2 in (
            (IMPLICIT, model.logps_N2 - reference.logps_N2),
            (SUMMED, model.logps_N2),
            (PER_TOKEN, model.logps_N2 / np.maximum(model.tokens_N2, 1)),
        ):
            right_N = (1 + np.sign(side_N2[:, 0] - side_N2[:, 1])) / 2
            result[metric][name] = {
                language: Examples.of(right_N[rows].tolist(), [clusters[row] for row in rows])
                for language in sorted(set(preferences.languages))
                if len(rows := np.flatnonzero(there_N & (languages == language)))
            }
    return result


def scored_by_all(found: Mapping[str, PairLogps]) -> npt.NDArray[np.bool_]:
    """Which pairs every model can score (N)."""
    finite = [np.isfinite(model.logps_N2).all(axis=1) for model in found.values()]
    there_N: npt.NDArray[np.bool_] = np.logical_and.reduce(finite)
    return there_N
