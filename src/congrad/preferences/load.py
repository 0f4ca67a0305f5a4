"""Load preference pairs from whatever `datasets` loads, or say in one line what is wrong with them and where."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from congrad.errors import UserError
from congrad.preferences.glance import glance
from congrad.preferences.names import check_names, require
from congrad.preferences.rows import Preferences, sample
from congrad.progress import SILENT, Listener, Progress
from congrad.settings.input import DEFAULT_LANGUAGE_COLUMN, Bounds, Input
from congrad.settings.tree import FilterConfig

if TYPE_CHECKING:
    import datasets


def glance_at_pairs(source: object, split: str, language_column: str, bounds: Bounds | None = None) -> None:
    """Finds the commonest mistakes without `datasets`, in the words of `load_preferences`."""
    glance(source, split, language_column, check_names, bounds or Bounds())


def load_preferences(
    source: "str | Path | datasets.Dataset | datasets.DatasetDict",
    *,
    split: str = "train",
    language_column: str = DEFAULT_LANGUAGE_COLUMN,
    bounds: Bounds | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Preferences:
    """Load and check preference pairs in any of TRL's layouts: standard, conversational, with or without `prompt`.

    Args:
        source: A JSON Lines, JSON, CSV, TSV, Parquet or Arrow file; a folder of them, read in the order of their
            names; a folder that `save_to_disk` wrote; the id of a hub dataset; or a dataset in memory. In a folder of
            `de.jsonl`, `en.jsonl` whose rows have no language column, the language is the file's name.
        split: The split to read, where the source has several.
        language_column: The column that groups the rows. Integers and class labels will do.
        bounds: What the data may ask of memory and time; None for the defaults.
        on_progress: Called with how many rows have been checked, and of how many, after every file.

    Raises:
        UserError: Anything that is wrong with the input: one line with file, line or row, column and fix.
    """
    bounds = bounds or Bounds()
    glance_at_pairs(source, split, language_column, bounds)
    from congrad.preferences.check import check_pairs
    from congrad.sources.concatenate import concatenate
    from congrad.sources.read import quiet, read_checked

    parts, languages = read_checked(source, split, language_column, check_pairs, bounds, on_progress=on_progress)
    with quiet():
        dataset = concatenate(parts)
    sources = tuple(part for part, _ in parts)
    return Preferences(dataset, language_column, languages, list(range(len(dataset))), sources)


def read_preferences(config: Input, listener: Listener = SILENT) -> Preferences:
    """The pairs of a configuration, checked, and of these a sample where it says so."""
    listener.on_stage("reading the pairs")
    preferences = load_preferences(
        config.source,
        split=config.split,
        language_column=config.columns.language,
        bounds=config.bounds,
        on_progress=lambda done, total: listener.on_progress(Progress("reading the pairs", done, total, "rows")),
    )
    if config.columns.group is not None:
        require(preferences.dataset.column_names, config.source, config.columns.group, "input.columns.group")
    return preferences if config.limit is None else sample(preferences, config.limit, config.seed)


def read_watched(config: FilterConfig, preferences: Preferences, listener: Listener = SILENT) -> Preferences | None:
    """The watched pairs, read as the others are but for the column of their prompts; None where there are none.

    Raises:
        UserError: what is wrong with them, by the key `advice.watch`; or they are the pairs of the data themselves.
    """
    if config.advice.watch is None:
        return None
    with of_the_watched(config):
        columns = replace(config.input.columns, group=None)
        watched = read_preferences(replace(config.input, source=config.advice.watch, columns=columns), listener)
        if watched.fingerprint == preferences.fingerprint:
            raise UserError(f"holds the pairs of {config.input.source} itself", "name pairs that are not trained on")
        return watched


@contextmanager
def of_the_watched(config: FilterConfig) -> Iterator[None]:
    """Errors that leave the block are said of the watched pairs."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error), key="advice.watch", value=config.advice.watch) from error
