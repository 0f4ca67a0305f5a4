"""Under `CONGRAD_BFLOAT16=slow`, a test that computes larger matrix products in bfloat16 fails and says which.

Where a processor has no instructions for them, products in bfloat16 are 5 to 130 times slower than in float32: a test
that takes a minute here then takes hours there. `auto` chooses float32 under that setting, so what is found here asked
for bfloat16 by name, or went around the choice. A test marked `bfloat16` means to.

What is not seen: other threads (dispatch modes belong to a thread; a backward pass on a CPU stays in the one that asks
for it), other processes, and session fixtures that an earlier test has made.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

MOST = 2**24  # multiply-adds: 1/15 of a second at 0.25e9 a second, which is what a slow processor was seen to do
CPU_ATTENTION = {  # that torch's own registry lacks: the position of the query, and the products made of its shapes
    "_scaled_dot_product_flash_attention_for_cpu": (0, 2.0),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (1, 5.0),  # those of the forward pass once more
}
VECTORS = {"mv": 0, "addmv": 1}  # the position of the matrix


def multiply_adds(operation: Any, arguments: tuple[Any, ...], options: dict[str, Any], out: Any) -> float | None:
    """How many multiply-adds an ATen operation does; None where it is no matrix product."""
    if operation in flop_registry:
        return flop_registry[operation](*arguments, **options, out_val=out) / 2
    name = operation.__name__
    if name in VECTORS:
        return float(arguments[VECTORS[name]].numel())
    if name == "_grouped_mm":  # a matrix for each group of the other's rows, or groups of rows for a matrix each
        one, other = arguments[:2]
        return float(one.numel() * other.shape[-1] * (one.shape[0] if one.ndim == other.ndim == 3 else 1))
    if name in CPU_ATTENTION:
        at, products = CPU_ATTENTION[name]
        query, key = arguments[at : at + 2]
        return products * query.numel() * key.shape[-2]
    return None


def tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


class Watch(TorchDispatchMode):
    """Notes every matrix product with a bfloat16 operand and more than `MOST` multiply-adds; `found` has a line each.

    It raises nothing, so that no `except` in between can hide what it saw.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(tensors((*args, *kwargs.values())))
        half = any(one.dtype == torch.bfloat16 for one in given)
        if half and torch.is_inference_mode_enabled():  # there, `linear` arrives whole, which elsewhere is `addmm` here
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if half and not any(one.is_meta for one in given):
            count = multiply_adds(func.overloadpacket, args, kwargs, out)
            if count is not None and count > MOST:
                shapes = ", ".join(f"{str(one.dtype).removeprefix('torch.')}{list(one.shape)}" for one in given)
                self.found.append(f"{func.overloadpacket}({shapes}): {count:,.0f} multiply-adds")
        return out


# Not where tests/conftest.py has set it for want of another.
IS_GUARDED = os.environ.get("CONGRAD_BFLOAT16") == "slow" and "CONGRAD_TESTS_UNGUARDED" not in os.environ


@contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """Fails the test after its own end where something was found."""
    if not IS_GUARDED or item.get_closest_marker("bfloat16"):
        yield
        return
    with Watch() as watch:
        yield
    if watch.found:
        more = f" (and {len(watch.found) - 1} more)" if len(watch.found) > 1 else ""
        pytest.fail(
            f"{watch.found[0]}{more} in bfloat16, which takes hours on some processors: let `auto` choose the dtype, "
            "or name float32; where bfloat16 is what is tested, mark the test `bfloat16` and make its shapes tiny",
            pytrace=False,
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    with watched(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with watched(item):
        return (yield)
