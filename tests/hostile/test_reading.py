"""Data that reaches for more than it was given: reading stays inside the file or folder that was named.

Every command runs in a process that notes the files that it opens and the hosts that it calls (`watched.py`).
"""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from tests.conftest import preference_rows
from tests.files import write_jsonl

from congrad.errors import UserError
from congrad.preferences import load_preferences
from congrad.words import quote

WATCHED = Path(__file__).with_name("watched.py")


@dataclass(frozen=True)
class Seen:
    code: int
    error: str
    opened: list[str]
    called: list[str]

    @property
    def line(self) -> str:
        """The last line, without the program's name."""
        return (self.error.splitlines() or [""])[-1].removeprefix("congrad: ")


@pytest.fixture
def watched(tmp_path: Path) -> Callable[[list[list[object]]], list[Seen]]:
    """Runs command lines, none of which may end in a traceback."""

    def run(commands: list[list[object]]) -> list[Seen]:
        # What a folder names is not fetched, also where the hub may be asked.
        ours = os.environ | {"HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
        lines = "".join(json.dumps([str(word) for word in command]) + "\n" for command in commands)
        done = subprocess.run(
            [sys.executable, WATCHED], input=lines, capture_output=True, text=True, timeout=300, env=ours, cwd=tmp_path
        )
        seen = [Seen(*json.loads(line)) for line in done.stdout.splitlines()]
        assert len(seen) == len(commands), done.stderr
        return seen

    return run


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's that no dataset is to reach."""
    folder = tmp_path / "outside"
    folder.mkdir()
    write_jsonl(folder / "secret.jsonl", preference_rows(4))
    datasets.Dataset.from_list(preference_rows(4)).save_to_disk(folder / "saved")
    return folder


def pairs_in(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    write_jsonl(folder / "data" / "de.jsonl", preference_rows(4))
    return folder


def dry_run(source: Path) -> list[object]:
    return ["filter", source, "--model", "x", "--dry-run"]


def configs(**keys: object) -> str:
    return "configs: " + json.dumps([{"config_name": "default", **keys}])


CARDS = {
    "absolute": lambda outside: configs(data_files=f"{outside}/secret.jsonl"),
    "upwards": lambda outside: configs(data_files="../outside/*.jsonl"),
    "upwards-in-the-middle": lambda outside: configs(data_files=["data/../../outside/secret.jsonl"]),
    "split": lambda outside: configs(data_files=[{"split": "train", "path": [f"{outside}/*"]}]),
    "folder": lambda outside: configs(data_dir="../outside"),
    "folder-of-files": lambda outside: configs(data_dir=str(outside), data_files="*.jsonl"),
    "home": lambda outside: configs(data_files="~/secret.jsonl"),
    "file-address": lambda outside: configs(data_files=f"file://{outside}/secret.jsonl"),
    "address": lambda outside: configs(data_files="http://127.0.0.1:9/secret.jsonl"),
    "hub-address": lambda outside: configs(data_files="hf://datasets/somebody/else/secret.jsonl"),
    "chained": lambda outside: configs(data_files="zip://secret.jsonl::http://127.0.0.1:9/x.zip"),
    "data-address": lambda outside: configs(data_files="data:text/plain,x"),
}


def test_a_readme_names_nothing_outside_its_folder(tmp_path, outside, watched):
    folders = []
    for kind, write in CARDS.items():
        folders += [pairs_in(tmp_path / kind / "readme"), pairs_in(tmp_path / kind / "yaml")]
        (folders[-2] / "README.md").write_text(f"---\n{write(outside)}\n---\n# Pairs\n")
        (folders[-1] / ".huggingface.yaml").write_text(write(outside))
    for folder, seen in zip(folders, watched([dry_run(folder) for folder in folders]), strict=True):
        assert seen.code == 2, folder
        assert re.match(rf"{folder}/\S+: names '.+, which is outside of its folder; ", seen.line), folder
        assert not seen.called, folder
        assert not any(path.startswith(str(outside)) for path in seen.opened), folder


def test_a_saved_dataset_names_nothing_outside_its_folder(tmp_path, outside, watched):
    arrow = next(str(path) for path in (outside / "saved").glob("*.arrow"))

    def saved(name: str, split: bool = False) -> Path:
        data = datasets.Dataset.from_list(preference_rows(4))
        (datasets.DatasetDict({"train": data}) if split else data).save_to_disk(tmp_path / name)
        return tmp_path / name

    def rename(path: Path, key: str, value: object) -> Path:
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        return path

    names = [arrow, os.path.relpath(arrow, tmp_path / "x"), "..", "", "http://127.0.0.1:9/x.arrow"]
    places = [
        rename(saved(f"file-{number}") / "state.json", "_data_files", [{"filename": name}])
        for number, name in enumerate(names)
    ]
    names += [str(outside / "saved"), "../outside/saved", "http://127.0.0.1:9", "a::http://127.0.0.1"]
    places += [
        rename(saved(f"split-{number}", split=True) / "dataset_dict.json", "splits", ["train", name])
        for number, name in enumerate(names[len(places) :])
    ]
    for place, name, seen in zip(places, names, watched([dry_run(place.parent) for place in places]), strict=True):
        assert (seen.code, seen.called) == (2, []), place
        assert seen.line.startswith(f"{place}: names {quote(name)}, which is outside of its folder; "), place
        assert not any(path.startswith(str(outside)) for path in seen.opened), place

    places = [saved(f"list-{number}") / "state.json" for number in range(6)]
    for place, content in zip(
        places, ["[", "[" * 10**5, "7", '{"_data_files": 7}', "{}", '{"_data_files": [7]}'], strict=True
    ):
        place.write_text(content)
    for place, seen in zip(places, watched([dry_run(place.parent) for place in places]), strict=True):
        assert seen.code == 2
        assert re.match(f"{place.parent}.*: (cannot be read as a saved dataset|nested too deeply) ", seen.line)


def nested(start: str, inner: str, end: str, times: int) -> str:
    return start * times + inner + end * times


MERGED = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30))])
DIGITS = "a: " + "9" * 5000
FEATURES = "dataset_info: {features: [{name: x, sequence: " + nested('{"sequence": ', "string", "}", 200) + "}]}"
CARDS_THAT_COST = (MERGED, DIGITS, FEATURES, "a: " + "[" * 90_000, "#" * 10**6, "[1]", "configs: [1]", "a: 9999-99-99")
INFOS = (
    "[1]",
    '{"a": 1}',
    nested('{"a":', "1", "}", 10**5),
    nested('{"default":{"features":{"x":', nested('{"_type":"List","feature":', "{}", "}", 90), "}}}", 1),
)


