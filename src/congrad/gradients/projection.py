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

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from congrad.models.philox import stream


@dataclass(frozen=True)
class CountSketch:
    """From vectors of N coordinates to p buckets.

    Attributes:
        sign_N: +1 or -1 per coordinate (float32), on the device of what will be sketched.
        shifts: how far each run of p coordinates is rotated.
        size: p.
        parts: sketches of runs of the coordinates, whose buckets stand side by side; none where it is one sketch.
    """

    sign_N: torch.Tensor
    shifts: list[int]
    size: int
    parts: "tuple[CountSketch, ...]" = ()

    def __call__(self, values_TN: torch.Tensor) -> torch.Tensor:
        """The sketch of every row, T x p in float32."""
        if self.parts:
            runs = values_TN.split([len(part.sign_N) for part in self.parts], dim=1)
            return torch.cat([part(run_TR) for part, run_TR in zip(self.parts, runs, strict=True)], dim=1)
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
        return self(torch.eye(len(self.sign_N), device=self.sign_N.device))


def count_sketch(name: str, side: str, num_coordinates: int, size: int, seed: int, device: torch.device) -> CountSketch:
    """The sketch of one side of a layer; it depends on nothing but the arguments."""
    generator = stream(f"{seed}/{side}/{name}")
    words = generator.random_raw((num_coordinates + 63) // 64).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), count=num_coordinates)
    num_runs = -(-num_coordinates // size)
    shifts = [int(word % size) for word in generator.random_raw(num_runs).astype("<u8")]
    sign_N = torch.from_numpy(bits.astype(np.int8) * 2 - 1).to(device=device, dtype=torch.float32)
    return CountSketch(sign_N, shifts, size)


def half_sketches(
    name: str, side: str, num_coordinates: int, size: int, seed: int, device: torch.device
) -> CountSketch:
    """The same with the first half of the coordinates in the lower half of the buckets, and the others in the upper."""
    low, half = num_coordinates // 2, size // 2
    cuts = {"low": (low, half), "high": (num_coordinates - low, size - half)}
    parts = tuple(count_sketch(f"{name}/{part}", side, *cut, seed, device) for part, cut in cuts.items())
    return CountSketch(torch.cat([part.sign_N for part in parts]), [], size, parts)


def halved(sketch_pp: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """Sketches of half the size (... x p/2 x p/2) from ... x p x p, p even, by one more fold of both sides.

    The upper half of the buckets is added with sign `left` (`right`): +1 and -1 give two sketches whose errors beyond
    the whole sketch's own are opposite, and are distributed as that is (see `filtering.fidelity`).
    """
    half = sketch_pp.shape[-1] // 2
    folded_hp = sketch_pp[..., :half, :] + left * sketch_pp[..., half:, :]
    return folded_hp[..., :half] + right * folded_hp[..., half:]


def split(sketch_pp: torch.Tensor, left: int, part: int) -> torch.Tensor:
    """Sketches of half the size from those of `half_sketches` on the right: of one half of the coordinates each.

    The left side is folded as by `halved`. With 1, 0 and -1, 1 what both sides add as errors is opposite.
    """
    half = sketch_pp.shape[-1] // 2
    folded_hp = sketch_pp[..., :half, :] + left * sketch_pp[..., half:, :]
    return folded_hp[..., part * half : (part + 1) * half]
