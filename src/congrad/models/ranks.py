"""The processes that build one index together, as `torchrun` or `accelerate launch` start them."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WAIT = datetime.timedelta(days=30)  # the slowest rank decides; a dead one is the launcher's to notice


@dataclass(frozen=True)
class Rank:
    """This process among those that build the index together."""

    number: int = 0
    world_size: int = 1


def is_first() -> bool:
    """Whether this is the first process of its launcher, or has none; known before they have joined."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def ranks() -> Iterator[Rank]:
    """This process among its launcher's; alone where there is none. An open process group is used and left open:
    a launcher's processes can join one group only, since its store keeps giving the addresses of the first.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Rank()
        return
    import torch.distributed as dist

    if dist.is_initialized():
        yield Rank(dist.get_rank(), dist.get_world_size())
        return
    dist.init_process_group(timeout=WAIT)  # no backend: gloo for what is on the CPU, NCCL for the trainer's GPUs
    try:
        yield Rank(dist.get_rank(), world_size)
    finally:
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Returns when every rank has come here."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        dist.all_reduce(torch.zeros(1))  # on the CPU: a barrier would go through the GPUs where there are some


def from_first(rank: Rank, number: int) -> int:
    """The number that the first process has, in all of them; every one calls this."""
    if rank.world_size == 1:
        return number
    import torch
    import torch.distributed as dist

    # A group opened by `ranks` takes tensors on the CPU; one that a trainer opened for NCCL alone does not.
    told = torch.tensor([number], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.broadcast(told, 0)
    return int(told)
