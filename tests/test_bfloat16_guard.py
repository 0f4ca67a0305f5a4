"""`tests/bfloat16.py` fails the tests that it is there to fail, and no others."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.bfloat16 import MOST, Watch

ROOT = Path(__file__).parents[1]
WIDE = MOST // 2**16  # a product of 256 x 256 x WIDE is the largest that is let through
pytestmark = pytest.mark.bfloat16


def half(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.bfloat16)


def found(compute: Callable[[], object]) -> list[str]:
    with Watch() as watch:
        compute()
    return watch.found


def test_the_largest_product_that_is_let_through():
    assert found(lambda: half(256, 256) @ half(256, WIDE)) == []
    (line,) = found(lambda: half(256, 256) @ half(256, WIDE + 1))
    assert line == "aten.mm(bfloat16[256, 256], bfloat16[256, 257]): 16,842,752 multiply-adds"
    assert found(lambda: torch.zeros(256, 256) @ torch.zeros(256, WIDE + 1)) == []


@pytest.mark.parametrize(
    ("compute", "name"),
    [
        (lambda: torch.addmm(half(257), half(256, 256), half(256, 257)), "addmm"),
        (lambda: torch.bmm(half(2, 256, 256), half(2, 256, 129)), "bmm"),
        (lambda: torch.baddbmm(half(1), half(2, 256, 256), half(2, 256, 129)), "baddbmm"),
        (lambda: half(MOST // 4096 + 1, 4096) @ half(4096), "mv"),
        (lambda: half(2, 256, 256) @ half(256, 129), "mm"),
        (lambda: torch.einsum("nij,njk->nik", half(2, 256, 256), half(2, 256, 129)), "bmm"),
        (lambda: F.linear(half(1, 256, 256), half(257, 256), half(257)), "addmm"),
        (lambda: F.conv1d(half(1, 64, 512), half(257, 64, 2)), "convolution"),
        (lambda: F.scaled_dot_product_attention(*[half(1, 2, 512, 33)] * 3), "attention"),
        (lambda: torch._grouped_mm(half(256, 256), half(2, 256, 264), offs=torch.tensor([128, 256]).int()), "grouped"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("inference", [False, True], ids=["", "inference"])
def test_every_kind_of_product_is_seen(compute: Callable[[], object], name: str, inference: bool):
    with torch.inference_mode(inference):
        lines = found(compute)
    assert len(lines) == 1, lines
    assert name in lines[0]


def test_a_backward_pass_is_seen():
    weight, x = half(257, 256).requires_grad_(), half(256, 256).requires_grad_()
    result = F.linear(x, weight).sum()
    assert len(found(result.backward)) == 2
    query = half(1, 2, 512, 14).requires_grad_()  # the forward pass is small enough
    assert found(lambda: F.scaled_dot_product_attention(query, query, query)) == []
    attended = F.scaled_dot_product_attention(query, query, query).sum()
    (line,) = found(attended.backward)
    assert "attention_for_cpu_backward" in line


TESTS = """
import pytest
import torch


def multiply(wide):
    return torch.zeros(256, 256, dtype=torch.bfloat16) @ torch.zeros(256, wide, dtype=torch.bfloat16)


@pytest.fixture
def made():
    return multiply(300)


def test_small():
    multiply(256)


def test_large():
    multiply(257)


def test_swallowed():
    try:
        multiply(257)
        raise ValueError
    except Exception:
        pass


def test_in_a_fixture(made):
    pass


def test_wrong_by_itself():
    multiply(257)
    assert 1 == 2


@pytest.mark.bfloat16
def test_marked(made):
    multiply(257)
"""


def outcomes(directory: Path, setting: str | None) -> tuple[dict[str, str], str]:
    path = directory / "test_it.py"
    path.write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONGRAD_")}
    plugins = ("-p", "tests.bfloat16", "-p", "no:cacheprovider", "-p", "no:xdist")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-v", "-c", ROOT / "pyproject.toml", "--rootdir", directory, path],
        cwd=ROOT,
        env=environment | ({} if setting is None else {"CONGRAD_BFLOAT16": setting}),
        capture_output=True,
        text=True,
        check=False,
    )
    return dict(re.findall(r"^\S*test_it\.py::test_(\w+) ([A-Z]+) ", done.stdout, re.M)), done.stdout


def test_a_test_fails_that_multiplies_in_bfloat16_and_is_not_marked(tmp_path):
    ended, text = outcomes(tmp_path, "slow")
    assert ended == {
        "small": "PASSED",
        "large": "FAILED",
        "swallowed": "FAILED",
        "in_a_fixture": "ERROR",
        "wrong_by_itself": "FAILED",
        "marked": "PASSED",
    }
    assert "aten.mm(bfloat16[256, 256], bfloat16[256, 257]): 16,842,752 multiply-adds in bfloat16" in text
    assert "assert 1 == 2" in text, "its own failure is the one that is shown"


@pytest.mark.parametrize("setting", [None, "fast"])
def test_nothing_is_watched_without_the_switch(tmp_path, setting):
    ended, _ = outcomes(tmp_path, setting)
    assert ended.pop("wrong_by_itself") == "FAILED"
    assert set(ended.values()) == {"PASSED"}