def test_what_is_said_of_a_folder_is_read_soon_or_refused(tmp_path):
    contents = [("README.md", f"---\n{card}\n---\n") for card in CARDS_THAT_COST]
    for number, (name, content) in enumerate([*contents, *(("dataset_infos.json", info) for info in INFOS)]):
        folder = pairs_in(tmp_path / str(number))
        (folder / name).write_text(content)
        began = time.process_time()
        with pytest.raises(UserError) as refused:
            load_preferences(folder)
        assert str(refused.value).startswith(str(folder)), content[:80]
        assert time.process_time() - began < 5, content[:80]


def test_links_lead_nowhere_outside_the_folder(tmp_path, outside, watched):
    saved = outside / "saved"
    folders = [tmp_path / name for name in ("file", "among", "card", "split", "arrow", "list")]
    for folder in folders[:3]:
        folder.mkdir()
    (folders[0] / "de.jsonl").symlink_to(outside / "secret.jsonl")
    (folders[1] / "de.jsonl").write_bytes((outside / "secret.jsonl").read_bytes())
    (folders[1] / "en.jsonl").symlink_to("../outside/secret.jsonl")
    (folders[2] / "de.jsonl").write_bytes((outside / "secret.jsonl").read_bytes())
    (outside / "card").write_text("configs: []")
    (folders[2] / ".huggingface.yaml").symlink_to(outside / "card")
    datasets.DatasetDict({"train": datasets.load_from_disk(str(saved))}).save_to_disk(folders[3])
    for path in (folders[3] / "train").iterdir():
        path.unlink()
    (folders[3] / "train").rmdir()
    (folders[3] / "train").symlink_to(saved)
    for folder, name in ((folders[4], "*.arrow"), (folders[5], "dataset_info.json")):
        datasets.load_from_disk(str(saved)).save_to_disk(folder)
        path = next(folder.glob(name))
        path.unlink()
        path.symlink_to(next(saved.glob(name)))
    for folder, seen in zip(folders, watched([dry_run(folder) for folder in folders]), strict=True):
        assert (seen.code, seen.called) == (2, []), folder
        assert seen.line.startswith(f"{folder}/")
        assert f": leads out of {folder}, to {outside}" in seen.line
        assert not any(path.startswith(str(outside)) for path in seen.opened), folder


