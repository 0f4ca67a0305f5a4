"""What a run will take, before any model is loaded: its stages, how much each makes at most, and what that costs.

Counts are upper bounds: answers that repeat are dropped, and ties make no pair. Seconds depend on the device and on how
long answers turn out, so costs are shown by what decides them: tokens, passes over the model, and disk.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, comb, prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from congrad.errors import UserError
from congrad.evaluation.run import read_inputs
from congrad.loop.check import check
from congrad.loop.growth import dtype_of_run
from congrad.loop.plan import INDEXED, Step, layout
from congrad.loop.run import evaluated_rounds, given_pairs
from congrad.models.compute import settle_dtype
from congrad.models.packaged import resolve
from congrad.preferences.load import read_preferences
from congrad.selection.keep import num_kept
from congrad.selfreward.prompts import load_prompts
from congrad.settings.index import default_projection_size
from congrad.settings.tree import RunConfig
from congrad.training.loss import advice
from congrad.words import one_line

FLOAT16_BYTES, FLOAT32_BYTES = 2, 4


@dataclass(frozen=True)
class Cost:
    """Of one step.

    Attributes:
        makes: what comes out, at most.
        work: the computation it needs.
        disk_bytes: what stays on the disk besides text; None where that is not known, 0 where there is only text.
    """

    step: Step
    makes: str
    work: str
    disk_bytes: int | None = 0


def costs(config: RunConfig, output: Path) -> Iterator[Cost]:
    """The steps of a run, in their order, with their costs."""
    check(config)
    place = layout(config, output)
    num_prompts = len(load_prompts(config.prompts)) if config.prompts.source is not None else 0
    answers = config.generate.samples
    made = num_prompts * (comb(answers, 2) if config.pair.method == "all" else int(answers > 1))
    pairs_of = dict.fromkeys(range(1, config.rounds.count + 1), made)
    if place.starts_from_pairs:
        pairs_of[1] = len(read_preferences(given_pairs(config)))
    num_weights, weight_bytes = size_of(config.model.name)
    if num_weights is not None:
        dtype = settle_dtype(config.model, began_in=dtype_of_run(output)).dtype
        weight_bytes = num_weights * (FLOAT32_BYTES if dtype == "float32" else FLOAT16_BYTES)
    samples = num_prompts * answers
    for step in place.steps(config.rounds.count):
        num_pairs, method = pairs_of[step.round], step.arm or place.arms[0]
        match step.stage:
            case "generate":
                tokens = samples * config.generate.max_tokens
                yield Cost(step, f"{samples:,} answers to {num_prompts:,} prompts", f"{tokens:,} tokens written")
            case "judge":
                yield judge_cost(config, step, samples)
            case "pair":
                yield Cost(step, f"{num_pairs:,} pairs", "language identification, no model")
            case "filter":
                cost = filter_cost(config, step, method, num_pairs, has_index=step.round == 1 and INDEXED in place.arms)
                generated = method == INDEXED and not (place.starts_from_pairs and step.round == 1)
                yield with_pairings(config, cost, num_prompts) if generated and config.filter.pairings else cost
            case "train":
                numbers = range(1 if config.rounds.data == "accumulated" else step.round, step.round + 1)
                kept = sum(kept_of(config, method, pairs_of[number]) for number in numbers)
                yield train_cost(config, step, kept, num_weights, weight_bytes)
            case "evaluate":
                yield evaluate_cost(config, step)


def kept_of(config: RunConfig, method: str, num_pairs: int) -> int:
    keep = config.selection.keep
    return num_pairs if method == "none" or keep is None or keep == "auto" else num_kept(num_pairs, keep)


def judge_cost(config: RunConfig, step: Step, samples: int) -> Cost:
    judge = config.judge
    if judge.kind != "llm":
        return Cost(step, f"{samples:,} rewards", f"{samples:,} answers forward, by the model and by its reference")
    judgements = samples * judge.samples
    return Cost(step, f"{judgements:,} judgements", f"{judgements * judge.max_tokens:,} tokens written")


def filter_cost(config: RunConfig, step: Step, method: str, num_pairs: int, *, has_index: bool) -> Cost:
    makes = f"{kept_of(config, method, num_pairs):,} of {num_pairs:,} pairs kept"
    also_reference = config.rounds.reference == "initial" and step.round > 1
    if method == INDEXED:
        size = config.index.projection_size or default_projection_size(num_pairs)
        work = f"{num_pairs:,} pairs forward and backward" + (", and forward by M0" if also_reference else "")
        return Cost(step, makes, work, num_pairs * size**2 * FLOAT16_BYTES)
    if method in ("none", "random"):
        return Cost(step, makes, "no model")
    if method == "reward-margin" and not (step.round == 1 and config.prompts.pairs is not None):
        return Cost(step, makes, "the judge's scores, no model")
    work = "log-probabilities of congrad's index" if has_index else f"{num_pairs:,} pairs forward"
    return Cost(step, makes, work)


def with_pairings(config: RunConfig, cost: Cost, num_prompts: int) -> Cost:
    """With the pairs that only the other ways of pairing make."""
    answers = config.generate.samples
    ways = {config.pair.method, *config.filter.pairings}
    own, most = (comb(answers, 2) if "all" in each else len(each) for each in ({config.pair.method}, ways))
    further = num_prompts * (min(most, comb(answers, 2)) - min(own, comb(answers, 2)))
    size = config.index.projection_size or default_projection_size(num_prompts * own)
    work = f"{cost.work}; {further:,} more to compare ways of pairing"
    return replace(cost, work=work, disk_bytes=(cost.disk_bytes or 0) + further * size**2 * FLOAT16_BYTES)


def train_cost(config: RunConfig, step: Step, kept: int, num_weights: int | None, weight_bytes: int | None) -> Cost:
    budget = advice(config.train, config.advice)
    steps = budget.steps or ceil(ceil(kept / budget.batch_size) * budget.epochs)
    work = f"{steps:,} steps of {budget.batch_size} on {kept:,} pairs"
    if num_weights is not None and config.rounds.lora is None:
        # The checkpoint beside it while it trains: weights and two moments of the optimiser.
        work += f"; {3 * FLOAT32_BYTES * num_weights / 1e9:.1f} GB more on the disk while it trains"
    return Cost(step, f"M{step.round}", work, weight_bytes)


def evaluate_cost(config: RunConfig, step: Step) -> Cost:
    inputs = read_inputs(config.evaluate)
    num_models = 1 + len(evaluated_rounds(config)) * len(config.filter.methods)
    parts = []
    if inputs.pairs is not None:
        parts.append(f"{num_models * len(inputs.pairs):,} pairs forward")
    if num_items := sum(len(items) for _, items in inputs.tasks.values()):
        parts.append(f"{num_models * num_items:,} examples of tasks")
    if config.evaluate.win_rate is not None:
        parts.append(f"{num_models * len(inputs.prompts):,} answers and their comparison in both orders")
    if config.evaluate.lm_eval is not None:
        parts.append(f"{', '.join(config.evaluate.lm_eval.tasks)} for each")
    return Cost(step, f"a table of {num_models} models", "; ".join(parts))


def size_of(name: str) -> tuple[int | None, int | None]:
    """Number and bytes of a model's weights, from the headers of its files; None for a model that is not at hand."""
    files = sorted(Path(resolve(name)).glob("*.safetensors"))
    if not files:
        return None, None
    sizes = [header_of(path) for path in files]
    return sum(number for number, _ in sizes), sum(size for _, size in sizes)


def header_of(path: Path) -> tuple[int, int]:
    """Numbers and bytes of the tensors in a safetensors file, whose header is checked first."""
    try:
        safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise UserError(f"unreadable ({one_line(error)})", "save the model again, or name another", at=path) from error
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    offsets = [tensor["data_offsets"] for tensor in tensors]
    return sum(prod(tensor["shape"]) for tensor in tensors), sum(end - start for start, end in offsets)
