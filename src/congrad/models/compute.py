"""What a run computes in: chosen once, by its first process, and then the same in every stage, round and resume."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from congrad.errors import UserError
from congrad.models.ranks import Rank, from_first
from congrad.progress import SILENT, Listener
from congrad.settings.model import DTYPES, DType, Model
from congrad.stage import STAGE, read_json

if TYPE_CHECKING:
    import torch

    from congrad.models.precision import Choice


def settle_dtype(
    model: Model,
    *,
    device: "torch.device | None" = None,
    began_in: str | None = None,
    together: Sequence[Model] = (),
    at_other_times: Sequence[Model] = (),
    rank: Rank | None = None,
    listener: Listener = SILENT,
) -> Model:
    """The same model with the dtype that it is loaded in, by name. What was chosen is said in one line.

    Args:
        model: its dtype is auto or what the user asked for, which is then taken, with a warning where it is slow here.
        device: that the model computes on; None for the one that it names.
        began_in: the dtype in which an earlier process began the same run: `auto` stays with it.
        together: other models that are in memory at the same time.
        at_other_times: models that are loaded when this one is not, in the same dtype.
        rank: this process among a launcher's, all of which call this.
    """
    rank = rank or Rank()
    if model.dtype == "auto" and began_in is not None:
        if rank.number == 0:
            listener.on_note(f"computing in {began_in}, as this run began")
        return replace(model, dtype=cast("DType", began_in))
    number = 0
    if rank.number == 0:
        listener.on_stage("choosing the precision")
        choice = _choice(model, device, together, at_other_times)
        (listener.on_warning if choice.is_slow else listener.on_note)(choice.words)
        number = DTYPES.index(choice.dtype)
    return replace(model, dtype=cast("DType", DTYPES[from_first(rank, number)]))


def settle_stage(
    model: Model,
    stage: Path,
    listener: Listener,
    *,
    in_process: bool = True,
    device: "torch.device | None" = None,
    rank: Rank | None = None,
) -> Model:
    """The same for a single stage, which continues in the dtype in which it began: its directory says which."""
    if model.dtype != "auto" or not in_process:  # a loop has settled it before, or a server chooses for itself
        return model
    return settle_dtype(model, device=device, began_in=begun_dtype(stage), rank=rank, listener=listener)


def in_dtype_of(settled: Model, model: Model) -> Model:
    """Another model of the same run, in the dtype that was settled unless it asks for one of its own."""
    return replace(model, dtype=settled.dtype) if model.dtype == "auto" else model


def begun_dtype(stage: Path) -> str | None:
    """The dtype that a stage's settings hold, however deep: all models of a stage are loaded in the same."""
    with suppress(UserError):  # which is said when the stage goes on
        content = read_json(stage / STAGE.first)
        return next((value for value in _dtypes(content) if value in DTYPES), None)
    return None


def _dtypes(content: Any) -> Iterator[Any]:
    for name, value in content.items() if isinstance(content, dict) else ():
        if name == "dtype":
            yield value
        else:
            yield from _dtypes(value)


def _choice(
    model: Model, device: "torch.device | None", together: Sequence[Model], at_other_times: Sequence[Model]
) -> "Choice":
    """What `precision.choose` says of a model, before its weights are read."""
    from congrad.models.device import pick_device
    from congrad.models.load import load_skeleton
    from congrad.models.precision import choose
    from congrad.models.quantised import as_float32

    def size_of(other: Model) -> int:
        return as_float32(load_skeleton(other), other.quantise)

    skeleton = load_skeleton(model)
    num_weights = as_float32(skeleton, model.quantise) + sum(map(size_of, together))
    num_weights = max([num_weights, *map(size_of, at_other_times)])
    return choose(model.dtype, device or pick_device(model.device), skeleton, num_weights=num_weights)
