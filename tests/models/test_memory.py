"""Memory that a container's limit leaves, and what a process has used."""

import subprocess
import sys

import pytest
import torch

from congrad.models.memory import free_memory, left_in_container


@pytest.mark.parametrize(("limit", "left"), [("max", None), ("1000", 1000 - 600 + 50), ("500", 0), ("nonsense", None)])
def test_a_container_s_limit(tmp_path, limit, left):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 50\nactive_file 50\n")
    assert left_in_container(tmp_path) == left


def test_no_container(tmp_path):
    assert left_in_container(tmp_path) is None


def test_this_machine():
    assert free_memory(torch.device("cpu")) > 2**20


GROWTH = """
import torch
from congrad.models.memory import peak_memory
before = peak_memory(torch.device("cpu"))
held = torch.ones(2**28)
print(before, peak_memory(torch.device("cpu")), held.sum().item())
"""


def test_the_peak_grows_with_what_is_used():
    """In a process of its own: this one's peak may be any test's."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    before, after, _ = map(float, done.stdout.split())
    assert before > 2**20
    assert after - before > 2**28
