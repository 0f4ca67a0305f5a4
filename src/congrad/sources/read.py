"""Read rows from whatever `datasets` loads, or say in one line what is wrong with them and where."""

import glob
import hashlib
import logging
import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetsError

from congrad.errors import UserError
from congrad.settings.input import Bounds, Columns, Input
from congrad.sources.bounds import check_columns, check_text
from congrad.sources.confine import check_card, check_inside, check_saved, not_saved
from congrad.sources.dates import with_dates_as_text
from congrad.sources.json_lines import read_json
from congrad.sources.locate import CSV_SUFFIXES, explain, suffix
from congrad.sources.part import Part
from congrad.sources.paths import (
    LOADERS,
    check_hub_id,
    check_split_of_file,
    data_files,
    is_saved,
    names_of,
)
from congrad.sources.source import BATCH, Source
from congrad.sources.stored import check_packing, check_parquet, check_rows, check_stored, undecoded
from congrad.words import one_line, quote

# What `datasets` raises, wrapped or bare, when it cannot read a file (StopIteration: an empty JSON file).
READ_ERRORS = (
    *(DatasetsError, pa.ArrowException, OSError, ValueError, TypeError, LookupError, AttributeError),
    *(StopIteration, RecursionError),
)
HUB = "hf://datasets/"
PAIR_COLUMNS = ("prompt", "chosen", "rejected", "language")

Data: TypeAlias = str | Path | datasets.Dataset | datasets.DatasetDict


def read_parts(source: Data, settings: Input) -> list[Part]:
    """Reads all that a source holds, file by file: its rows as they were published.

    Args:
        source: as for `load_preferences`; that of `settings` is not looked at.

    Raises:
        UserError: what is wrong with the files, in one line: what, where, and the fix.
    """
    with quiet():
        parts = _read(source, settings)
    for part in parts:
        check_columns(part.dataset.column_names, part.source.name, settings.bounds)
    for part in parts:
        if not len(part.dataset):
            raise UserError("no rows", "fill it or leave it out", at=part.source.name)
        check_rows(part.dataset, part.source, settings.bounds)
    return parts


def _read(source: Data, settings: Input) -> list[Part]:
    split = settings.split if isinstance(settings.split, str) else "train"
    if isinstance(source, datasets.Dataset | datasets.DatasetDict):
        return [_part("dataset", _pick(source, split, "dataset"))]
    path = Path(source)
    if path.is_file():
        check_split_of_file(path, split)
        return [_load_file(path, path.parent, settings)]
    if is_saved(path):
        check_saved(path, settings.bounds)
        try:
            saved = datasets.load_from_disk(str(path))
        except READ_ERRORS as error:
            raise not_saved(path, error) from error
        picked = _pick(saved, split, str(path))
        check_stored(picked, path)
        return [_part(str(path), picked)]
    if path.is_dir():
        return [_load_file(file, path, settings) for file in _list_folder(path, split, settings.bounds)]
    check_hub_id(source)
    return [_load_from_hub(str(source), split)]


def _part(name: str, dataset: datasets.Dataset, names: tuple[str, ...] = ()) -> Part:
    for column, feature in dataset.features.items():
        if (stored := undecoded(feature)) != feature:
            dataset = dataset.cast_column(column, stored)
    return Part(Source(name, len(dataset)), dataset.with_format(None), range(len(dataset)), names)


def _pick(found: datasets.Dataset | datasets.DatasetDict, split: str, name: str) -> datasets.Dataset:
    if isinstance(found, datasets.DatasetDict):
        return found[_check_split(split, found, name)]
    if split not in ("train", str(found.split)):
        raise UserError(f"a single dataset has no split {quote(split)}", "leave the split out", at=name)
    return found


