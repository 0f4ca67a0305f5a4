"""The share of the squared gradient that the space leaves out, measured on a few pairs.

The space holds the matrices of the decoder blocks. What else is trained has a gradient, too: embeddings, the LM head,
norms and biases; of an adapter, its matrices on embeddings and the modules that it saves whole. Here every such
parameter requires a gradient, and of each only the squared norm is kept as it arrives, so that this takes the memory of
the largest one's. That of embeddings and LM head is not made (`embeddings.py`).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel

from congrad.gradients.embeddings import EmbeddingUses
from congrad.gradients.general import TOGETHER, go_back
from congrad.gradients.packing import Triple, num_packed_tokens, side_weights
from congrad.gradients.space import Space, embedded, has_adapter
from congrad.settings.index import Normalise

MOST_PAIRS, MOST_TOKENS = 4, 0.01  # of all packed tokens, but for the first pair
COPIES = 3  # of the largest gradient at a time: of one sequence, of the other, and their sum
LONGEST = TOGETHER // 4  # tokens of a prompt or a side: both sequences fit one backward pass
OF_ADAPTER = re.compile(r"(lora_|modules_to_save\.|token_adapter\.trainable_tokens_)")  # in PEFT's names of parameters
INSIDE = "inside"


def few(pairs: Sequence[Triple]) -> list[Triple]:
    """Pairs of a few lengths, cut; most of them where there are many others."""
    order = sorted(pairs, key=lambda triple: num_packed_tokens(*triple))
    spread = [order[len(order) * part // (MOST_PAIRS + 1)] for part in (2, 3, 1, 4)][: len(order)]
    cut = [(prompt[:LONGEST], chosen[:LONGEST], rejected[:LONGEST]) for prompt, chosen, rejected in spread]
    room = MOST_TOKENS * sum(num_packed_tokens(*triple) for triple in pairs)
    taken = cut[:1]
    for triple in cut[1:]:
        if sum(num_packed_tokens(*each) for each in [*taken, triple]) <= room:
            taken.append(triple)
    return taken


def trained(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """What training changes by convention, each once, with its module: an adapter's parameters, or all weights."""
    adapted, seen = has_adapter(model), set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            is_trained = OF_ADAPTER.search(full) is not None or not adapted
            if id(parameter) in seen or not parameter.is_floating_point() or not is_trained:
                continue
            seen.add(id(parameter))
            yield full, module, parameter


def memory_needed(model: PreTrainedModel, pairs: Sequence[Triple]) -> int:
    """Bytes that measuring takes, about, beside what the pass takes of its own."""
    by_token = embedded(model)
    largest = max(
        (each.numel() * each.element_size() for _, _, each in trained(model) if id(each) not in by_token), default=0
    )
    num_predicted = max(len(chosen) + len(rejected) for _, chosen, rejected in few(pairs))
    return COPIES * largest + int(num_predicted * model.config.get_text_config().vocab_size * model.dtype.itemsize)


def groups(model: PreTrainedModel, space: Space) -> dict[str, tuple[str, nn.Parameter]]:
    """Every trained parameter by name, with the group that it counts in."""
    inside, whole, outside = space.parameters(), Space.of(model), embedded(model)
    left_out = whole.parameters() if len(space.blocks) < len(whole.blocks) else set()

    def group(name: str, module: nn.Module, parameter: nn.Parameter) -> str:
        if id(parameter) in inside:
            return INSIDE
        if id(parameter) in left_out:
            return "decoder blocks that index.layers leaves out"
        if has_adapter(model):  # the same part of every block is one group
            part, kind = OF_ADAPTER.split(re.sub(r"\.\d+\.", ".*.", name))[:2]
            return f"{part.rstrip('.')} ({'modules_to_save' if kind == 'modules_to_save.' else 'LoRA'})"
        if id(parameter) in outside:
            return "embeddings and LM head"
        if isinstance(module, _ConvNd):
            return "convolutions"
        if sum(size > 1 for size in parameter.shape) < 2:
            return "norms and biases"
        kind = type(module).__name__
        is_router = "Router" in kind or kind.endswith("Gate") or name.split(".")[-2:-1] in (["gate"], ["router"])
        return "routers" if is_router else "other matrices"

    return {name: (group(name, module, parameter), parameter) for name, module, parameter in trained(model)}


@contextmanager
def squares(
    found: dict[str, tuple[str, nn.Parameter]], by_token: Collection[int]
) -> Iterator[Callable[[], dict[str, float]]]:
    """While open, a function to the squared norms of what a backward pass has brought, added up by group.

    Args:
        by_token: the ids of the weights of embeddings and LM head.
    """
    sums: dict[str, float] = defaultdict(float)
    handles = []
    embeddings = EmbeddingUses([parameter for _, parameter in found.values() if id(parameter) in by_token])

    def listen(group: str, parameter: nn.Parameter) -> Any:
        @torch.no_grad()
        def take(_: torch.Tensor) -> None:
            assert parameter.grad is not None
            if id(parameter) in embeddings.uses:
                embeddings.uses[id(parameter)].other_VD = parameter.grad
            else:
                sums[group] += torch.linalg.vector_norm(parameter.grad, dtype=torch.float32).item() ** 2
            parameter.grad = None

        return take

    def result() -> dict[str, float]:
        for group, parameter in found.values():
            if id(parameter) in embeddings.uses:
                sums[group] += embeddings.uses[id(parameter)].square()
        return sums

    for group, parameter in found.values():
        parameter.requires_grad_(True)
        handles.append(parameter.register_post_accumulate_grad_hook(listen(group, parameter)))
    try:
        with embeddings:
            yield result
    finally:
        for handle in handles:
            handle.remove()
        for _, parameter in found.values():
            parameter.requires_grad_(False)
            parameter.grad = None


def measure_outside(
    model: PreTrainedModel, pairs: Sequence[Triple], space: Space, normalise: Normalise = "sum"
) -> dict[str, Any] | None:
    """Shares of the squared gradient outside, by group: the mean over a few pairs.

    Returns:
        `pairs`, how many were measured; `share`, all that is outside; `groups`, its parts, largest first. None where
        no pair has a gradient that is finite and not zero.
    """
    found, by_token, shares = groups(model, space), embedded(model), []
    for prompt, chosen, rejected in few(pairs):
        with squares(found, by_token) as result:
            sides = zip((chosen, rejected), side_weights(chosen, rejected, normalise), strict=True)
            go_back(model, prompt, list(sides))
            sums = result()
        total = sum(sums.values())
        if 0 < total < float("inf"):
            shares.append({group: value / total for group, value in sums.items()})
    if not shares:
        return None
    names = {name for each in shares for name in each} - {INSIDE}
    means = {name: sum(each.get(name, 0.0) for each in shares) / len(shares) for name in names}
    ordered = sorted(means.items(), key=lambda item: (-item[1], item[0]))
    return {
        "pairs": len(shares),
        "share": round(sum(means.values()), 6),
        "groups": {name: round(share, 6) for name, share in ordered},
    }
