"""The filter, end to end: a preference dataset in, a run directory out.

One pair's way is: read (`preferences.load`), tokenised and sketched (`gradient_pass`), scored, selected and written
(`conclude`). A re-filter leaves out the middle: the sketches are there.

Settings and data are read and checked before PyTorch is imported, which takes seconds: a mistake in them is said at
once. So this module imports nothing heavy; what comes after the reading is imported then.
"""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from congrad.errors import UserError
from congrad.filtering.directory import RUN
from congrad.models.ranks import is_first
from congrad.preferences.load import read_preferences, read_watched
from congrad.progress import SILENT, Listener
from congrad.settings.advice import Advice
from congrad.settings.consensus import Consensus, Loss
from congrad.settings.input import Bounds
from congrad.settings.selection import Selection
from congrad.settings.tree import FilterConfig
from congrad.stage import alone, damaged

if TYPE_CHECKING:
    from congrad.filtering.conclude import FilterResult


def filter_preferences(
    config: FilterConfig,
    output: str | Path,
    *,
    dry_run: bool = False,
    settled: bool = False,
    listener: Listener = SILENT,
) -> "FilterResult | None":
    """Builds the gradient index of a dataset (or continues it), scores, selects and writes the run.

    Args:
        dry_run: stop at the estimate, and write nothing.
        settled: the dtype is that of a whole loop, chosen and shown before.
        listener: hears of every stage and count.

    Returns:
        None after a dry run, and on every rank but the first.

    Raises:
        UserError: whatever is wrong with the input, the model, the settings or the place to write.
    """
    output = Path(output)
    config.check()
    started = time.monotonic()
    with alone(output, RUN) if is_first() and not dry_run else nullcontext():
        preferences = read_preferences(config.input, listener)
        watched = read_watched(config, preferences, listener)
        listener.on_stage("starting PyTorch")
        from congrad.filtering.conclude import conclude
        from congrad.filtering.gradient_pass import make_indexes
        from congrad.filtering.watch import finish_watch, place_of

        wanted = [(preferences, output / "index")]
        if watched is not None:
            wanted.append((watched, place_of(watched, output)))
        indexes = make_indexes(config, wanted, listener, dry_run=dry_run, settled=settled)
        if indexes is None:
            return None
        index, *others = indexes
        watch = finish_watch(config, preferences, watched, others[0]) if watched is not None else None
        seconds = {"index": round(time.monotonic() - started, 3)}
        return conclude(config, preferences, index, output, seconds, listener, watch)


def refilter(
    run: str | Path,
    *,
    loss: Loss | None = None,
    consensus: Consensus | None = None,
    selection: Selection | None = None,
    advice: Advice | None = None,
    bounds: Bounds | None = None,
    output: str | Path | None = None,
    listener: Listener = SILENT,
) -> "FilterResult":
    """Re-filters a finished run from its index: no model is loaded. What is not given has its default.

    Args:
        run: directory of a finished run.
        bounds: of its data; those that the run was made with are not taken, since it may come from a stranger.
        output: another directory for the results; None replaces those in `run`.

    Raises:
        UserError: the run is unfinished, its data has changed, or the settings do not fit its index.
    """
    run = Path(run)
    started = time.monotonic()
    from congrad.filtering.finished import stored_config, watch_place

    config, index_path, old = stored_config(run)
    watch_path = watch_place(run, old)
    for path in filter(None, (index_path, watch_path)):
        if not path.resolve().is_relative_to(run.resolve()):  # as of a run that was filtered again elsewhere
            listener.on_note(f"the index of {run} lies elsewhere: {path.resolve()}")
    config = replace(
        config,
        input=replace(config.input, bounds=bounds or Bounds()),
        loss=loss or Loss(),
        consensus=consensus or Consensus(),
        selection=selection or Selection(),
        advice=replace(advice or Advice(), watch=config.advice.watch),
    )
    config.check()
    target = run if output is None else Path(output)
    with alone(target, RUN):
        if target.resolve() != run.resolve() and (target / "index").exists():
            raise UserError(f"{target} is another run, with an index of its own", "choose another output directory")
        preferences = read_preferences(config.input, listener)
        if preferences.fingerprint != old["data_fingerprint"]:
            problem = f"{config.input.source} has changed since {run} was made"
            raise UserError(problem, "filter it again into another output directory")
        seconds = {"read": round(time.monotonic() - started, 3)}
        listener.on_stage("starting PyTorch")
        from congrad.filtering.conclude import conclude
        from congrad.filtering.watch import open_watch
        from congrad.gradients.index import INDEX, SAME_FILES, open_index, read_plan

        plan = read_plan(index_path, SAME_FILES)
        if plan is not None and plan["num_rows"] != len(preferences):
            problem = f"num_rows {plan['num_rows']} should be {len(preferences)}, as {config.input.source} has rows"
            raise damaged(index_path / INDEX.first, problem, "filter it again into another output directory")
        index = open_index(index_path)
        watch = None if watch_path is None else open_watch(watch_path, index, config)
        return conclude(config, preferences, index, target, seconds, listener, watch)
