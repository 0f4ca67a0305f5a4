"""One type of model through the check and the passes, beside truths that nothing of ours has a part in.

Truths: the gradient of `torch.autograd.grad` on the model's own forward, as P G Q^T; the derivative of
log p(chosen) - log p(rejected) along a random direction of the weights, by central differences in float64, which finds
what a family detaches; in bfloat16, what the model's own forward and backward make of the same weights.

Shapes: B pairs, D numbers of a sketch.
"""

import copy
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bench.models.tiny import FIRST, NOT_ALONE, PAST, build
from congrad.errors import UserError
from congrad.gradients.check import check_start, check_whole
from congrad.gradients.packing import IntArray, Triple
from congrad.gradients.passes import pass_sketcher
from congrad.gradients.projection import count_sketch
from congrad.gradients.sketch import PairSketches
from congrad.gradients.space import Space
from congrad.models.load import load_model
from congrad.settings.index import PassSettings, Route

Result = dict[str, Any]
Truth = tuple[torch.Tensor, torch.Tensor]
ROUTES: tuple[Route, ...] = ("auto", "general")
SIZE = 16  # of a sketch, SIZE x SIZE
LENGTHS = ((12, 9, 9, 0), (9, 12, 6, 2), (3, 1, 9, 0), (30, 27, 22, 0))  # prompt, chosen, rejected, shared start
EXACT = 1e-4  # relative, float32
DIFFERENTIABLE = 1e-5  # relative, float64
STEPS = (1e-5, 1e-6, 1e-7)  # of the weights, relative; smaller ones where one meets a kink, such as another expert
TIMES_OWN = 3  # bfloat16
FORMS = (None, "grouped_mm", "eager")  # as it is loaded; with eager attention and these experts


def draw_pairs() -> list[Triple]:
    random = np.random.default_rng(0)

    def draw(prompt: int, chosen: int, rejected: int, shared: int) -> Triple:
        parts = [random.integers(FIRST, PAST, length).astype(np.int32) for length in (prompt, chosen, rejected)]
        parts[2][:shared] = parts[1][:shared]
        return parts[0], parts[1], parts[2]

    return [draw(*lengths) for lengths in LENGTHS]


def plain_logits(model: PreTrainedModel, prompt: IntArray, response: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
    """Those that predict the response, and its ids."""
    ids_T = torch.from_numpy(np.concatenate([prompt, response])).long()
    return model(input_ids=ids_T[None]).logits[0, len(prompt) - 1 : -1], ids_T[len(prompt) :]


def plain_logp(model: PreTrainedModel, prompt: IntArray, response: IntArray) -> torch.Tensor:
    logits_NV, targets_N = plain_logits(model, prompt, response)
    logp_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)).log_softmax(-1)
    return logp_NV.gather(1, targets_N[:, None]).sum()


@torch.no_grad()
def reads_ahead(model: PreTrainedModel, triple: Triple) -> bool:
    """Whether the last token has a say in what is predicted before it."""
    prompt, response, _ = triple
    other = response.copy()
    other[-1] = FIRST + (other[-1] - FIRST + 1) % (PAST - FIRST)
    one, two = (plain_logits(model, prompt, each)[0] for each in (response, other))
    return not torch.allclose(one, two, rtol=1e-4, atol=1e-4)


def weights_of(space: Space) -> list[torch.Tensor]:
    """In the order of `projected`."""
    linear = [layer.module.get_parameter("weight") for layer in space.layers]
    experts = [parameter for each in space.experts for parameter in each.parameters]
    return [*linear, *experts, *(matrix.parameter for matrix in space.matrices)]


@contextmanager
def trainable(weights: Sequence[torch.Tensor]) -> Iterator[None]:
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)


def plain_gradients(
    model: PreTrainedModel, weights: Sequence[torch.Tensor], triple: Triple
) -> tuple[list[torch.Tensor], list[float]]:
    """Of log p(chosen) - log p(rejected), and both."""
    prompt, *responses = triple
    with trainable(weights):
        chosen, rejected = (plain_logp(model, prompt, response) for response in responses)
        gradients = torch.autograd.grad(chosen - rejected, weights, allow_unused=True, materialize_grads=True)
    return list(gradients), [chosen.item(), rejected.item()]


@cache
def matrix(name: str, side: str, count: int) -> torch.Tensor:
    """A projection, count x SIZE."""
    return count_sketch(name, side, count, SIZE, 0, torch.device("cpu")).matrix()


@cache
def matrix_of(name: str, side: str, count: int, index: int) -> torch.Tensor:
    """One of a stack: signs of its own, and the buckets of the first."""
    first, own = (count_sketch(f"{name}.{i}", side, count, SIZE, 0, torch.device("cpu")) for i in (0, index))
    return replace(own, shifts=first.shifts).matrix()


