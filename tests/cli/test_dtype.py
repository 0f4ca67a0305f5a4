"""One precision for a run: chosen once, said in a line, and kept by whoever goes on with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RESULTS = ("scores.parquet", "kept.jsonl", "index/sketches-00000.safetensors")
TWO_RANKS = """
import os, sys
os.environ["CONGRAD_BFLOAT16"] = "{first}" if os.environ["RANK"] == "0" else "{second}"
from congrad.cli import main
main()
"""


@pytest.fixture
def command(pairs_file, tiny_directory, tmp_path) -> list[object]:
    return ["filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run"]


def results(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in RESULTS}


def dtype_of(run: Path) -> str:
    return json.loads((run / "index" / "plan.json").read_text())["dtype"]


@pytest.mark.bfloat16
@pytest.mark.parametrize(("position", "dtype"), [("slow", "float32"), ("fast", "bfloat16")])
def test_auto_is_what_is_fast_here_and_a_line_says_so(congrad, command, tmp_path, monkeypatch, position, dtype):
    monkeypatch.setenv("CONGRAD_BFLOAT16", position)
    done = congrad(*command)
    assert done.code == 0, done.err
    assert dtype_of(tmp_path / "run") == dtype
    chosen = [line[9:] for line in done.err.splitlines() if "computing in" in line]
    assert len(chosen) == 1
    assert chosen[0].startswith(f"computing in {dtype}: CONGRAD_BFLOAT16 is {position}")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["config"]["model"]["dtype"] == "auto"


@pytest.mark.bfloat16
@pytest.mark.parametrize(
    ("position", "asked", "faster"), [("slow", "bfloat16", "float32"), ("fast", "float32", "bfloat16")]
)
def test_a_dtype_that_was_asked_for_is_taken_and_a_faster_one_named(
    congrad, command, tmp_path, monkeypatch, position, asked, faster
):
    monkeypatch.setenv("CONGRAD_BFLOAT16", position)
    done = congrad(*command, "--dtype", asked)
    assert done.code == 0, done.err
    assert dtype_of(tmp_path / "run") == asked
    warned = [line[9:] for line in done.err.splitlines() if line[9:].startswith("warning: computing")]
    assert warned == [
        f"warning: computing in {asked}, as asked; {faster} would be faster: CONGRAD_BFLOAT16 is {position}"
    ]


@pytest.mark.bfloat16
@pytest.mark.parametrize(("began", "now", "dtype"), [("slow", "fast", "float32"), ("fast", "slow", "bfloat16")])
def test_a_run_is_resumed_in_the_dtype_in_which_it_began(congrad, command, tmp_path, monkeypatch, began, now, dtype):
    monkeypatch.setenv("CONGRAD_BFLOAT16", began)
    assert congrad(*command).code == 0
    whole = results(tmp_path / "run")
    for name in ("index/index.json", "index/sketches-00000.safetensors", "manifest.json"):  # as a kill leaves it
        (tmp_path / "run" / name).unlink()
    monkeypatch.setenv("CONGRAD_BFLOAT16", now)
    done = congrad(*command)
    assert done.code == 0, done.err
    assert f"computing in {dtype}, as this run began" in done.err
    assert results(tmp_path / "run") == whole
    other = {"float32": "bfloat16", "bfloat16": "float32"}[dtype]
    refused = congrad(*command, "--dtype", other)
    assert refused.refused
    assert "was begun with model.dtype" in refused.err


@pytest.mark.bfloat16
@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "dtype"), [("slow", "fast", "float32"), ("fast", "slow", "bfloat16")])
def test_two_ranks_that_measure_differently_use_what_the_first_chose(
    congrad, command, tmp_path, monkeypatch, first, second, dtype
):
    program = tmp_path / "ranks.py"
    program.write_text(TWO_RANKS.format(first=first, second=second))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
        + [str(word) for word in command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("computing in") == 1
    assert dtype_of(tmp_path / "run") == dtype
    monkeypatch.setenv("CONGRAD_BFLOAT16", first)
    assert congrad(*command[:-1], tmp_path / "one").code == 0
    assert results(tmp_path / "one") == results(tmp_path / "run")


@pytest.mark.parametrize("value", ["quick", "SLOW"])
def test_a_wrong_position_of_the_switch_is_a_mistake(congrad, command, monkeypatch, value):
    monkeypatch.setenv("CONGRAD_BFLOAT16", value)
    done = congrad(*command)
    assert done.refused, done.err
    assert f"CONGRAD_BFLOAT16 is {value!r}; set it to slow, fast or measure" in done.err
