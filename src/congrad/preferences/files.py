"""Which files a source of rows is, and a glance at them before the libraries that read them are loaded.

`datasets` takes a second to import. What can be told in a moment, a missing path, a line that is not JSON, a column
that no row has, is told without it, in the words of the full check, which comes afterwards all the same.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import orjson

from congrad.errors import UserError
from congrad.preferences.locate import CSV_SUFFIXES, JSON_SUFFIXES, PARQUET_SUFFIXES, mistake_in, suffix
from congrad.preferences.names import require_column

DEFAULT_LANGUAGE_COLUMN = "language"
LOADERS = {
    **dict.fromkeys(JSON_SUFFIXES, "json"),
    **dict.fromkeys(CSV_SUFFIXES, "csv"),
    **dict.fromkeys(PARQUET_SUFFIXES, "parquet"),
    ".arrow": "arrow",
}
METADATA_FILES = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
LINES = (".jsonl", ".ndjson")
GLANCE = 4 << 20  # bytes of all files together: what is read in a moment
OTHER_SPLITS = re.compile(r"train|test|val|dev|eval", re.IGNORECASE)  # `datasets` says which of these are read


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote it."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def data_files(folder: Path) -> list[Path]:
    """The folder's data files, of all splits, by name.

    Raises:
        UserError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if suffix(path.name) in LOADERS and _is_data(path, folder))
    if not files:
        raise UserError(f"{folder}: no rows; the folder has no file that ends in {', '.join(LOADERS)}")
    return files


def _is_data(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and path.name not in METADATA_FILES


def check_hub_id(source: str | Path) -> None:
    """Raises:
    UserError: what is no file or folder here cannot be the id of a hub dataset either.
    """
    path = Path(source)
    is_id = isinstance(source, str) and HUB_ID.fullmatch(source) is not None
    if suffix(path.name) in LOADERS or (path.parent.is_dir() and len(path.parts) > 1) or not is_id:
        raise UserError(f"{source}: no such file or folder; check the path")


def glance(source: str | Path, columns: Mapping[str, str]) -> None:
    """Looks for the commonest mistakes. Whatever it is unsure of is left to `load.read_checked`.

    Args:
        source: a path; a hub id is left alone.
        columns: what to do about each column that must be there and is missing.

    Raises:
        UserError: as the full check would.
    """
    path = Path(source)
    if path.is_file():
        files = [path]
    elif path.is_dir():
        if is_saved(path):
            return
        files = data_files(path)
        if any(OTHER_SPLITS.search(str(file.relative_to(path))) for file in files):
            return
    else:
        check_hub_id(source)
        return
    if {Path(file.name).suffix for file in files} <= set(LINES) and sum(f.stat().st_size for f in files) <= GLANCE:
        for file in files:
            _glance_at_lines(file, columns)


def _glance_at_lines(file: Path, columns: Mapping[str, str]) -> None:
    names: dict[str, None] = {}
    try:
        for line in file.read_bytes().splitlines():
            if line.strip():
                row = orjson.loads(line)
                if not isinstance(row, dict):
                    return
                names |= dict.fromkeys(row)
    except OSError:
        return
    except orjson.JSONDecodeError:
        # In the first row: perhaps these are no lines, but an indented object. Not UTF-8: `datasets` knows the column.
        if names and is_utf8(file) and (mistake := mistake_in(str(file))):
            raise UserError(mistake) from None
        return
    if not names:
        return
    for column, mend in columns.items():
        require_column(list(names), str(file), column, mend)


def is_utf8(file: Path) -> bool:
    try:
        file.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True
