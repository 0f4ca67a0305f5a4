"""Killed, interrupted and shared between ranks, a run ends in the bytes of an undisturbed one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PAUSED = Path(__file__).with_name("paused.py")
RESULTS = ("scores.parquet", "kept.jsonl", "dropped.jsonl", "languages.json", "index/pairs.parquet")


@pytest.fixture
def command(save_rows, make_rows, tiny_directory, tmp_path) -> list[object]:
    """100 pairs: 4 shards. In float32: what dtype is fastest is measured, and may differ from run to run."""
    rows = save_rows(tmp_path / "pairs.jsonl", make_rows(100))
    return ["filter", rows, "-m", tiny_directory, "--dtype", "float32", "-q", "-o"]


def results(directory: Path) -> dict[str, bytes]:
    shards = sorted(path.relative_to(directory) for path in directory.glob("index/*.safetensors"))
    return {str(name): (directory / name).read_bytes() for name in (*RESULTS, *shards)}


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=["killed", "interrupted"]
)
def test_stopped_and_given_again_ends_the_same(congrad, start, command, tmp_path, files, number):
    process = start(PAUSED, *command, tmp_path / "stopped")
    assert process.stdout.readline() == "sketches-00000.safetensors\n", process.stderr.read()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "congrad: interrupted; run the same command again to continue where it stopped\n"
    else:
        assert process.returncode == -signal.SIGKILL
    shards = {"index/plan.json", "index/pairs.parquet", "index/sketches-00000.safetensors"}
    left = {".lock"} if number == signal.SIGKILL else set()
    assert files(tmp_path / "stopped") == {"index", *shards} | left
    unfinished = congrad("filter", tmp_path / "stopped", "--keep", 0.3)
    assert unfinished.refused
    assert "unfinished run; run the command that began it again" in unfinished.err

    first = tmp_path / "stopped" / "index" / "sketches-00000.safetensors"
    written = first.stat().st_mtime_ns
    (first.parent / f".{first.name}.0123456789abcdef").write_bytes(b"half")  # of a kill in a write
    (tmp_path / "stopped" / ".new").mkdir()
    (tmp_path / "stopped" / ".new" / "kept.jsonl").write_bytes(b"half")
    assert congrad(*command, tmp_path / "stopped").code == 0
    assert first.stat().st_mtime_ns == written
    assert congrad(*command, tmp_path / "whole").code == 0
    assert results(tmp_path / "stopped") == results(tmp_path / "whole")
    assert len(results(tmp_path / "whole")) == len(RESULTS) + 4
    assert not [name for name in files(tmp_path / "stopped") if "/." in f"/{name}"]


@pytest.mark.parametrize(
    "leftover", ["index", "index/.plan.json.0123456789abcdef", ".new/kept.jsonl", ".probe.0123456789abcdef"]
)
def test_a_run_killed_in_its_first_moments_can_begin_again(congrad, command, tmp_path, leftover):
    path = tmp_path / "run" / leftover
    path.parent.mkdir(parents=True)
    path.mkdir() if leftover == "index" else path.write_text("{")
    assert congrad(*command, tmp_path / "run").code == 0


def test_other_settings_do_not_go_on_with_an_index(congrad, command, tmp_path, files):
    assert congrad(*command, tmp_path / "run").code == 0
    before = {name: (tmp_path / "run" / name).read_bytes() for name in RESULTS}
    for options, part in (
        (["index.seed=1"], "index.seed 0, now 1"),
        (["index.layers=upper"], 'index.layers null, now "upper"'),
        (["input.max_length=7"], "other content of the tokenised pairs (the section input)"),
        (["--dtype", "bfloat16"], 'model.dtype "float32", now "bfloat16"'),
    ):
        done = congrad(*command, tmp_path / "run", *options)
        assert done.refused, done.err
        assert not done.out
        assert part in done.err
        assert "choose another output directory" in done.err
    assert {name: (tmp_path / "run" / name).read_bytes() for name in RESULTS} == before
    assert (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.slow
def test_two_ranks_give_the_bytes_of_one(congrad, command, tmp_path):
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "congrad"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *map(str, command), str(tmp_path / "two")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept 51 of 100 pairs") == 1, "one rank speaks"
    assert congrad(*command, tmp_path / "one").code == 0
    assert results(tmp_path / "two") == results(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("program", [["-m", "congrad"], [Path(sys.executable).with_name("congrad")]], ids=str)
def test_a_process_of_its_own_says_no_more_than_the_mistake(start, tmp_path, program):
    process = start(*program, "filter", tmp_path / "none.jsonl", "--model", "gemma3-270m")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err == f"congrad: {tmp_path / 'none.jsonl'}: no such file or folder; check the path\n"
