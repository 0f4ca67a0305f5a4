"""What the allocators and the kernel caches below PyTorch need to be set to.

Every pack frees what it allocated, a few hundred megabytes in pieces of a few. By default glibc returns them to the
kernel, which clears every page again for the next pack: 5% of the time of a bfloat16 pass on two cores.
"""

import ctypes
import platform
from functools import cache

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEEP_BELOW = 2**30  # larger blocks still go back at once


@cache
def keep_freed_memory() -> bool:
    """For the rest of this process; True where it took effect (glibc only)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP_BELOW)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def shape_multiple(x: torch.Tensor) -> int:
    """The multiple that token counts are padded to before matrix products of tensors like `x`.

    On the CPU, oneDNN compiles a kernel for every new shape of a half-precision product and keeps the last 1024. With
    lengths as they come, a 270M model's pass grew to 6 GB; without that cache a small model took a third longer. The
    tensor cores of GPUs like multiples of 8 as well.
    Float32 products on the CPU are MKL's, which does not care.
    """
    return 1 if x.dtype in (torch.float32, torch.float64) else 64
