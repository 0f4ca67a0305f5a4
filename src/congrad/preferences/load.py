"""Load preference pairs from whatever `datasets` loads, or say in one line what is wrong with them and where."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from congrad.errors import UserError
from congrad.preferences.glance import glance
from congrad.preferences.names import check_names, require
from congrad.preferences.rows import Preferences, sample
from congrad.progress import SILENT, Listener, Progress
from congrad.settings.input import DEFAULT_LANGUAGE_COLUMN, Input
from congrad.settings.tree import FilterConfig
from congrad.sources.part import Part

if TYPE_CHECKING:
    import datasets


def glance_at_pairs(source: object, settings: Input) -> None:
    """Finds the commonest mistakes without `datasets`, in the words of `load_preferences`."""
    glance(source, settings, check_names)


def load_preferences(
    source: "str | Path | datasets.Dataset | datasets.DatasetDict",
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> Preferences:
    """Load and check preference pairs in any of TRL's layouts: standard, conversational, with or without `prompt`.

    Args:
        source: A JSON Lines, JSON, CSV, TSV, Parquet or Arrow file; a folder of them, read in the order of their
            names; a folder that `save_to_disk` wrote; the id of a hub dataset; or a dataset in memory. In a folder of
            `de.jsonl`, `en.jsonl` whose rows have no language column, the language is the file's name.
        on_progress: Called with how many rows have been checked, and of how many, after every file.
        settings: Of the section `input` but for its source: `split="test"`, `columns=Columns(language="lang")`.

    Raises:
        UserError: Anything that is wrong with the input: one line with file, line or row, column and fix.
    """
    place = str(source) if isinstance(source, str | Path) else "dataset"
    config = Input(source=place, **settings)
    glance_at_pairs(source, config)
    from congrad.preferences.check import check_pairs
    from congrad.preferences.languages import languages_of
    from congrad.sources.concatenate import concatenate
    from congrad.sources.read import quiet, read_parts

    parts = read_parts(source, config)
    for part in parts:
        check_names(part.dataset.column_names, part.source.name)
    named = languages_of(parts, config, place)
    done, total = 0, sum(len(part.rows) for part in parts)
    for part in parts:
        check_pairs(part)
        done += len(part.rows)
        on_progress(done, total)
    with quiet():
        dataset = concatenate(parts)
    return Preferences(
        dataset,
        config.columns.language or DEFAULT_LANGUAGE_COLUMN,
        [language for own in named.languages for language in own if language is not None],
        list(rows_of(parts)),
        tuple(part.source for part in parts),
        tuple(each for part in parts for each in part.left_out),
        tuple(dict.fromkeys([*(note for part in parts for note in part.notes), *named.notes])),
        named.tags,
    )


def rows_of(parts: Sequence[Part]) -> Iterator[int]:
    """The number of every row in the whole input, all sources one after the other."""
    before = 0
    for part in parts:
        yield from (before + row for row in part.rows)
        before += part.source.num_rows


def read_preferences(config: Input, listener: Listener = SILENT) -> Preferences:
    """The pairs of a configuration, checked, and of these a sample where it says so."""
    listener.on_stage("reading the pairs")
    settings = {name: value for name, value in vars(config).items() if name != "source"}

    def on_progress(done: int, total: int) -> None:
        listener.on_progress(Progress("reading the pairs", done, total, "rows"))

    preferences = load_preferences(config.source, on_progress=on_progress, **settings)
    for note in preferences.notes:
        listener.on_note(note)
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
