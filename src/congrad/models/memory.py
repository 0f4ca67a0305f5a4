"""How much memory there is, and how much this process has used, on any system."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from congrad.errors import UserError
from congrad.machine import ran_out

CGROUP = Path("/sys/fs/cgroup")  # of a container, as its own processes see it
STATUS = Path("/proc/self/status")  # of Linux


@contextmanager
def enough_memory(problem: str, fix: str) -> Iterator[None]:
    """Says in one line what to do when memory runs out."""
    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise UserError(problem, fix) from error
        raise


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had: of the accelerator's memory, or of this machine's, and of a container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    return free if (left := left_in_container(CGROUP)) is None else min(free, left)


def left_in_container(group: Path) -> int | None:
    """What a control group's limit (version 2) leaves, in bytes; None where there is no limit.

    Files that the kernel keeps in memory count as used, and go when the memory is wanted.
    """
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((group / "memory.current").read_text())
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(int(limit) - used + int(kept.get("inactive_file", 0)), 0)
    except (OSError, ValueError):
        return None


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the GPU's memory, or of this process's resident memory elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        if "VmHWM" in fields:  # in kB; what getrusage says on Linux begins at the peak of the process that started this
            return int(fields["VmHWM"].split()[0]) * 1024
    import resource  # Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, Linux in KiB
