"""The files of a folder that are read, with the split and the configuration of each.

`datasets` decides which file belongs to which split and configuration, by its names or by the README. It is shown a
copy of the folder that has only the names of the data files: what congrad wrote there, and files that the user leaves
out, can change nothing.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets.config import DATASETDICT_INFOS_FILENAME, REPOCARD_FILENAME, REPOYAML_FILENAME

from congrad.errors import UserError
from congrad.languages.tags import tag_of
from congrad.settings.input import Input
from congrad.sources.choose import configurations, listed, names_files, splits
from congrad.sources.confine import check_card
from congrad.sources.paths import data_files, names_of
from congrad.words import one_line, quote

CARDS = (REPOCARD_FILENAME, REPOYAML_FILENAME, DATASETDICT_INFOS_FILENAME)
PLAIN = ["default"]  # what `datasets` calls the configuration of a folder whose README has none


@dataclass(frozen=True)
class Found:
    """A file to read.

    Attributes:
        names: what may be its language: its own, its folders', its split's, its configuration's.
    """

    path: Path
    names: tuple[str, ...]


def files_of(
    folder: Path, settings: Input, errors: tuple[type[BaseException], ...]
) -> tuple[list[Found], tuple[str, ...]]:
    """The files that are read, by name, and what is said of the choice.

    Args:
        errors: what `datasets` raises where it cannot read the folder.
    """
    check_card(folder, settings.bounds)
    paths, written = data_files(folder, settings.files)
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    notes = []
    if written:
        names = [path.relative_to(folder).as_posix() for path in written]
        what = "1 folder that congrad wrote is" if len(names) == 1 else f"{len(names):,} folders that congrad wrote are"
        notes.append(f"{what} no data ({listed(names)})")
    with tempfile.TemporaryDirectory() as place:
        shown = Path(place).resolve() / "data"
        _show(folder, files, shown)

        def ask(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return function(str(shown), *arguments)
            except errors as error:
                why = one_line(error).replace(str(shown), str(folder))
                raise UserError(f"`datasets` cannot read the folder ({why})", "name a file", at=folder) from error

        known = ask(datasets.get_dataset_config_names)
        default = ask(datasets.get_dataset_default_config_name)
        chosen = configurations(known, default, settings.configuration, folder)
        notes += chosen.notes
        found: dict[str, Found] = {}
        of: dict[str, str] = {}
        for name in chosen.names:
            own = ask(datasets.load_dataset_builder, name).config.data_files or {}
            per_split = {
                str(split): [Path(os.path.relpath(path, shown)).as_posix() for path in paths]
                for split, paths in own.items()
            }
            if known == PLAIN and settings.split is None and names_files(settings.files):
                per_split = {"train": list(files)}
            if known == PLAIN and settings.split is None:
                _check_mixed(folder, files, per_split)
            picked = splits(per_split, settings.split, folder)
            notes += picked.notes
            for split in picked.names:
                place_of = f"split {quote(split)} of configuration {quote(name)}"
                for path in per_split[split]:
                    if path in found:
                        problem = f"is in {of[path]} and in {place_of}"
                        raise UserError(problem, "name one of them", at=files[path])
                    found[path] = Found(files[path], (*names_of(files[path], folder), split, name))
                    of[path] = place_of
    return [found[path] for path in sorted(found)], tuple(dict.fromkeys(notes))


def _show(folder: Path, files: dict[str, Path], shown: Path) -> None:
    """Makes a folder of empty files of the same names, with the cards."""
    shown.mkdir()
    for name in files:
        (shown / name).parent.mkdir(parents=True, exist_ok=True)
        (shown / name).touch()
    for card in CARDS:
        if (folder / card).is_file():
            shutil.copyfile(folder / card, shown / card)


def _check_mixed(folder: Path, files: dict[str, Path], per_split: dict[str, list[str]]) -> None:
    """Refuses a folder where the split to read would leave out files that are named by a language: `de.jsonl` beside
    `test.jsonl`, which `datasets` takes for the only split."""
    read = set(per_split.get("train", next(iter(per_split.values()), [])))
    lost = [name for name, path in files.items() if name not in read and tag_of(names_of(path, folder)[0], strict=True)]
    others = [name for name in files if not tag_of(names_of(files[name], folder)[0], strict=True)]
    if lost and others:
        problem = f"files named by a language ({listed(lost)}) are beside others ({listed(others)})"
        fix = "leave the others out with input.files='!NAME', or name all files to read there"
        raise UserError(problem, fix, at=folder)
