"""Read rows from whatever `datasets` loads, or say in one line what is wrong with them and where."""

import glob
import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetsError

from congrad.errors import UserError
from congrad.settings.input import Input
from congrad.sources.bounds import check_columns, check_text
from congrad.sources.choose import as_names, configurations, refuse, splits
from congrad.sources.confine import check_saved, not_saved
from congrad.sources.dates import with_dates_as_text
from congrad.sources.folder import files_of
from congrad.sources.json_lines import read_json
from congrad.sources.locate import CSV_SUFFIXES, explain, suffix, unpacked
from congrad.sources.part import Part
from congrad.sources.paths import (
    LOADERS,
    check_hub_id,
    check_split_of_file,
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
INDEX = "__index_level_0__"  # as pandas and Arrow call fields without a name

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
    if isinstance(source, datasets.Dataset | datasets.DatasetDict):
        return _pick(source, settings, "dataset")
    path = Path(source)
    if path.is_file():
        check_split_of_file(path, settings)
        return [_load_file(path, names_of(path, path.parent), settings)]
    if is_saved(path):
        check_saved(path, settings.bounds)
        try:
            saved = datasets.load_from_disk(str(path))
        except READ_ERRORS as error:
            raise not_saved(path, error) from error
        for each in saved.values() if isinstance(saved, datasets.DatasetDict) else [saved]:
            check_stored(each, path)
        return _pick(saved, settings, str(path))
    if path.is_dir():
        files, notes = files_of(path, settings, READ_ERRORS)
        if not files:
            raise UserError("no rows", "`datasets` finds no file there: name one", at=path)
        return _saying(notes, [_load_file(file.path, file.names, settings) for file in files])
    check_hub_id(source)
    return _load_from_hub(str(source), settings)


def _saying(notes: tuple[str, ...], parts: list[Part]) -> list[Part]:
    return [replace(part, notes=(*notes, *part.notes)) for part in parts]


def _part(name: str, dataset: datasets.Dataset, names: tuple[str, ...] = ()) -> Part:
    for column, feature in dataset.features.items():
        if (stored := undecoded(feature)) != feature:
            dataset = dataset.cast_column(column, stored)
    return Part(Source(name, len(dataset)), dataset.with_format(None), range(len(dataset)), names)


def _pick(found: datasets.Dataset | datasets.DatasetDict, settings: Input, name: str) -> list[Part]:
    """The splits that are wanted. Each has its own name, where there are several."""
    refuse(settings, ("configuration", "files"), "a dataset", name)
    if isinstance(found, datasets.Dataset):
        split = settings.split
        if split not in (None, "train", str(found.split)):
            shown = quote(", ".join(as_names(split or ())))
            raise UserError(f"a single dataset has no split {shown}", "leave the split out", at=name)
        return [_part(name, found)]
    chosen = splits(found, settings.split, name)
    several = len(chosen.names) > 1
    parts = [_part(f"{name}/{split}" if several else name, found[split], (split,)) for split in chosen.names]
    return _saying(chosen.notes, parts)


def _load_file(path: Path, names: tuple[str, ...], settings: Input) -> Part:
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
        # A value may be "NA", "007", "1e5" or nothing: pandas is to leave every column as the text that it is.
        converters = dict.fromkeys(range(bounds.columns + 1), str)
        options = {"sep": CSV_SUFFIXES[suffix(path.name)], "keep_default_na": False, "converters": converters}
    if path.suffix.lower() == ".zst" and kind == "json":  # `datasets` wants a package for it
        return _load_json(path, names, ValueError("no row is a JSON object"))
    try:
        if kind == "parquet":
            check_parquet(path, bounds)
        # `datasets` keys its cache by path and mtime, which a copy can preserve: the name adds the content.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = datasets.load_dataset(
            kind, name=f"congrad-{digest[:16]}", data_files=[glob.escape(str(path.resolve()))], split="train", **options
        )
        if kind == "json" and holds_json(found.features):  # where `datasets` gives out the text "1" as the number 1
            return _load_json(path, names, ValueError("no row is a JSON object"))
        if kind == "json":
            found = with_dates_as_text(path, found)
    except READ_ERRORS as error:
        if kind == "json":
            return _load_json(path, names, error)
        raise explain(str(path), error) from error
    if kind == "csv":
        check_fields(path, found.column_names)
    return _part(str(path), found, names)


def check_fields(path: Path, columns: Sequence[str]) -> None:
    """Refuses a table whose rows have more fields than its header: pandas takes the first ones for an index, and every
    other field for that of a column further left."""
    if INDEX in columns:
        with unpacked(path) as file:
            if INDEX.encode() not in file.readline():
                fix = "quote the fields that hold the separator, or give each field a name in the header"
                raise UserError("the rows have more fields than the header has names", fix, at=path)


def holds_json(feature: Any) -> bool:
    """Whether values of unlike types are kept as JSON, at any depth."""
    if isinstance(feature, dict):
        return any(map(holds_json, feature.values()))
    if isinstance(feature, datasets.List | datasets.LargeList):
        return holds_json(feature.feature)
    return isinstance(feature, datasets.Json)


def _load_json(path: Path, names: tuple[str, ...], cause: Exception) -> Part:
    """A file that `datasets` does not read, row by row."""
    try:
        found, numbers, left = read_json(path)
    except READ_ERRORS as error:
        raise explain(str(path), error) from error
    if found is None:
        raise explain(str(path), cause) from cause
    part = _part(str(path), found, names)
    return replace(part, source=Source(str(path), len(numbers) + len(left)), rows=tuple(numbers), left_out=tuple(left))


def _load_from_hub(name: str, settings: Input) -> list[Part]:
    refuse(settings, ("files",), "a hub dataset", quote(name))
    try:
        known = datasets.get_dataset_config_names(name)
        default = datasets.get_dataset_default_config_name(name)
    except READ_ERRORS as error:
        raise _out_of_reach(name, error) from error
    chosen = configurations(known, default, settings.configuration, quote(name))
    parts = []
    notes = list(chosen.notes)
    for configuration in chosen.names:
        found = _prepared(name, configuration)
        place = f"{name}/{configuration}" if len(chosen.names) > 1 else name
        picked = splits(found, settings.split, quote(place))
        notes += picked.notes
        for split in picked.names:
            own = f"{place}/{split}" if len(picked.names) > 1 else place
            parts.append(_part(own, found[split], (split, configuration)))
    return _saying(tuple(notes), parts)


def _prepared(name: str, configuration: str) -> datasets.DatasetDict:
    try:
        builder = datasets.load_dataset_builder(name, configuration)
        files = builder.config.data_files or {}
        if elsewhere := [file for own in files.values() for file in own if not file.startswith(HUB)]:
            problem = f"its README names {quote(elsewhere[0])}, which is not on the hub"
            raise UserError(problem, "download what you trust, and name that", at=quote(name))
        builder.download_and_prepare()
        return builder.as_dataset()
    except READ_ERRORS as error:
        raise _out_of_reach(name, error) from error


def _out_of_reach(name: str, error: BaseException) -> UserError:
    complaint = f"neither a file or folder here nor a hub dataset that can be reached ({one_line(error)})"
    return UserError(complaint, "check the name and the network", at=quote(name))


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
