"""Who follows the tutorial gets what it shows: its first command, with the real model, beside its output."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, blocks, lines

CLOSE = 0.03  # processors round bfloat16 products differently


def shown(page: Path) -> tuple[str, list[str]]:
    """The command that filters the demo's pairs, and the lines that stand below it."""
    found = blocks(page)
    for block, after in pairwise(found):
        if block.kind == "sh" and after.kind == "text" and "congrad filter demo" in block.text:
            return lines(block)[0], after.text.splitlines()
    raise AssertionError("the tutorial shows no output of its filter")


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d+", line)]


@pytest.mark.slow
def test_the_tutorial_shows_what_its_command_prints(congrad, place):
    command, wanted = shown(ROOT / "docs" / "tutorial.md")
    done = congrad(*command.split()[1:])
    assert done.code == 0, done.err
    found = done.out.splitlines()
    assert found[0].split() == wanted[0].split()
    for got, line in zip(found, wanted, strict=False):
        languages = re.fullmatch(r"[a-z]{2} .*", line)
        if languages:  # the most opposed language changes where two are near one another
            assert got.split()[:3] == line.split()[:3]
            assert numbers(got)[:2] == pytest.approx(numbers(line)[:2], abs=CLOSE)
        elif line.startswith("kept"):
            assert got == line
    # Those that are clear of zero by more than rounding.
    clear = {line.split()[0] for line in wanted if line.endswith("conflict") and numbers(line)[-1] < -CLOSE}
    assert clear
    assert clear <= {line.split()[0] for line in found if line.endswith("conflict")}


def test_the_readme_shows_the_same():
    _, wanted = shown(ROOT / "docs" / "tutorial.md")
    readme = [block.text.splitlines() for block in blocks(ROOT / "README.md") if block.kind == "text"]
    assert wanted in readme