def projected(space: Space, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum of P G Q^T by its definition: matrix after matrix, expert after expert."""
    total, remaining = torch.zeros(SIZE, SIZE), iter(gradients)
    for layer in space.layers:
        gradient = next(remaining).float()
        gradient = gradient.T if isinstance(layer.module, Conv1D) else gradient
        left = matrix(layer.name, "left", layer.num_outputs)
        total += left.T @ gradient @ matrix(layer.right_name, "right", layer.num_inputs)
    for each in space.experts:
        for name in (each.up, "down_proj"):
            for index, gradient in enumerate(next(remaining).float()):
                gradient = gradient.T if each.module.is_transposed else gradient
                rows, columns = gradient.shape
                if name == "down_proj":
                    left = matrix(f"{each.name}.{name}", "left", rows)
                    right = matrix_of(f"{each.name}.{name}", "right", columns, index)
                else:
                    left = matrix_of(f"{each.name}.{name}", "left", rows, index)
                    right = matrix(f"{each.name}/{columns}", "right", columns)
                total += left.T @ gradient @ right
    for stack in space.matrices:
        gradients_KOI = next(remaining).float().reshape(-1, *stack.parameter.shape[-2:])
        for index, gradient in enumerate(gradients_KOI):
            rows, columns = gradient.shape
            right = matrix(f"{stack.name}/{columns}", "right", columns)
            total += matrix_of(stack.name, "left", rows, index).T @ gradient @ right
    return total.flatten()


def plain_sketches(model: PreTrainedModel, pairs: Sequence[Triple]) -> Truth:
    """P G Q^T of every pair (B x D) and both log-probabilities (B x 2)."""
    space = Space.of(model)
    found = [plain_gradients(model, weights_of(space), triple) for triple in pairs]
    sketches = torch.stack([projected(space, gradients) for gradients, _ in found])
    return sketches, torch.tensor([logps for _, logps in found])


def is_other(value: Any) -> bool:
    return isinstance(value, torch.dtype) and value.is_floating_point


def in_form(model: PreTrainedModel, pairs: Sequence[Triple], form: str | None) -> Truth:
    """The same by one of the model's own implementations, which round differently."""
    if form is not None:
        model = copy.deepcopy(model)
        model.set_attn_implementation("eager")
        model.config._experts_implementation = model.config.get_text_config()._experts_implementation = form
    return plain_sketches(model, pairs)


class InFloat64(TorchFunctionMode):
    """What a forward computes in a precision that it names, it computes in float64."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = [torch.float64 if is_other(each) else each for each in args]
        kwargs = {key: torch.float64 if is_other(value) else value for key, value in (kwargs or {}).items()}
        return (torch.Tensor.double if function is torch.Tensor.float else function)(*args, **kwargs)


def derivative_error(precise: PreTrainedModel, triple: Triple) -> float:
    """How far the derivative along a direction is from the gradient's, relative, in float64."""
    prompt, *responses = triple
    for module in precise.modules():
        if hasattr(module, "config"):
            module.config._experts_implementation = "eager"  # the grouped product knows no float64
    weights = weights_of(Space.of(precise))
    torch.set_default_dtype(torch.float64)
    try:
        with InFloat64():
            gradients, _ = plain_gradients(precise, weights, triple)
            for seed in range(10):
                torch.manual_seed(seed)
                directions = [torch.randn(weight.shape) * weight.square().mean().sqrt() for weight in weights]
                parts = [(gradient * each).sum() for gradient, each in zip(gradients, directions, strict=True)]
                norms = [
                    (gradient.norm() * each.square().mean().sqrt())
                    for gradient, each in zip(gradients, directions, strict=True)
                ]
                slope = float(torch.stack(parts).sum())
                if abs(slope) > 0.3 * float(torch.stack(norms).norm()):
                    break  # one that hardly changes anything would be measured in rounding errors
            errors = []
            for step in STEPS:
                values = []
                for change in (step, -2 * step, step):  # the last one takes it back
                    with torch.no_grad():
                        for weight, each in zip(weights, directions, strict=True):
                            weight.add_(each, alpha=change)
                        chosen, rejected = (float(plain_logp(precise, prompt, response)) for response in responses)
                    values.append(chosen - rejected)
                errors.append(abs((values[0] - values[1]) / (2 * step) - slope) / abs(slope))
    finally:
        torch.set_default_dtype(torch.float32)
    return min(errors)


def adapted(model: PreTrainedModel) -> PreTrainedModel:
    """With a LoRA adapter of which no matrix is zero; the same in every precision."""
    layers = Space.of(model).layers
    plain = [each.name for each in layers if type(each.module) in (nn.Linear, Conv1D)] or [each.name for each in layers]
    mixers = {f"{name}.out_proj" for name, module in model.named_modules() if hasattr(module, "conv1d")}
    plain = [name for name in plain if name not in mixers]  # PEFT refuses the last layer of Mamba's
    settings = peft.LoraConfig(r=3, lora_alpha=6, target_modules=plain)
    inside = peft.get_peft_model(model, settings, autocast_adapter_dtype=False).get_base_model()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in inside.named_parameters():
        if ".lora_" in name:
            parameter.data.copy_((torch.randn(parameter.shape, generator=generator) * 0.2).bfloat16())
    return inside.requires_grad_(False).eval()


def relative(found: torch.Tensor, truth: torch.Tensor) -> float:
    """The largest of all pairs'."""
    least = truth.norm(dim=1).max() * 1e-3  # of a pair whose sides hardly differ
    return float(((found - truth).norm(dim=1) / truth.norm(dim=1).clamp_min(least)).max())


def answer(model: PreTrainedModel, pairs: Sequence[Triple], asked: Route) -> Result:
    """What the program makes of a model: the settings that its check ends with, notes and what the pass gives; or the
    line that refuses it."""
    notes: list[str] = []
    settings = PassSettings(projection_size=SIZE, route=asked)
    try:
        if asked == "auto":
            settings = check_start(model, pairs, settings, notes.append)
            settings = check_whole(model, pairs, settings, notes.append)
        with pass_sketcher(model, settings) as sketch:
            found = sketch(pairs)
    except UserError as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"traceback": in_a_line(error)}
    route = "general" if settings.route == "general" else "packed"
    return {"route": route, "notes": notes, "found": found, "settings": settings}


