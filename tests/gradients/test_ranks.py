"""Several ranks leave the same files as one."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from congrad.errors import UserError
from congrad.gradients import build_index
from congrad.models.load import load_model
from congrad.models.ranks import Rank
from congrad.settings.index import PassSettings

SETTINGS = PassSettings(projection_size=3, token_budget=64)


@pytest.mark.slow
def test_two_processes_leave_the_files_of_one(tmp_path, saved_case, builder, contents, many_pairs):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [builder, str(saved_case), str(tmp_path / "two"), "0"]
    subprocess.run([*launcher, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    build_index(load_model(str(saved_case / "model")), many_pairs(150), tmp_path / "one", SETTINGS)
    assert len(contents(tmp_path / "one")) == 2 + 5
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert (tmp_path / "two" / "index.json").exists()


@pytest.mark.parametrize("world_size", [3, 7])
def test_any_number_of_ranks_takes_every_shard_once(tmp_path, tiny_model, many_pairs, contents, world_size):
    """More ranks than shards too. One thread per rank; a rank has its own model, as a process would."""
    whole, pairs = tmp_path / "one", many_pairs(150)
    build_index(tiny_model(), pairs, whole, SETTINGS)
    barrier, work = threading.Barrier(world_size, timeout=60), [[] for _ in range(world_size)]

    def run(number: int) -> None:
        build_index(
            tiny_model(),
            pairs,
            tmp_path / "many",
            SETTINGS,
            rank=Rank(number, world_size),
            barrier=lambda: barrier.wait(),
            on_progress=work[number].append,
        )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(tmp_path / "many") == contents(whole)
    assert sum(progress[-1].done for progress in work if progress) == 150
    assert sum(not progress for progress in work) == max(0, world_size - 5)
    assert torch.backends.cuda.flash_sdp_enabled()  # of the whole process: the check takes another kernel for a moment


def test_work_of_one_rank_is_resumed_by_two(tmp_path, tiny_model, many_pairs, contents):
    whole, part, pairs, model = tmp_path / "one", tmp_path / "part", many_pairs(100), tiny_model()
    build_index(model, pairs, whole, SETTINGS)
    with pytest.raises(UserError, match=r"sketches-00001.safetensors: not there; ranks on several hosts need"):
        build_index(model, pairs, part, SETTINGS, rank=Rank(0, 2))  # the other rank writes to a disk of its own
    assert {path.name for path in part.glob("sketches-*")} == {
        f"sketches-0000{number}.safetensors" for number in (0, 2)
    }
    assert not (part / "index.json").exists()
    with pytest.raises(UserError, match="unfinished"):  # without a barrier, the second rank is done before the first
        build_index(model, pairs, part, SETTINGS, rank=Rank(1, 2))
    build_index(model, pairs, part, SETTINGS, rank=Rank(0, 2))
    assert contents(part) == contents(whole)
