"""The gradient index: every pair's sketch on disk, in shards that are each written whole or not at all.

    plan.json                    what is sketched and how; written first, so that a resumed run is checked against it
    pairs.parquet                one row per input row: language, group of the prompt, reason, lengths
    sketches-00007.safetensors   a run of pairs in input order, renamed into place when complete
    reference-00007.safetensors  log-probabilities under another reference model, where there is one
    index.json                   written last: its presence means finished

A sketch is stored as float16 of unit root mean square beside its float32 scale, so that no gradient over- or
underflows. Rows that cannot be scored have a reason in pairs.parquet and no sketch; the others are stored in input
order, whichever process wrote them and however often it was interrupted.

Shapes: P pairs of the index, D dims of a sketch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from annotated_types import Ge, Le
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from congrad.errors import UserError
from congrad.files import write_atomically
from congrad.settings.index import Normalise
from congrad.stage import Amount, Kind, Record, check_record, damaged, is_begun, is_finished, read_json
from congrad.words import one_line

FORMAT = 4  # raised when the same settings give other sketches or files, or when a plan says the same in other words
PAIRS, BUILD_AGAIN = "pairs.parquet", "filter the data again with a new output directory"
SAME_FILES = (3, FORMAT)  # can be read: format 3 had other identities of models
INDEX = Kind("index", first="plan.json", last="index.json")
COLUMNS = pa.schema(
    {
        "row": pa.int64(),
        "language": pa.string(),
        "group": pa.int64(),
        "reason": pa.string(),
        "chosen_tokens": pa.int32(),
        "rejected_tokens": pa.int32(),
    }
)
"""Of pairs.parquet."""
NAMED = 5  # groups, of which the first are the largest
FEW_PERCENT = 0.05  # of the squared gradient: from here on it is said
MUCH_OUTSIDE = 0.1  # of the decoder blocks' weights: from here on a run warns of it
Positive = Annotated[Amount, Ge(1)]


class Sketched(Record):
    projection_size: Positive
    normalise: Normalise
    route: Literal["packed", "general"] = "packed"  # before there was another one


class NewAdapter(Record):
    r: Positive


class AnyPlan(Record):
    """plan.json of any format."""

    fix = BUILD_AGAIN
    format: int


Share = Annotated[float, Ge(0), Le(1)]


class Outside(Record):
    """What is outside the space, as `congrad.gradients.outside` measured it."""

    pairs: Amount
    share: Share
    groups: dict[str, Share]


class Plan(AnyPlan):
    """The same of one that can be read. What decides an index is compared besides (`congrad.gradients.build`)."""

    model: str
    reference: str | None
    data: str
    dtype: str
    settings: Sketched
    lora: NewAdapter | None = None
    num_rows: Amount
    num_pairs: Amount
    num_weights: Amount
    num_weights_outside: Amount
    tied: list[str] = Field([])
    outside: Outside | None = None
    dims: Amount
    shard_pairs: Positive

    @model_validator(mode="after")
    def _belong_together(self) -> "Plan":
        if self.num_pairs > self.num_rows:
            raise ValueError(f"num_pairs should be at most num_rows, {self.num_rows}")
        if self.dims != self.settings.projection_size**2:
            raise ValueError("dims should be the square of settings.projection_size")
        return self


@dataclass(frozen=True)
class Shard:
    """Sketched pairs [start, stop)."""

    number: int
    start: int
    stop: int

    def path(self, directory: Path, kind: str) -> Path:
        return directory / f"{kind}-{self.number:05d}.safetensors"


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def encode(sketches_PD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sketches as (float16 of unit root mean square, float32 scale); a sketch that is zero or not finite becomes zeros
    with scale 0 or NaN."""
    norm_P = torch.linalg.vector_norm(sketches_PD, dim=1, dtype=torch.float64)  # squares leave the range of float32
    scale_P = (norm_P / sketches_PD.shape[1] ** 0.5).float()
    usable_P = torch.isfinite(scale_P) & (scale_P > 0)
    unit_PD = torch.where(usable_P[:, None], sketches_PD / scale_P[:, None], 0)
    return unit_PD.half(), torch.where(torch.isfinite(scale_P), scale_P, torch.nan)


@dataclass(frozen=True)
class GradientIndex:
    """A finished index, and as such the matrix of its unit sketches (float16, P x D), read from disk by slices of rows.

    Attributes:
        directory: where it is.
        plan: the content of plan.json.
        pairs: one row per input row, in input order.
        positions_P: the position in `pairs` of each sketched pair, ascending.
        scales_P: float32; the sketch of pair i is scales_P[i] times its stored unit sketch.
        policy_logps_P2, reference_logps_P2: log-probabilities of (chosen, rejected), summed over tokens, float32.
    """

    directory: Path
    plan: dict[str, Any]
    pairs: pa.Table
    shards: tuple[Shard, ...]
    positions_P: torch.Tensor
    scales_P: torch.Tensor
    policy_logps_P2: torch.Tensor
    reference_logps_P2: torch.Tensor
    _mapped: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.scales_P)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), int(self.plan["dims"])

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        start, stop, step = rows.indices(len(self))
        assert step == 1, "an index is read by runs of rows"
        parts = [torch.empty(0, self.shape[1], dtype=torch.float16)]
        size = int(self.plan["shard_pairs"])
        for shard in self.shards[start // size : -(-stop // size)]:
            if shard.number not in self._mapped:  # mapping it again for every slice takes longer than reading that
                file = opened(shard.path(self.directory, "sketches"))
                self._mapped[shard.number] = file.get_slice("sketches")
            sketches = self._mapped[shard.number]
            parts.append(sketches[max(start, shard.start) - shard.start : min(stop, shard.stop) - shard.start])
        return parts[1] if len(parts) == 2 else torch.cat(parts)


def opened(path: Path) -> Any:
    """A shard."""
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"unreadable ({one_line(error)})", "delete it and run the same command again", at=path)


