"""The processes that build one index together, as `torchrun` or `accelerate launch` start them."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from congrad.errors import UserError
from congrad.gradients import Rank

WAIT = datetime.timedelta(days=30)  # the slowest rank decides; a dead one is the launcher's to notice


@contextmanager
def ranks() -> Iterator[Rank]:
    """This process among its launcher's; alone where there is none. An open process group is used and left open:
    a launcher's processes can join one group only, since its store goes on telling the addresses of the first.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Rank()
        return
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
    if dist.is_initialized():
        dist.all_reduce(torch.zeros(1))  # on the CPU: a barrier would go through the GPUs where there are some


def pick_device(name: str) -> torch.device:
    """`auto` is this rank's CUDA device where there is one, the CPU elsewhere.

    Raises:
        UserError: no such device.
    """
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name!r} is no device; use auto, cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name!r}: the gradient pass runs on cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name!r}: PyTorch finds {torch.cuda.device_count()} CUDA devices; use --device cpu")
    return device
