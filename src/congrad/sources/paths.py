"""Which files a path stands for, and what is wrong with it. `datasets` is not needed to say so."""

import re
from pathlib import Path

from congrad.errors import UserError
from congrad.settings.input import Input, Names
from congrad.sources.choose import chosen_files, refuse
from congrad.sources.confine import check_inside
from congrad.sources.locate import COMPRESSIONS, CSV_SUFFIXES, JSON_SUFFIXES, PARQUET_SUFFIXES, suffix
from congrad.stage import is_written
from congrad.words import quote

LOADERS = {
    **dict.fromkeys(JSON_SUFFIXES, "json"),
    **dict.fromkeys(CSV_SUFFIXES, "csv"),
    **dict.fromkeys(PARQUET_SUFFIXES, "parquet"),
    ".arrow": "arrow",
}
METADATA_FILES = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
CHOICES = ("split", "configuration", "files")
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
UNFINDABLE = re.compile(r"[\x00-\x1f\x7f]")  # in a name: `datasets` would leave the file out
SHARD = re.compile(r"[-_.](?:\d{4,}(?:-of-\d+)?|(?:part|shard)[-_]?\d+)\Z")  # at the end of a name


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def check_split_of_file(path: Path, settings: Input) -> None:
    """Refuses a split, a configuration and files, which a file does not have."""
    refuse(settings, ("configuration", "files") if settings.split == "train" else CHOICES, "a file", path)


def check_hub_id(source: str | Path) -> None:
    """Refuses what is neither a file or folder here nor the name of a hub dataset."""
    path = Path(source)
    is_hub_id = isinstance(source, str) and HUB_ID.fullmatch(source) is not None
    if suffix(path.name) in LOADERS or (path.parent.is_dir() and len(path.parts) > 1) or not is_hub_id:
        raise UserError("no such file or folder", "check the path", at=source)


def data_files(folder: Path, wanted: Names | None = None) -> tuple[list[Path], list[Path]]:
    """The data files of a folder, by name, which are of one type; and the directories below it that congrad wrote and
    that hold files like data.

    Args:
        wanted: globs of the files to read; None for all.
    """
    known: dict[Path, bool] = {}
    paths = [path for path in folder.rglob("*") if suffix(path.name) in LOADERS and _is_data(path, folder)]
    within = {path: _written(path, folder, known) for path in sorted(paths)}
    files = [path for path, directory in within.items() if directory is None]
    if not files:
        raise UserError("no rows", f"the folder has no file that ends in {', '.join(LOADERS)}", at=folder)
    names = {path.relative_to(folder).as_posix(): path for path in files}
    files = [names[name] for name in chosen_files(list(names), wanted, folder)]
    kinds = {LOADERS[suffix(path.name)]: path for path in reversed(files)}
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise UserError(f"mixed file types ({second.name}, {first.name})", "keep one type in the folder", at=folder)
    check_inside(folder, *files)
    for path in files:
        if UNFINDABLE.search(path.name):
            raise UserError("has a control character in its name", "rename it", at=quote(str(path)))
    return files, sorted({directory for directory in within.values() if directory is not None})


def _written(path: Path, folder: Path, known: dict[Path, bool]) -> Path | None:
    """The outermost directory around a file, below the folder, that congrad wrote."""
    around = list(path.relative_to(folder).parents)[:-1]
    for each in (folder / inside for inside in reversed(around)):
        if each not in known:
            known[each] = is_written(each)
        if known[each]:
            return each
    return None


def _is_data(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and path.name not in METADATA_FILES


def stem(name: str) -> str:
    """A file's name without its suffixes: `de.jsonl.gz` is `de`."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSIONS else path.stem


def names_of(path: Path, folder: Path) -> tuple[str, ...]:
    """What may be the name of a file's language: its own, and those of its folders within the data."""
    inside = path.relative_to(folder)
    return (SHARD.sub("", stem(inside.name)), *reversed(inside.parent.parts))
