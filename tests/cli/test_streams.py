"""Standard streams as a machine may give them: a reader that goes, a full disk, no Unicode, none at all."""

import os
import subprocess
import sys

import pytest

SETTINGS = f"{sys.executable} -m congrad settings"
FULL = "/dev/full"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = os.environ | environment
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=whole, check=False)


def test_a_reader_that_goes_is_no_error():
    done = shell(f"{SETTINGS} | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 1)
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists(FULL), reason="Linux has it")
def test_a_full_disk_behind_the_output_is_one_line():
    done = shell(f"{SETTINGS} > {FULL}")
    assert done.returncode == 2
    assert done.stderr.startswith("congrad: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert shell(f"{SETTINGS} nothing.such 2> {FULL}").returncode == 2


def test_closed_streams_are_no_error():
    assert shell(f"{SETTINGS} <&- >&- 2>&-").returncode == 0


def test_a_terminal_without_unicode_is_no_error():
    done = shell(f"{sys.executable} -m congrad 'settings' 'é'", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith("congrad: ")
