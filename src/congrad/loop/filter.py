"""The stage `filter` of a round: the filter of `congrad filter`, or a baseline, at the round's model.

Length limit, loss and reference are those of the training that follows, taken from `train` and `rounds`: what is scored
is what is trained.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from congrad.errors import UserError
from congrad.filtering.baselines import Baseline, filter_baseline
from congrad.filtering.run import filter_preferences
from congrad.gradients.index import INDEX, open_index
from congrad.progress import Listener
from congrad.settings.consensus import Loss
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig, RunConfig
from congrad.stage import is_finished
from congrad.training.loss import max_length, normalise, preference_loss

LOSSLESS = ("none", "random")


def filter_config(config: RunConfig, method: str, pairs: Path, model: Model) -> FilterConfig:
    """The filter's configuration for a round's pairs.

    Args:
        method: `none` and `random` know no loss.
        model: M_t. M_0 is its reference where `rounds.reference` says so and M_t is another.

    Raises:
        UserError: a number is out of range, or the loss is not known to the filter.
    """
    loss = Loss() if method in LOSSLESS else preference_loss(config.train, config.rounds)
    initial = config.model
    if config.rounds.reference == "initial" and initial != model:
        if initial.adapter is not None or initial.revision is not None:
            raise UserError(
                "is loaded by its name alone, without model.adapter and model.revision",
                "save M0 as a directory and name that",
                key="rounds.reference",
                value="initial",
            )
        model = replace(model, reference=initial.name)
    return FilterConfig(
        input=Input(str(pairs), max_length=max_length(config.train)),
        model=model,
        index=replace(config.index, normalise=normalise(loss)),
        loss=loss,
        consensus=config.consensus,
        selection=config.selection,
    )


def filter_round(
    config: RunConfig,
    method: str,
    pairs: Path,
    model: Model,
    output: Path,
    *,
    index: Path | None,
    listener: Listener,
) -> None:
    """Filters a round's pairs into a run directory as `congrad filter` writes it; returns at once where that is done.

    Args:
        method: one of `congrad.settings.tree.METHODS`.
        model: M_t.
        index: of the same pairs at the same model, where another arm has built one: its log-probabilities are taken.

    Raises:
        UserError: as `filter_preferences` and `filter_baseline`.
    """
    wanted = filter_config(config, method, pairs, model)
    if method == "congrad":
        if not (output / "manifest.json").is_file():
            filter_preferences(wanted, output, settled=True, listener=listener)
        return
    baseline = Baseline(
        method=cast("Any", method), selection=config.selection, loss=wanted.loss, seed=config.consensus.seed
    )
    shared = open_index(index) if index is not None and is_finished(index, INDEX) else None
    filter_baseline(baseline, wanted.input, wanted.model, output, index=shared, listener=listener)
