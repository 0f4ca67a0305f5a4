"""Files that rows are written to while they are read, beside the caches of `datasets`; gone when the process ends."""

import atexit
import os
import tempfile
from itertools import count
from pathlib import Path

import datasets

_FOLDERS: dict[int, tempfile.TemporaryDirectory[str]] = {}  # by process
_NUMBERS = count()  # a name is never used twice: files of a dataset that is gone may still be mapped


def cache_folder() -> Path:
    """The folder of the caches of `datasets`, which is made where there is none."""
    folder = Path(datasets.config.HF_DATASETS_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def new_arrow_file() -> Path:
    """Where a new Arrow file may be written."""
    process = os.getpid()  # a forked child must neither write into its parent's folder nor remove it
    if process not in _FOLDERS:
        folder = tempfile.TemporaryDirectory(prefix="congrad-", dir=cache_folder())
        atexit.register(folder.cleanup)
        _FOLDERS[process] = folder
    return Path(_FOLDERS[process].name) / f"{next(_NUMBERS)}.arrow"
