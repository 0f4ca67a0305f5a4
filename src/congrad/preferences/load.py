"""Load preference pairs from whatever `datasets` loads, or say in one line what is wrong with them and where."""

import glob
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow as pa

from congrad.errors import UserError
from congrad.preferences.check import check_columns, check_rows
from congrad.preferences.columns import concatenate
from congrad.preferences.dates import with_dates_as_text
from congrad.preferences.files import DEFAULT_LANGUAGE_COLUMN, LOADERS, check_hub_id, data_files, is_saved
from congrad.preferences.locate import (
    COMPRESSIONS,
    CSV_SUFFIXES,
    explain,
    one_line,
    quote,
    suffix,
)
from congrad.preferences.rows import TEXT_COLUMNS, Preferences, Source, sample

__all__ = ["Preferences", "load_preferences", "sample"]

# What `datasets` raises, wrapped or bare, when it cannot read a file (StopIteration: an empty JSON file).
READ_ERRORS = (
    datasets.exceptions.DatasetsError,
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    StopIteration,
)
LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")

Parts = list[tuple[Source, datasets.Dataset]]


def load_preferences(
    source: str | Path | datasets.Dataset | datasets.DatasetDict,
    *,
    split: str = "train",
    language_column: str = DEFAULT_LANGUAGE_COLUMN,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Preferences:
    """Load and check preference pairs in any of TRL's layouts: standard, conversational, with or without `prompt`.

    Args:
        source: A JSON Lines, JSON, CSV, TSV, Parquet or Arrow file; a folder of them, read in the order of their
            names; a folder that `save_to_disk` wrote; the id of a hub dataset; or a dataset in memory. In a folder of
            `de.jsonl`, `en.jsonl` whose rows have no language column, the language is the file's name.
        split: The split to read, where the source has several.
        language_column: The column that groups the rows. Integers and class labels will do.
        on_progress: Told how many rows have been checked, and of how many, after every file.

    Raises:
        UserError: Anything that is wrong with the input: one line with file, line or row, column and mend.
    """
    parts, languages = read_checked(source, split, language_column, check_pairs, on_progress=on_progress)
    with _quiet():
        dataset = concatenate(parts)
    sources = tuple(part for part, _ in parts)
    return Preferences(dataset, language_column, languages, list(range(len(dataset))), sources)


def check_pairs(dataset: datasets.Dataset, part: Source, language_column: str | None) -> list[str] | None:
    check_columns(dataset, part, language_column)
    return check_rows(dataset, part.where, language_column)


def read_checked(
    source: str | Path | datasets.Dataset | datasets.DatasetDict,
    split: str,
    language_column: str,
    check: Callable[[datasets.Dataset, Source, str | None], list[str] | None],
    text_columns: Sequence[str] = TEXT_COLUMNS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Parts, list[str]]:
    """Read all that `source` holds, file by file, and the language of every row.

    Args:
        source: As for `load_preferences`, as the rest.
        check: Checks a file's rows and reads their languages from the named column; None and None where the
            languages are the files' names.
        text_columns: What a CSV file holds as text, whatever it looks like.
        on_progress: Told how many rows have been checked, and of how many, after every file.

    Raises:
        UserError: What cannot be read, an empty file, and what `check` finds.
    """
    with _quiet():
        parts = _read(source, split, text_columns)
    languages_from_names = language_column == DEFAULT_LANGUAGE_COLUMN and _named_by_language(source, parts)
    column = None if languages_from_names else language_column
    languages: list[str] = []
    total = sum(len(dataset) for _, dataset in parts)
    for part, dataset in parts:
        if not len(dataset):
            raise UserError(f"{part.name}: no rows; fill it or leave it out")
        found = check(dataset, part, column)
        languages += [_stem(part.name)] * len(dataset) if found is None else found
        on_progress(len(languages), total)
    return parts, languages


def _read(
    source: str | Path | datasets.Dataset | datasets.DatasetDict, split: str, text_columns: Sequence[str]
) -> Parts:
    if isinstance(source, datasets.Dataset | datasets.DatasetDict):
        return [_part("dataset", _pick(source, split, "dataset"))]
    path = Path(source)
    if path.is_file():
        if split != "train":
            raise UserError(f"{path}: a file has no split {quote(split)}; leave the split out")
        return [_load_file(path, text_columns)]
    if is_saved(path):
        try:
            saved = datasets.load_from_disk(str(path))
        except READ_ERRORS as error:
            raise UserError(f"{path}: cannot be read as a saved dataset ({one_line(error)}); save it again") from error
        return [_part(str(path), _pick(saved, split, str(path)))]
    if path.is_dir():
        return [_load_file(file, text_columns) for file in _list_folder(path, split)]
    check_hub_id(source)
    return [_load_from_hub(str(source), split)]


def _part(name: str, dataset: datasets.Dataset) -> tuple[Source, datasets.Dataset]:
    return Source(name, len(dataset)), dataset.with_format(None)


def _pick(found: datasets.Dataset | datasets.DatasetDict, split: str, name: str) -> datasets.Dataset:
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise UserError(
                f"{name}: no split {quote(split)}; there are {', '.join(quote(str(name)) for name in found)}"
            )
        return found[split]
    if split not in ("train", str(found.split)):
        raise UserError(f"{name}: a single dataset has no split {quote(split)}; leave the split out")
    return found


def _list_folder(folder: Path, split: str) -> list[Path]:
    """The folder's data files of one split, by name. `datasets` decides which file belongs to which split."""
    files = data_files(folder)
    kinds = {LOADERS[suffix(path.name)]: path for path in reversed(files)}
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise UserError(f"{folder}: mixed file types ({second.name}, {first.name}); keep one type in the folder")
    try:
        builder = datasets.load_dataset_builder(str(folder.resolve()))
    except READ_ERRORS as error:
        raise UserError(f"{folder}: `datasets` cannot read the folder ({one_line(error)}); name a file") from error
    splits = builder.config.data_files
    if split not in splits:
        raise UserError(
            f"{folder}: no split {quote(split)}; there are {', '.join(quote(str(name)) for name in splits)}"
        )
    root = folder.resolve()
    return sorted(folder / os.path.relpath(path, root) for path in splits[split])


def _load_file(path: Path, text_columns: Sequence[str]) -> tuple[Source, datasets.Dataset]:
    kind = LOADERS.get(suffix(path.name))
    if kind is None:
        raise UserError(f"{path}: unknown file type; name it by what it is: {', '.join(LOADERS)}")
    options = {}
    if kind == "csv":
        # An answer may be "NA", "null", "7" or nothing: pandas is to leave text as it is.
        converters = dict.fromkeys(text_columns, str)
        options = {"sep": CSV_SUFFIXES[suffix(path.name)], "keep_default_na": False, "converters": converters}
    try:
        # `datasets` keys its cache by path and mtime, which a copy can preserve: the name adds the content.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = datasets.load_dataset(
            kind,
            name=f"congrad-{digest[:16]}",
            data_files=[glob.escape(str(path.resolve()))],
            split="train",
            **options,
        )
        if kind == "json":
            found = with_dates_as_text(path, found)
    except READ_ERRORS as error:
        raise explain(str(path), error) from error
    return _part(str(path), found)


def _load_from_hub(name: str, split: str) -> tuple[Source, datasets.Dataset]:
    try:
        found = datasets.load_dataset(name, split=split)
    except READ_ERRORS as error:
        complaint = f"neither a file or folder here nor a hub dataset that can be reached ({one_line(error)})"
        raise UserError(f"{quote(name)}: {complaint}; check the name and the network") from error
    return _part(name, found)


def _stem(name: str) -> str:
    stem = Path(name)
    return Path(stem.stem).stem if stem.suffix.lower() in COMPRESSIONS else stem.stem


def _named_by_language(source: object, parts: Parts) -> bool:
    """Whether `source` is a folder of files named like `de` or `zh-Hant`, none of which has a language column."""
    return (
        isinstance(source, str | Path)
        and Path(source).is_dir()
        and all(DEFAULT_LANGUAGE_COLUMN not in dataset.column_names for _, dataset in parts)
        and all(suffix(part.name) and LANGUAGE_TAG.fullmatch(_stem(part.name)) for part, _ in parts)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the progress bars and the log of `datasets` off the screen, and give both back as they were."""
    bars = not datasets.are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the user's HF_DATASETS_DISABLE_PROGRESS_BARS=0 has the last word
        datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