def _list_folder(folder: Path, split: str, bounds: Bounds) -> list[Path]:
    """The folder's data files of one split, by name. `datasets` decides which file belongs to which split."""
    data_files(folder)
    check_card(folder, bounds)
    try:
        builder = datasets.load_dataset_builder(str(folder.resolve()))
    except READ_ERRORS as error:
        raise UserError(f"`datasets` cannot read the folder ({one_line(error)})", "name a file", at=folder) from error
    found = builder.config.data_files[_check_split(split, builder.config.data_files, folder)]
    files = sorted(folder / os.path.relpath(path, folder.resolve()) for path in found)
    if not files:
        raise UserError("no rows", "`datasets` finds no file there: name one", at=folder)
    check_inside(folder, *files)
    return files


def _check_split(split: str, splits: Collection[object], place: object) -> str:
    if split not in splits:
        there = ", ".join(quote(str(name)) for name in splits)
        raise UserError(f"no split {quote(split)}", f"there are {there}", at=place)
    return split


def _load_file(path: Path, folder: Path, settings: Input) -> Part:
    bounds = settings.bounds
    kind = LOADERS.get(suffix(path.name))
    if kind is None:
        raise UserError("unknown file type", f"name it by what it is: {', '.join(LOADERS)}", at=path)
    check_packing(path)
    check_text(path, bounds)
    options: dict[str, Any] = {}
    if kind == "parquet":
        options = {"batch_size": BATCH}  # a row group may unpack to a thousand times its size
    if kind == "csv":
        # An answer may be "NA", "null", "7" or nothing: pandas is to leave text as it is.
        converters = dict.fromkeys((*PAIR_COLUMNS, *named(settings.columns)), str)
        options = {"sep": CSV_SUFFIXES[suffix(path.name)], "keep_default_na": False, "converters": converters}
    if path.suffix.lower() == ".zst" and kind == "json":  # `datasets` wants a package for it
        return _load_json(path, folder, ValueError("no row is a JSON object"))
    try:
        if kind == "parquet":
            check_parquet(path, bounds)
        # `datasets` keys its cache by path and mtime, which a copy can preserve: the name adds the content.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = datasets.load_dataset(
            kind, name=f"congrad-{digest[:16]}", data_files=[glob.escape(str(path.resolve()))], split="train", **options
        )
        if kind == "json":
            found = with_dates_as_text(path, found)
    except READ_ERRORS as error:
        if kind == "json":
            return _load_json(path, folder, error)
        raise explain(str(path), error) from error
    return _part(str(path), found, names_of(path, folder))


def _load_json(path: Path, folder: Path, cause: Exception) -> Part:
    """A file that `datasets` does not read, row by row."""
    try:
        found, numbers, left = read_json(path)
    except READ_ERRORS as error:
        raise explain(str(path), error) from error
    if found is None:
        raise explain(str(path), cause) from cause
    part = _part(str(path), found, names_of(path, folder))
    return replace(part, source=Source(str(path), len(numbers) + len(left)), rows=tuple(numbers), left_out=tuple(left))


def named(columns: Columns) -> list[str]:
    """The columns that are named."""
    return [name for name in vars(columns).values() if name is not None]


def _load_from_hub(name: str, split: str) -> Part:
    try:
        builder = datasets.load_dataset_builder(name)
        files = builder.config.data_files or {}
        if elsewhere := [file for own in files.values() for file in own if not file.startswith(HUB)]:
            problem = f"its README names {quote(elsewhere[0])}, which is not on the hub"
            raise UserError(problem, "download what you trust, and name that", at=quote(name))
        builder.download_and_prepare()
        found = builder.as_dataset(split=split)
    except READ_ERRORS as error:
        complaint = f"neither a file or folder here nor a hub dataset that can be reached ({one_line(error)})"
        raise UserError(complaint, "check the name and the network", at=quote(name)) from error
    return _part(name, found)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and the log of `datasets` off the screen, and give both back as they were."""
    bars = not datasets.are_progress_bars_disabled()
    levels = {logger: logger.level for logger in map(logging.getLogger, ("datasets", "huggingface_hub"))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the user's HF_DATASETS_DISABLE_PROGRESS_BARS=0 has the last word
        datasets.disable_progress_bars()
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