def seconds(model: PreTrainedModel, pairs: Sequence[Triple], settings: PassSettings) -> float:
    """Of the fastest of some passes."""
    times = []
    with pass_sketcher(model, settings) as sketch:
        for _ in range(2):
            began = time.perf_counter()
            sketch(pairs)
            times.append(time.perf_counter() - began)
    return min(times)


def in_a_line(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({place})"


def compare(found: PairSketches, truth: Truth, own: Iterable[Truth] = ()) -> Result:
    """How far a pass is from the truth.

    Args:
        truth: in float32.
        own: of the model's own forward and backward in its lower precision, in several forms: rounding sends a token
            to another expert in some of them. Differences are in times of the largest of these.
    """
    got = found.sketches_BD, found.logps_B2
    errors, least = [relative(*each) for each in zip(got, truth, strict=True)], [0.0, 0.0]
    result: Result = {"sketch": errors[0], "logps": errors[1], "fine": max(errors) <= EXACT}
    for rounded in own:
        for i in range(2):
            least[i] = max(least[i], float((rounded[i] - truth[i]).norm()), 1e-6 * float(truth[i].norm()))
        times = [float((got[i] - truth[i]).norm()) / least[i] for i in range(2)]
        result |= {"sketch": times[0], "logps": times[1], "fine": max(times) <= TIMES_OWN}
        if result["fine"]:
            break
    return result


def cases(
    single: PreTrainedModel, half: PreTrainedModel, pairs: Sequence[Triple], *, causal: bool, timed: bool
) -> Result:
    """Of a model in float32 and the same in bfloat16: both precisions, the route that is chosen and the general one."""
    row: Result = {}
    truth = plain_sketches(single, pairs) if causal else None
    own = cache(partial(in_form, half, pairs))
    for precision, model in (("float32", single), ("bfloat16", half)):
        for asked in ROUTES:
            name = f"{precision} {asked}"
            row[name] = answer(model, pairs, asked)
            found, settings = row[name].pop("found", None), row[name].pop("settings", None)
            if found is None or truth is None:
                break
            row[name] |= compare(found, truth, map(own, FORMS) if model is half else ())
            if model is single and timed:
                row[name]["seconds"] = seconds(model, pairs, settings)
            if row[name]["route"] == "general":
                break  # it was that one
    return row


def measure(kind: str) -> Result:
    """The row of a type."""
    with tempfile.TemporaryDirectory() as directory:
        return {"type": kind} | measured(kind, directory)


def measured(kind: str, directory: str) -> Result:
    row: Result = {}
    try:
        model, config = build(kind)
        row["class"] = type(model).__name__
        pairs = draw_pairs()
        row["causal"] = not reads_ahead(model, pairs[0])
        model.save_pretrained(directory)
        config.save_pretrained(directory)  # also of the parts that the model is without
    except Exception as error:
        return row | {"not built": NOT_ALONE.get(kind) or in_a_line(error)}
    try:
        load = partial(load_model, directory, device="cpu")
        single, half, precise = (load(dtype=dtype) for dtype in (torch.float32, torch.bfloat16, torch.float32))
    except UserError as error:
        return row | {"refused": str(error).replace(directory, kind)}
    except Exception as error:
        return row | {"traceback": in_a_line(error)}
    single.config.name_or_path = half.config.name_or_path = kind
    row["bare"] = cases(single, half, pairs, causal=row["causal"], timed=True)
    if row["causal"]:
        try:
            row["derivative"] = derivative_error(precise.double(), pairs[0])
        except Exception as error:
            row["no derivative"] = in_a_line(error)
        try:
            single, half = adapted(single), adapted(half)
            plain_logp(single, *pairs[0][:2])
        except Exception as error:  # whatever PEFT has to say
            return row | {"no adapter": in_a_line(error)}
        row["lora"] = cases(single, half, pairs, causal=True, timed=False)
    return row