def read_plan(directory: Path, formats: tuple[int, ...] = (FORMAT,)) -> dict[str, Any] | None:
    """The plan of an index that was begun here, or None. To continue an index, its format must be the newest."""
    if not is_begun(directory, INDEX):
        return None
    path = directory / INDEX.first
    plan = read_json(path, AnyPlan)
    if plan["format"] not in formats:
        problem = f"the index has format {plan['format']}, and this version reads format {FORMAT}"
        raise UserError(problem, BUILD_AGAIN, at=path)
    check_record(path, plan, Plan)
    plan["settings"] = {"route": "packed"} | plan["settings"]
    return {"tied": [], "outside": None} | plan


def decided(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What decides an index's content, by the names that a person knows, in the order in which differences are named:
    the precision before the model, whose fingerprint depends on it."""
    return {
        "model.dtype": plan.get("dtype"),
        "model.quantise": plan.get("quantise"),
        "model.lora": plan.get("lora"),
        "the model (model.name, model.adapter)": plan.get("model"),
        "the reference model (model.reference)": plan.get("reference"),
        "the tokenised pairs (the section input)": plan.get("data"),
        "index": plan.get("settings"),
    }


def share_of_weights(plan: Mapping[str, Any]) -> float:
    """How much of the weights in the decoder blocks is outside."""
    inside, outside = int(plan["num_weights"]), int(plan["num_weights_outside"])
    return outside / (inside + outside)


def in_words(outside: Mapping[str, Any]) -> str:
    """What a plan says is outside the space, in a line."""
    parts = [f"{share:.0%} {name}" for name, share in outside["groups"].items() if share >= FEW_PERCENT / 10][:NAMED]
    measured = f"measured on {outside['pairs']} pair{'s' if outside['pairs'] > 1 else ''}"
    share = f"{outside['share']:.0%} of the squared gradient"
    return f"{share} is outside the gradient space ({measured}): {', '.join(parts)}"


def shards_of(plan: Mapping[str, Any]) -> tuple[Shard, ...]:
    bounds = [*range(0, plan["num_pairs"], plan["shard_pairs"]), plan["num_pairs"]]
    return tuple(Shard(number, *span) for number, span in enumerate(pairwise(bounds)))


def read_pairs(directory: Path, plan: Mapping[str, Any]) -> pa.Table:
    """pairs.parquet in the types of `COLUMNS`, after a look at how many rows it claims."""
    path = directory / PAIRS
    try:
        if not path.is_file():
            raise FileNotFoundError("not a file")
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows != plan["num_rows"]:
                problem = f"num_rows should be {file.metadata.num_rows}, as in {PAIRS}"
                raise damaged(directory / INDEX.first, problem, BUILD_AGAIN)
            pairs = file.read().select(COLUMNS.names).cast(COLUMNS)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise unreadable(path, error) from error
    if any(column.null_count for column in pairs.columns):
        raise damaged(path, "a value is null", BUILD_AGAIN)
    return pairs


def _check_tensors(path: Path, file: Any, wanted: Mapping[str, tuple[str, list[int]]]) -> None:
    """Refuses a shard that lacks one of the tensors, or holds it in another type or shape."""
    there = set(file.keys())
    for name, kind in wanted.items():
        found = file.get_slice(name) if name in there else None
        if found is None or (found.get_dtype(), found.get_shape()) != kind:
            raise damaged(path, f"{name} should be {kind[0]} of the shape {kind[1]}", BUILD_AGAIN)


def open_index(directory: str | Path) -> GradientIndex:
    """Opens a finished index; sketches stay on disk.

    Raises:
        UserError: there is none, it is unfinished, or a shard is damaged or missing.
    """
    directory = Path(directory)
    plan = read_plan(directory, SAME_FILES)
    if plan is None or not is_finished(directory, INDEX):
        state = "no gradient index" if plan is None else "the gradient index is unfinished"
        raise UserError(state, f"run `congrad filter DATA --model MODEL --output {directory.parent}`", at=directory)
    pairs = read_pairs(directory, plan)
    positions = np.flatnonzero(np.array(pairs["reason"].to_pylist(), dtype=object) == "")
    if len(positions) != plan["num_pairs"]:
        raise damaged(directory / INDEX.first, f"num_pairs should be {len(positions)}, as in {PAIRS}", BUILD_AGAIN)
    shards = shards_of(plan)
    scales, policy, reference = [], [], []
    for shard in shards:
        size = shard.stop - shard.start
        logps, path = {"logps": ("F32", [size, 2])}, shard.path(directory, "sketches")
        with opened(path) as file:
            _check_tensors(path, file, {"sketches": ("F16", [size, plan["dims"]]), "scales": ("F32", [size])} | logps)
            scales.append(file.get_tensor("scales"))
            policy.append(file.get_tensor("logps"))
        if plan["reference"] is not None:
            path = shard.path(directory, "reference")
            with opened(path) as file:
                _check_tensors(path, file, logps)
                reference.append(file.get_tensor("logps"))
    policy_P2 = torch.cat([torch.empty(0, 2), *policy])
    return GradientIndex(
        directory=directory,
        plan=plan,
        pairs=pairs,
        shards=shards,
        positions_P=torch.from_numpy(positions),
        scales_P=torch.cat([torch.empty(0), *scales]),
        policy_logps_P2=policy_P2,
        reference_logps_P2=torch.cat(reference) if reference else policy_P2,
    )
