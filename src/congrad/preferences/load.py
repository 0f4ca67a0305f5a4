"""Load preference pairs from whatever `datasets` loads, or say in one line what is wrong with them and where."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from congrad.errors import UserError
from congrad.preferences.as_is import is_written_here, take_as_is
from congrad.preferences.bad_rows import in_words, settle
from congrad.preferences.glance import glance
from congrad.preferences.layout import Kind, find_layout
from congrad.preferences.names import Fields, require
from congrad.preferences.rows import TEMPLATE_COLUMNS, Preferences, sample
from congrad.progress import SILENT, Listener, Progress
from congrad.settings.input import Input
from congrad.settings.tree import FilterConfig
from congrad.sources.part import Part
from congrad.words import quote

if TYPE_CHECKING:
    import datasets


def glance_at_pairs(source: object, settings: Input) -> None:
    """Finds the commonest mistakes without `datasets`, in the words of `load_preferences`."""
    glance(source, settings, partial(check_columns, settings=settings))


def check_columns(columns: Mapping[str, Kind], name: str, settings: Input) -> Fields:
    """Check that the columns of preference pairs are there in a source of a name.

    Returns:
        Nothing: rows are checked later, all together.
    """
    find_layout(columns, name, settings)
    return []


def load_preferences(
    source: "str | Path | datasets.Dataset | datasets.DatasetDict",
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    as_is: bool = False,
    **settings: Any,
) -> Preferences:
    """Load and check preference pairs in any of TRL's layouts: standard, conversational, with or without `prompt`.

    Args:
        source: A JSON Lines, JSON, CSV, TSV, Parquet or Arrow file; a folder of them, read in the order of their
            names; a folder that `save_to_disk` wrote; the id of a hub dataset; or a dataset in memory. In a folder of
            `de.jsonl`, `en.jsonl` whose rows have no language column, the language is the file's name.
        on_progress: Called with how many rows have been checked, and of how many, after every file.
        as_is: Take `prompt`, `chosen` and `rejected` to the letter: no other layout is looked for, no text is read as
            messages and no prompt is cut. So are the files of a run or a stage read anyway.
        settings: Of the section `input` but for its source: `split="test"`, `columns=Columns(language="lang")`.

    Raises:
        UserError: Anything that is wrong with the input: one line with file, line or row, column and fix.
    """
    place = str(source) if isinstance(source, str | Path) else "dataset"
    config = Input(source=place, **settings)
    as_is = as_is or is_written_here(source, config)
    if not as_is:
        glance_at_pairs(source, config)
    from congrad.preferences.check import without_language
    from congrad.preferences.languages import languages_of
    from congrad.preferences.pairs import find_pairs, without
    from congrad.sources.concatenate import concatenate
    from congrad.sources.read import quiet, read_parts

    total = 0

    def tell(done: int) -> None:
        on_progress(done, total)

    parts = read_parts(source, config)
    total = sum(len(part.rows) for part in parts)
    with quiet():
        parts = take_as_is(parts, tell) if as_is else find_pairs(parts, config, tell)
    named = languages_of(parts, config, place)
    parts = [
        without(part, without_language(part.dataset, named.column, own))
        for part, own in zip(parts, named.languages, strict=True)
    ]
    settle(parts, config)
    left = [each for part in parts for each in part.left_out]
    if left and not any(len(part.dataset) for part in parts):
        fix = left[0].mistake.fix if len(left) == 1 else "fix these rows, or name other data"
        raise UserError(f"no pair is left ({in_words(left)})", fix, at=place)
    if left:
        named = replace(named, notes=(*named.notes, f"{len(left):,} rows are left out ({in_words(left)})"))
    with quiet():
        dataset = concatenate(parts)
    return Preferences(
        dataset,
        named.column,
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
    ignored = [
        column for column in TEMPLATE_COLUMNS if column in config.ignore and column in preferences.dataset.column_names
    ]
    if ignored and preferences.conversational:
        problem = (
            f"column {quote(ignored[0])} of conversations is rendered by their template, and cannot be left unread"
        )
        raise UserError(problem, "remove the column", key="input.ignore")
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
