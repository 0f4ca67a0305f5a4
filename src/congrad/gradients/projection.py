"""Seeded random projections, from a counter-based generator: the same signs on every device, and never stored.

A weight gradient G = sum_t d_t a_t^T (outputs x inputs) is compressed to P G Q^T, with P and Q of +1 and -1 scaled by
1 / sqrt(size). E[P^T P] = I and E[Q^T Q] = I, so inner products of sketches are those of gradients on average.
"""

import hashlib

import numpy as np
import torch


def signs(name: str, side: str, rows: int, size: int, seed: int) -> torch.Tensor:
    """A rows x size matrix of +1 and -1 (int8) that depends on nothing but the arguments.

    The bits are the raw stream of Philox (Salmon et al. 2011), which numpy keeps stable; the key is a hash of the name.
    """
    digest = hashlib.sha256(f"{seed}/{side}/{name}".encode()).digest()
    generator = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))
    words = generator.random_raw((rows * size + 63) // 64).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), count=rows * size)
    return torch.from_numpy(bits.astype(np.int8) * 2 - 1).view(rows, size)


def projection(
    name: str, side: str, rows: int, size: int, seed: int, *, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """`signs` scaled by 1 / sqrt(size): right-multiplying a vector of length `rows` keeps its norm on average."""
    return signs(name, side, rows, size, seed).to(device=device, dtype=dtype).mul_(size**-0.5)
