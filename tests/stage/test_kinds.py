"""A run of the filter, an index, an export and a stage of the loop: each begun, killed, refused and finished alike."""

import errno
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from congrad.errors import UserError
from congrad.exports import export_run
from congrad.exports.export import EXPORT
from congrad.files import append_to
from congrad.filtering.baselines import filter_baseline
from congrad.filtering.directory import RUN
from congrad.filtering.rankings import Baseline
from congrad.filtering.run import filter_preferences
from congrad.gradients import build_index
from congrad.gradients.index import INDEX
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import tokenise
from congrad.preferences.load import read_preferences
from congrad.progress import Listener, Progress
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig
from congrad.stage import STAGE, Kind, is_begun, is_finished

SETTINGS = PassSettings(projection_size=4, token_budget=64)


@dataclass(frozen=True)
class Case:
    """How a directory of a kind is made.

    Attributes:
        make: fills the directory; `other` with other settings.
        difference: how a second begin with `other` is refused; None where it replaces what is there.
        files: one that fails on a full disk at the beginning, one in the middle, one at the end.
    """

    kind: Kind
    make: Callable[..., Any]
    difference: str | None
    files: tuple[str, ...]


@pytest.fixture(params=["run", "index", "export", "stage"])
def case(request: pytest.FixtureRequest, tmp_path: Path, tiny_directory: Path, make_rows: Any, save_rows: Any) -> Case:
    source = Input(str(save_rows(tmp_path / "pairs.jsonl", make_rows(12))))
    model = Model(str(tiny_directory), dtype="float32", device="cpu")

    def run(output: Path, listener: Listener, *, other: bool = False) -> None:
        index = PassSettings(projection_size=4, seed=int(other))
        filter_preferences(FilterConfig(source, model, index=index), output, listener=listener)

    def index(output: Path, listener: Listener, *, other: bool = False) -> None:
        pairs = tokenise(read_preferences(source), load_tokenizer(model.name))
        settings = PassSettings(projection_size=4, seed=int(other))
        build_index(load_model(model.name), pairs, output, settings, on_progress=listener.on_progress)

    def export(output: Path, listener: Listener, *, other: bool = False) -> None:
        if not is_finished(tmp_path / "filtered", RUN):
            filter_preferences(FilterConfig(source, model, index=SETTINGS), tmp_path / "filtered")
        export_run(tmp_path / "filtered", "axolotl" if other else "trl", output)

    def stage(output: Path, listener: Listener, *, other: bool = False) -> None:
        filter_baseline(Baseline("loss", seed=int(other)), source, model, output, listener=listener)

    return {
        "run": Case(RUN, run, "index.seed 0, now 1", ("plan.json", "scores.parquet", RUN.last)),
        "index": Case(INDEX, index, "index.seed 0, now 1", ("plan.json", "sketches-00000", INDEX.last)),
        "export": Case(EXPORT, export, None, ("kept.jsonl", "README.md", EXPORT.last)),
        "stage": Case(STAGE, stage, "baseline.seed 0, now 1", ("stage.json", "logps.jsonl", STAGE.last)),
    }[request.param]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def results(directory: Path) -> dict[str, bytes]:
    """All but the files that say how long it took."""
    return {name: data for name, data in contents(directory).items() if Path(name).name not in (RUN.last, INDEX.last)}


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def stop(progress: Progress) -> None:
    if progress.stage in ("sketching", "log-probabilities") and progress.done > 1:
        interrupt()


def test_it_is_begun_refused_on_other_settings_and_finished(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, stopped = Listener(), Listener(on_progress=stop)
    foreign, output = tmp_path / "thesis", tmp_path / "out"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("mine")
    with pytest.raises(UserError, match=rf"output: .*thesis is not empty and is not a congrad .*{case.kind.name}"):
        case.make(foreign, silent)
    assert contents(foreign) == {"chapter.tex": b"mine"}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr("congrad.exports.export.card", interrupt)
        case.make(output, stopped)
    assert not is_finished(output, case.kind)
    assert is_begun(output, case.kind) == (case.difference is not None)
    before = contents(output)
    for _ in range(2):  # unfinished, then finished
        if case.difference is not None:
            with pytest.raises(UserError) as raised:
                case.make(output, silent, other=True)
            assert f"was begun with {case.difference}; restore the old setting, or choose" in str(raised.value)
            assert contents(output) == before
        case.make(output, silent)
        assert is_finished(output, case.kind)
        before = contents(output)
    case.make(tmp_path / "whole", silent)
    assert results(output) == results(tmp_path / "whole")
    assert not list(output.rglob(".*"))


class Full:
    """A file on a disk that is full."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("number", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_full_disk_leaves_what_goes_on(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path_open, failing, output = Path.open, case.files[number], tmp_path / "out"

    def watched(path: Path, file: Any) -> Any:
        return Full(file) if failing in path.name and output in path.parents else file

    def full(path: Path, mode: str = "r", **options: Any) -> Any:
        file = path_open(path, mode, **options)
        return watched(path, file) if "x" in mode or "w" in mode else file

    case.make(tmp_path / "whole", Listener())
    with monkeypatch.context() as patch, pytest.raises(UserError) as raised:  # noqa: PT012
        patch.setattr(Path, "open", full)
        patch.setattr("congrad.stage.append_to", lambda path: watched(path, append_to(path)))
        case.make(output, Listener())
    assert "cannot write (No space left on device); free some space or choose another output dir" in str(raised.value)
    assert not is_finished(output, case.kind)
    assert not list(output.rglob(".*"))
    case.make(output, Listener())
    assert results(output) == results(tmp_path / "whole")


PAUSED = """
import sys, time
import congrad.exports.export as export
export.card = lambda *arguments, **options: print("here", flush=True) or time.sleep(60)
export.export_run(sys.argv[1], "axolotl", sys.argv[2])
"""


@pytest.mark.parametrize("case", ["export"], indirect=True)
def test_a_killed_export_leaves_the_earlier_one(case: Case, start: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    case.make(output, Listener())
    before = contents(output)
    process = start("-c", PAUSED, tmp_path / "filtered", output)
    assert process.stdout.readline() == "here\n", process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert {name: data for name, data in contents(output).items() if not name.startswith(".new/")} == before
    assert list(output.glob(".new/*"))
    case.make(output, Listener(), other=True)
    assert set(contents(output)) == {"kept.jsonl", "README.md", "train_dpo.yaml", "congrad.json"}
    assert not list(output.glob(".*"))
