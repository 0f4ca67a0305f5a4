"""Which model it is: what changes an identity and what does not."""

import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from congrad.errors import UserError
from congrad.models import cache as module
from congrad.models.cache import digest
from congrad.models.identity import files_of, fingerprint, identities, identity
from congrad.models.load import load_model
from congrad.models.packaged import PACKAGES
from congrad.settings.model import Model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Congrad's own, and a clock that is a minute ahead, so that new files are old enough for it."""
    monkeypatch.setenv("CONGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module.time, "time", lambda real=time.time: real() + 60)
    return tmp_path / "cache" / "sha256"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def change_in_place(path: Path, place: int) -> None:
    """Another byte; size and time of change are as before."""
    before = path.stat()
    time.sleep(0.05)  # longer than a tick of the file system's clock
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


# What an identity is made of


def test_the_place_and_the_dtype_it_is_loaded_in_do_not_matter(checkpoint: str, adapter: str, tmp_path: Path) -> None:
    found = identity(Model(checkpoint, adapter=adapter))
    assert len(found) == 64
    copy, other = shutil.copytree(checkpoint, tmp_path / "copy"), shutil.copytree(adapter, tmp_path / "other")
    same = Model(str(copy), dtype="float16", device="cpu", adapter=str(other), reference="x", revision="main")
    assert identity(same) == found
    (tmp_path / "link").symlink_to(copy)
    assert identity(replace(same, name=str(tmp_path / "link"))) == found


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "tokenizer.model",
        "vocab.json",
        "merges.txt",
    ],
)
def test_every_part_counts(checkpoint: str, name: str) -> None:
    before, path = identity(Model(checkpoint)), Path(checkpoint) / name
    content = path.read_bytes() if path.exists() else b"{}"
    path.write_bytes(content + b" ")
    assert identity(Model(checkpoint)) != before


@pytest.mark.parametrize("name", ["README.md", "optimizer.pt", "training_args.bin", "trainer_state.json", "code.py"])
def test_what_is_not_loaded_does_not_count(checkpoint: str, name: str) -> None:
    before, running = identity(Model(checkpoint)), identity(Model(checkpoint, trust_remote_code=True))
    (Path(checkpoint) / name).write_text("something")
    assert identity(Model(checkpoint)) == before
    assert (identity(Model(checkpoint, trust_remote_code=True)) != running) == (name == "code.py")


def test_weights_are_those_that_are_loaded(tmp_path: Path) -> None:
    def weights() -> list[str]:
        return [path.name for path in files_of(tmp_path, code=False) if path.suffix in (".safetensors", ".bin")]

    (tmp_path / "shard-1.safetensors").touch()
    assert weights() == ["shard-1.safetensors"]
    (tmp_path / "pytorch_model-00001-of-00002.bin").touch()
    assert weights() == ["pytorch_model-00001-of-00002.bin"]
    (tmp_path / "model-00001-of-00001.safetensors").touch()
    (tmp_path / "adapter_model.safetensors").touch()
    assert weights() == ["adapter_model.safetensors", "model-00001-of-00001.safetensors"]


def test_an_adapter_counts(checkpoint: str, adapter: str) -> None:
    seen = [identity(Model(checkpoint)), identity(Model(checkpoint, adapter=adapter))]
    change_in_place(Path(adapter) / "adapter_model.safetensors", 1000)
    seen.append(identity(Model(checkpoint, adapter=adapter)))
    settings = Path(adapter) / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"lora_alpha": 5}))
    seen.append(identity(Model(checkpoint, adapter=adapter)))
    assert len(set(seen)) == 4


def test_a_packaged_model_needs_no_files() -> None:
    assert len({identity(Model(name)) for name in PACKAGES}) == len(PACKAGES)


def test_a_model_of_the_hub() -> None:
    with pytest.raises(UserError, match="model no/such: no such directory, and the hub does not have it or cannot"):
        identity(Model("no/such"))
    served = {identity(Model(name, revision=revision), in_process=False) for name in "ab" for revision in (None, "x")}
    assert len(served) == 4


def test_a_snapshot_of_the_hub_is_its_content(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files lie under their hash and are not read; small ones under git's."""
    repository = tmp_path / "hub" / "models--some--model"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / ("0" * 40)
    for directory in (blobs, snapshot, repository / "refs"):
        directory.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    for path in Path(checkpoint).iterdir():
        name = sha256(path) if path.suffix == ".safetensors" else f"{len(path.name):040x}"
        shutil.copy(path, blobs / name)
        (snapshot / path.name).symlink_to(blobs / name)
    expected = identity(Model(checkpoint))
    assert identity(Model(str(snapshot))) == expected
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert identity(Model("some/model")) == identity(Model("some/model", revision="0" * 40)) == expected
    weights = (snapshot / "model.safetensors").resolve()
    weights.write_bytes(b"")
    assert digest(snapshot / "model.safetensors") == weights.name


def test_files_are_hashed_while_something_else_is_done(checkpoint: str, adapter: str) -> None:
    one, other = Model(checkpoint), Model(checkpoint, adapter=adapter)
    with identities(one, other) as which:
        load_model(checkpoint)
        assert [found() for found in which] == [identity(one), identity(other)]


def test_a_file_that_cannot_be_read_is_named(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("congrad.models.identity.digest", broken)
    with pytest.raises(UserError, match=r"config.json cannot be read \(Permission denied\); check the file"):
        identity(Model(checkpoint))


def test_weights_changed_in_place_are_others(checkpoint: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Size and time of change restored: the kernel's own time tells."""
    monkeypatch.setattr(module, "QUICK", 0)
    before = identity(Model(checkpoint))
    assert list(cache.iterdir())
    weights = Path(checkpoint) / "model.safetensors"
    change_in_place(weights, weights.stat().st_size - 1)
    assert identity(Model(checkpoint)) != before
    change_in_place(weights, weights.stat().st_size - 1)
    assert identity(Model(checkpoint)) == before


# The fingerprint of what is in memory


def test_fingerprint_is_of_the_content(checkpoint: str, tmp_path: Path) -> None:
    model = load_model(checkpoint)
    model.save_pretrained(tmp_path / "copy")
    same = [load_model(checkpoint), load_model(str(tmp_path / "copy"), attn_implementation="eager")]
    assert {fingerprint(other) for other in same} == {fingerprint(model)}


def test_fingerprint_sees_every_change(checkpoint: str, adapter: str, tmp_path: Path) -> None:
    model = load_model(checkpoint, dtype="bfloat16")
    seen = [fingerprint(model), fingerprint(load_model(checkpoint, dtype="float32"))]
    model.get_submodule("model.layers.1.mlp.up_proj").weight.view(torch.int16)[3, 5] ^= 1  # the last bit of one weight
    seen.append(fingerprint(model))
    model.config.rope_parameters["rope_theta"] = 5.0
    seen.append(fingerprint(model))
    seen.append(fingerprint(load_model(checkpoint, dtype="bfloat16", adapter=adapter)))
    settings = Path(adapter) / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"lora_alpha": 5}))
    seen.append(fingerprint(load_model(checkpoint, dtype="bfloat16", adapter=adapter)))
    assert len(set(seen)) == len(seen)
