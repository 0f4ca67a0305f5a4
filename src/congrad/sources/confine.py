"""Reading stays within the folder that the user named, whatever its files say.

A folder's README can name its data files, and a saved dataset lists its own: by an absolute path, through `..` or by a
URL they could be any file of the user's, whose rows then land in results. So can a link. What lies elsewhere is
refused; who wants it names it. The one exception is the hub's cache, whose snapshots are made of links to `blobs`
beside them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from congrad.errors import UserError
from congrad.settings.input import Bounds
from congrad.settings.yaml_file import parse_yaml
from congrad.sources.bounds import check_text
from congrad.words import one_line, quote

NAME_ANOTHER = "remove it, or name the files themselves as the data"
MOST_CHARACTERS = 500_000  # of a README's YAML, which take seconds to read; hundreds of languages have 100,000


def check_inside(folder: Path, *files: Path) -> None:
    """Refuses a file that is, by links or by its path, outside of the folder."""
    within = root(folder.resolve())
    for path in files:
        if not (real := path.resolve()).is_relative_to(within):
            problem = f"leads out of {folder}, to {real}"
            raise UserError(problem, "put the file there, or name it itself as the data", at=path)


def root(folder: Path) -> Path:
    """What a folder's links may lead into: itself; of a snapshot in the hub's cache, the whole repository there."""
    snapshots = (each for each in folder.parents if each.name == "snapshots" and (each.parent / "blobs").is_dir())
    return next((each.parent for each in snapshots), folder)


def check_card(folder: Path, bounds: Bounds) -> None:
    """Refuses a README, or what stands for it, that takes the folder's data from elsewhere.

    Raises:
        UserError: also where these cannot be read, or would take long.
    """
    from datasets.config import DATASETDICT_INFOS_FILENAME, REPOCARD_FILENAME, REPOYAML_FILENAME
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    infos = folder / DATASETDICT_INFOS_FILENAME
    if infos.is_file():
        check_inside(folder, infos)
        check_text(infos, bounds)
    for path in (folder / REPOCARD_FILENAME, folder / REPOYAML_FILENAME):
        if not path.is_file():
            continue
        check_inside(folder, path)
        try:
            text = path.read_text("utf-8-sig")
            if path.name == REPOCARD_FILENAME:
                block = REGEX_YAML_BLOCK.search(text)
                text = "" if block is None else block.group(2)
            if len(text) > MOST_CHARACTERS:
                raise UserError(f"has more than {MOST_CHARACTERS:,} characters of YAML", NAME_ANOTHER, at=path)
            parse_yaml(text, str(path), most=MOST_CHARACTERS)  # within bounds, which the next line has none of
            content = yaml.safe_load(text)  # as `datasets` reads it: with merge keys
        except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:  # odd tags, too
            raise UserError(f"cannot be read ({one_line(error)})", "fix it or remove it", at=path) from error
        configs = content.get("configs") if isinstance(content, dict) else None
        for config in configs if isinstance(configs, list) else []:
            for key in ("data_files", "data_dir") if isinstance(config, dict) else ():
                for name in names(config.get(key)):
                    check_name(name, path)


def names(value: Any) -> Iterator[str]:
    """All texts in lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from names(each)


def check_saved(folder: Path, bounds: Bounds) -> None:
    """Refuses a saved dataset, or one of its splits, that takes rows from elsewhere."""
    splits = read_json(folder / "dataset_dict.json", folder, bounds)
    for name in ["."] if splits is None else names(splits):
        check_name(name, folder / "dataset_dict.json")
        part = folder / name
        state = read_json(part / "state.json", folder, bounds)
        read_json(part / "dataset_info.json", folder, bounds)
        for file in names((state or {}).get("_data_files")):
            check_name(file, part / "state.json")
            check_inside(folder, part / file)


def not_saved(path: Path, why: object) -> UserError:
    """What is said of a saved dataset that is damaged."""
    return UserError(f"cannot be read as a saved dataset ({one_line(why)})", "save it again", at=path)


def read_json(path: Path, folder: Path, bounds: Bounds) -> dict[str, Any] | None:
    """A file of a saved dataset; None where there is none."""
    if not path.is_file():
        return None
    check_inside(folder, path)
    check_text(path, bounds)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise not_saved(path, error) from error
    if not isinstance(content, dict):
        raise not_saved(path, "no JSON object")
    return content


def check_name(name: str, path: Path) -> None:
    """Refuses the name of a file elsewhere, which a file of the folder gives."""
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or ":" in name or name.startswith("~"):
        raise UserError(f"names {quote(name)}, which is outside of its folder", NAME_ANOTHER, at=path)
