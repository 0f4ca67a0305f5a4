"""Keep the C library from handing freed activations back to the system between packs.

Every pack frees what it allocated, a few hundred megabytes in pieces of a few. By default glibc returns them to the
kernel, which clears every page again for the next pack: 5% of the time of a bfloat16 pass on two cores.
"""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEEP_BELOW = 2**30  # larger blocks still go back at once


@cache
def keep_freed_memory() -> bool:
    """For the rest of this process; True where it took effect (glibc only)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP_BELOW)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
