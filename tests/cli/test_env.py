"""`congrad env` tells of the machine, never of its user, and whatever is broken."""

import importlib.metadata
import os
import time
from pathlib import Path

import torch

SECRET = "hf_thisIsNoRealToken"


def told(out: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in out.splitlines())


def test_it_tells_versions_devices_and_memory(congrad):
    done = congrad("env")
    assert done.code == 0
    found = told(done.out)
    assert found["congrad"] == importlib.metadata.version("congrad")
    assert found["torch"] == torch.__version__
    assert found["memory"].endswith("GB in all")
    assert f"of {os.cpu_count()}" in found["processors"]
    assert "cuda" in found
    assert "GB free" in found["cache"]


def test_it_tells_no_name_no_key_and_no_path(congrad, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "somebody-known")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("CONGRAD_CACHE", str(tmp_path / "secret-project"))
    done = congrad("env")
    assert done.code == 0
    found = told(done.out)
    assert (found["HF_TOKEN"], found["OPENAI_API_KEY"], found["CONGRAD_CACHE"]) == ("set", "set", "set")
    for private in (SECRET, "somebody-known", "secret-project", str(tmp_path), str(Path.cwd()), os.uname().nodename):
        assert private not in done.out


def test_nothing_makes_it_fail(congrad, monkeypatch):
    def fail(*arguments: object) -> None:
        raise RuntimeError("broken driver")

    monkeypatch.setattr(torch.cuda, "is_available", fail)
    monkeypatch.setattr("psutil.virtual_memory", fail)
    monkeypatch.setattr("shutil.disk_usage", fail)
    done = congrad("env")
    assert done.code == 0
    found = told(done.out)
    assert found["cuda"] == found["memory"] == found["cache"] == "unknown (RuntimeError)"


def test_it_is_fast(congrad):
    """Once torch is imported, which this process has done."""
    started = time.process_time()
    assert congrad("env").code == 0
    assert time.process_time() - started < 2