def test_links_within_a_folder_and_within_a_hub_cache_are_followed(tmp_path):
    """`snapshots/REVISION` of a hub's cache holds nothing but links into `blobs`."""
    cache = tmp_path / "datasets--somebody--pairs"
    snapshot = cache / "snapshots" / "0a1b"
    (snapshot / "data").mkdir(parents=True)
    (cache / "blobs").mkdir()
    write_jsonl(cache / "blobs" / "2c3d", preference_rows(4))
    (cache / "blobs" / "4e5f").write_text("---\nconfigs:\n- config_name: x\n  data_files: data/*\n---\n")
    (snapshot / "data" / "de.jsonl").symlink_to("../../../blobs/2c3d")
    (snapshot / "README.md").symlink_to("../../blobs/4e5f")
    assert len(load_preferences(snapshot)) == 4
    assert len(load_preferences(snapshot / "data")) == 4
    (tmp_path / "link").symlink_to(snapshot)
    assert len(load_preferences(tmp_path / "link")) == 4  # the user's own word
    folder = pairs_in(tmp_path / "within")
    (folder / "data" / "en.jsonl").symlink_to("de.jsonl")
    assert len(load_preferences(folder)) == 8
    assert len(load_preferences(folder / "data" / "en.jsonl")) == 4


@pytest.mark.parametrize("file", ["/home/user/secret.jsonl", "http://127.0.0.1:9/secret.jsonl"])
def test_a_readme_on_the_hub_names_nothing_elsewhere(monkeypatch, file):
    found = {"train": ["hf://datasets/somebody/pairs@0a1b/de.jsonl", file]}
    builder = SimpleNamespace(config=SimpleNamespace(data_files=found))
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: ["default"])
    monkeypatch.setattr(datasets, "get_dataset_default_config_name", lambda name: "default")
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name, configuration: builder)
    with pytest.raises(UserError, match=f"'somebody/pairs': its README names '{file}', which is not on the hub"):
        load_preferences("somebody/pairs")


def test_a_packed_file_that_was_cut_is_said_wherever_it_was_cut(tmp_path):
    """`datasets` looks for a tar within and meets an `EOFError`, which Typer takes for Ctrl-D."""
    packed = gzip.compress(b'{"prompt": "a", "chosen": "b", "rejected": "c", "language": "de"}\n' * 200, 0)
    for length in (40, 162, 600, len(packed) - 4):
        (tmp_path / "cut.jsonl.gz").write_bytes(packed[:length])
        with pytest.raises(UserError, match=r"cut\.jsonl\.gz: cannot be read"):
            load_preferences(tmp_path / "cut.jsonl.gz")


@pytest.mark.parametrize("tag", ["!!int ''", "!!float ''", "!!bool 'x'", "!!timestamp 'x'", "!!set [1]", "!!binary x"])
def test_odd_tags_in_a_readme_end_in_one_line(tmp_path, tag):
    folder = pairs_in(tmp_path / "pairs")
    (folder / "README.md").write_text(f"---\na: {tag}\n---\n# Pairs\n")
    with pytest.raises(UserError, match=r"README.md: cannot be read \([^\n]*\); fix it or remove it$"):
        load_preferences(folder)


def test_a_file_that_would_be_left_out_for_its_name_is_refused(tmp_path):
    folder = pairs_in(tmp_path / "pairs")
    write_jsonl(folder / "data" / "e\nn\x1b[31m.jsonl", preference_rows(4))
    with pytest.raises(UserError, match="has a control character in its name; rename it"):
        load_preferences(folder)
