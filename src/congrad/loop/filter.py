"""The stage `filter` of a round: the filter of `congrad filter`, or a baseline, at the round's model.

Length limit, loss and reference are those of the training that follows, taken from `train` and `rounds`: what is scored
is what is trained.
"""

from pathlib import Path
from typing import Any, cast

from congrad.filtering.baselines import Baseline, filter_baseline
from congrad.filtering.run import filter_preferences
from congrad.gradients.index import INDEX, open_index
from congrad.loop.check import filter_config
from congrad.progress import Listener
from congrad.settings.model import Model
from congrad.settings.tree import RunConfig
from congrad.stage import is_finished


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
