"""Seeded count sketches (Charikar et al. 2002) from a counter-based generator: the same on every device, never stored.

A weight gradient G = sum_t d_t a_t^T (outputs x inputs) is compressed to P G Q^T. P and Q have a single +1 or -1 in
every column: each coordinate goes to one of `size` buckets with a random sign. E[P^T P] = E[Q^T Q] = I, so inner
products of sketches are those of gradients on average, with the variance of dense random signs or less; and P d is a
signed sum of runs of d instead of a matrix product, so that a wide sketch costs hardly more than a narrow one.

The hash that picks the bucket: coordinates are cut into runs as long as there are buckets, and each run is rotated by a
random shift. No two coordinates of a run ever meet, and a vector shorter than the sketch is kept whole. Coordinates at
equal places of several attention heads meet no more often than others; nor do equal coordinates of two layers, which
matters where all layers read a residual stream with the same few large coordinates.

Shapes: T tokens, N coordinates, p = size.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class CountSketch:
    """From vectors of N coordinates to p buckets.

    Attributes:
        sign_N: +1 or -1 per coordinate (float32), on the device of what will be sketched.
        shifts: how far each run of p coordinates is rotated.
        size: p.
    """

    sign_N: torch.Tensor
    shifts: list[int]
    size: int

    def __call__(self, values_TN: torch.Tensor) -> torch.Tensor:
        """The sketch of every row, T x p in float32."""
        return (self.by_gathering if values_TN.is_cuda else self.by_adding)(values_TN)

    def by_adding(self, values_TN: torch.Tensor) -> torch.Tensor:
        """Run by run: what suits a CPU's cache."""
        buckets_Tp = torch.zeros(len(values_TN), self.size, device=values_TN.device)
        for run_TR, shift in zip((values_TN.float() * self.sign_N).split(self.size, dim=1), self.shifts, strict=True):
            before = min(run_TR.shape[1], self.size - shift)
            buckets_Tp[:, shift : shift + before] += run_TR[:, :before]
            if before < run_TR.shape[1]:
                buckets_Tp[:, : run_TR.shape[1] - before] += run_TR[:, before:]
        return buckets_Tp

    def by_gathering(self, values_TN: torch.Tensor) -> torch.Tensor:
        """All runs at once, rotated by a gather: three kernels however many runs there are."""
        num_runs, device = len(self.shifts), values_TN.device
        place_Rp = torch.arange(self.size, device=device) - torch.tensor(self.shifts, device=device)[:, None]
        source_M = (place_Rp % self.size + self.size * torch.arange(num_runs, device=device)[:, None]).flatten()
        padded_TM = F.pad(values_TN.float() * self.sign_N, (0, num_runs * self.size - values_TN.shape[1]))
        rotated_TRp = padded_TM[:, source_M].view(len(values_TN), num_runs, self.size)
        return rotated_TRp.sum(1)

    def matrix(self) -> torch.Tensor:
        """The matrix P^T that the sketch multiplies by, N x p: for tests and for a look at it."""
        return self.by_adding(torch.eye(len(self.sign_N), device=self.sign_N.device))


def count_sketch(name: str, side: str, num_coordinates: int, size: int, seed: int, device: torch.device) -> CountSketch:
    """The sketch of one side of a layer; it depends on nothing but the arguments.

    The bits are the raw stream of Philox (Salmon et al. 2011), which numpy keeps stable; the key is a hash of the name.
    """
    digest = hashlib.sha256(f"{seed}/{side}/{name}".encode()).digest()
    generator = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))
    words = generator.random_raw((num_coordinates + 63) // 64).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), count=num_coordinates)
    num_runs = -(-num_coordinates // size)
    shifts = [int(word % size) for word in generator.random_raw(num_runs).astype("<u8")]
    sign_N = torch.from_numpy(bits.astype(np.int8) * 2 - 1).to(device=device, dtype=torch.float32)
    return CountSketch(sign_N, shifts, size)


def halved(sketch_pp: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """Sketches of half the size (... x p/2 x p/2) from ... x p x p, p even, by one more fold of both sides.

    The upper half of the buckets is added with sign `left` (`right`): +1 and -1 give two sketches whose errors beyond
    the whole sketch's own are opposite, and are distributed as that is (see `filtering.fidelity`).
    """
    half = sketch_pp.shape[-1] // 2
    folded_hp = sketch_pp[..., :half, :] + left * sketch_pp[..., half:, :]
    return folded_hp[..., :half] + right * folded_hp[..., half:]
