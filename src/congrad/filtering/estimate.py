"""What a pass will cost, measured before it starts, in less than half a minute on any machine.

Pieces of the longest pack are run, each four times as long as the last, until the whole one fits into the time that is
left; it shows at once whether memory suffices. Where it never would, time is what the pieces say: one of n tokens takes
about a + b n. Where even the first piece would take too long (bfloat16 on a processor without it, where the smallest
pack takes minutes), it is what single matrix products say.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from congrad.gradients.memory import shape_multiple
from congrad.gradients.packing import IntArray, Triple, num_packed_tokens
from congrad.models.memory import peak_memory
from congrad.models.precision import layer_shape, product_pair, seconds_of
from congrad.models.towers import text_part
from congrad.preferences.tokenise import TokenisedPairs
from congrad.settings.consensus import Consensus
from congrad.settings.index import PassSettings
from congrad.words import human_bytes, human_time

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOAT16_BYTES, ROW_BYTES = 2, 12  # of a sketch's entries; of its scale and two log-probabilities
FLOAT32_BYTES = 4  # of an entry of a bucket's sum, and of a direction
SECONDS = 20.0  # of measuring, at most
PRODUCTS = 2**22  # multiply-adds of a single product: 20 ms where bfloat16 is emulated
BESIDE_PRODUCTS = (0.8, 3.0, 8.0)  # what a pass takes of the time of its products: at least, about, at most
MEASURING = {"packed": 4.0, "general": 2.0}  # times the time of a pair whose gradient is measured whole
GENERAL = 1.3  # times the products in the general pass, which computes prompts twice
FIRST, GROWTH = 18, 4  # tokens of the first piece, where packs are not padded; how much longer the next one is
LONG = 8192  # tokens; a longer pair is measured by its start, as attention takes memory by their square
NOISE = 0.1  # of a time on a shared machine, at least
MANY_LANGUAGES = 100  # from which on it is said what their comparison costs
STEP_SECONDS = 8e-9  # of PCGrad, per order, fold and three languages: measured at 50 to 300
BOOTSTRAP_BYTES = 24  # per resample and two languages; measured at 50 to 300


@dataclass(frozen=True)
class Comparison:
    """What it costs to compare many languages, once their pairs are sketched; `seconds` is 0 where it is not known."""

    num_languages: int
    seconds: float
    memory_bytes: int

    def __str__(self) -> str:
        sure = f"about {human_time(self.seconds)} and " if self.seconds else ""
        memory = f"about {human_bytes(self.memory_bytes)} of memory"
        return f"comparing {self.num_languages:,} languages takes {sure}{memory}"


def comparison(num_languages: int, num_dims: int, settings: Consensus) -> Comparison:
    """Memory grows by the square of the languages (the bootstrap), and time by the cube (surgery, of every fold)."""
    num_directions = max(settings.cross_fit, 1) * num_languages
    resampled = BOOTSTRAP_BYTES * settings.num_resamples * num_languages**2
    passes = max(settings.cross_fit, 1) + 2
    seconds = STEP_SECONDS * settings.num_orders * passes * num_languages**3 if settings.aggregator == "pcgrad" else 0.0
    return Comparison(num_languages, seconds, resampled + 2 * FLOAT32_BYTES * num_directions * num_dims)


@dataclass(frozen=True)
class Estimate:
    """Costs of sketching `num_pairs` pairs on `world_size` devices like this one.

    Attributes:
        seconds: as far as is known; between `low` and `high`.
        memory_bytes: most in use so far, and what measuring the gradient outside of the space takes.
        measured_tokens: of the longest piece that was measured; 0 where single products were.
        whole: that was the longest pack of all, so that no other needs more memory.
        comparison: of the languages, where there are many.
    """

    num_pairs: int
    num_tokens: int
    seconds: float
    low: float
    high: float
    memory_bytes: int
    disk_bytes: int
    measured_tokens: int
    whole: bool
    comparison: Comparison | None = None

    def __str__(self) -> str:
        sure = f"between {human_time(self.low)} and {human_time(self.high)}"
        if not self.whole:
            tokens = f"{self.measured_tokens} tokens" if self.measured_tokens else "single matrix products"
            sure += f": measured on {tokens}, because a whole pack would take too long"
        at_least = "" if self.whole else "at least "
        then = "" if self.comparison is None else f"; {self.comparison}"
        return (
            f"{self.num_pairs:,} pairs, {self.num_tokens:,} tokens: about {human_time(self.seconds)} ({sure}), "
            f"{at_least}{human_bytes(self.memory_bytes)} of memory, {human_bytes(self.disk_bytes)} of disk{then}"
        )


def estimate(
    model: "PreTrainedModel",
    pairs: TokenisedPairs,
    settings: PassSettings,
    world_size: int = 1,
    consensus: Consensus | None = None,
) -> Estimate:
    """Measures a few packs and scales their times by tokens."""
    from congrad.gradients.build import packed_lengths, triples
    from congrad.gradients.outside import few, memory_needed
    from congrad.gradients.passes import pass_sketcher

    lengths = packed_lengths(pairs)
    num_pairs, num_tokens = int((lengths > 0).sum()), int(lengths.sum())
    settings = settings.resolved(num_pairs, model.device)
    assert settings.projection_size is not None
    assert settings.token_budget is not None
    order = (-lengths).argsort(kind="stable")[:num_pairs]
    longest = triples(pairs, filled(order, lengths, settings.token_budget))
    typical = triples(pairs, filled(order[num_pairs // 2 :], lengths, settings.token_budget))
    products = seconds_of_products(model)
    least = max(FIRST, padding(model))
    num_predicted = sum(len(ids[i]) for ids in (pairs.chosen_ids, pairs.rejected_ids) for i in order)
    all_products = products(num_tokens, num_predicted) * (GENERAL if settings.route == "general" else 1)
    floor, guess, ceiling = (share * all_products for share in BESIDE_PRODUCTS)
    points: list[tuple[int, float]] = []
    whole = False
    if 2 * BESIDE_PRODUCTS[1] * products(*tokens_of(piece(longest, least))) <= SECONDS:
        with pass_sketcher(model, settings) as sketch:

            def run(some: Sequence[Triple]) -> tuple[int, float]:
                """Tokens and seconds."""
                started = time.perf_counter()
                sketch(some)
                return tokens_of(some)[0], time.perf_counter() - started

            points, whole = measure(run, longest, typical, least, max(LONG, settings.token_budget))
    low, seconds, high = floor, guess, ceiling
    if points:
        seconds, low, high = scaled(points, num_tokens, settings.token_budget, floor, whole=whole)
    taken = few(triples(pairs, order.tolist()))
    extra = tokens_of(taken)[0] / num_tokens * MEASURING["general" if settings.route == "general" else "packed"]
    share = 1 / world_size + extra  # which the first process measures
    num_languages, num_dims = len(set(pairs.languages)), settings.projection_size**2
    many = num_languages > MANY_LANGUAGES
    return Estimate(
        num_pairs=num_pairs,
        num_tokens=num_tokens,
        seconds=seconds * share,
        low=low * share,
        high=high * share,
        memory_bytes=peak_memory(model.device) + memory_needed(model, taken),
        disk_bytes=num_pairs * (num_dims * FLOAT16_BYTES + ROW_BYTES),
        measured_tokens=max((tokens for tokens, _ in points), default=0),
        whole=whole,
        comparison=comparison(num_languages, num_dims, consensus or Consensus()) if many else None,
    )


def filled(order: IntArray, lengths: IntArray, budget: int) -> list[int]:
    """The first pairs of an order whose tokens fit the budget together; one at least."""
    taken: list[int] = order[: max(1, int((lengths[order].cumsum() <= budget).sum()))].tolist()
    return taken


def piece(longest: Sequence[Triple], num_tokens: int) -> list[Triple]:
    """The first pairs of a pack that have no more tokens; where not even one has, the start of it."""
    sizes = accumulate(num_packed_tokens(*triple) for triple in longest)
    taken = [triple for triple, size in zip(longest, sizes, strict=True) if size <= num_tokens]
    prompt, chosen, rejected = (ids[: num_tokens // 3] for ids in longest[0])
    return taken or [(prompt, chosen, rejected)]


def tokens_of(some: Sequence[Triple]) -> tuple[int, int]:
    """Packed tokens, and predicted ones."""
    return sum(num_packed_tokens(*triple) for triple in some), sum(len(side) for triple in some for side in triple[1:])


def seconds_of_products(model: "PreTrainedModel") -> Callable[[int, int], float]:
    """A function that gives the seconds of the matrix products of that many packed and predicted tokens.

    Each goes through every weight twice: forward, and for the gradient of the input.
    """
    from congrad.gradients.space import embedded
    from congrad.models.quantised import num_weights

    out = model.get_output_embeddings()
    head = 0 if out is None else out.weight.numel()  # an unknown architecture's is among the others
    outside = embedded(model)
    weights = text_part(model)[1].parameters()
    blocks = sum(num_weights(each) for each in weights if each.ndim > 1 and id(each) not in outside)
    shape = layer_shape(model).smaller(PRODUCTS)
    dtype = str(model.dtype).removeprefix("torch.")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine a small product takes the time that its threads wait for one another
    try:
        pair = seconds_of(product_pair(dtype, model.device, shape), model.device)
    finally:
        torch.set_num_threads(num_threads)
    if model.device.type == "cpu":
        pair /= num_threads
    one = pair / (2 * shape.tokens * shape.inputs * shape.outputs)
    least = padding(model)

    def seconds(packed: int, predicted: int) -> float:
        return 2 * one * float(max(packed, least) * blocks + max(predicted, least) * head)

    return seconds


def padding(model: "PreTrainedModel") -> int:
    """The number of tokens that a pack takes the time of, at least."""
    return shape_multiple(torch.empty(0, dtype=model.dtype))


def measure(
    run: Callable[[Sequence[Triple]], tuple[int, float]],
    longest: Sequence[Triple],
    typical: Sequence[Triple],
    least: int = FIRST,
    most: float = math.inf,
) -> tuple[list[tuple[int, float]], bool]:
    """Times pieces, and whole packs where they fit into `SECONDS`.

    Args:
        run: sketches a pack; gives its tokens and seconds.
        least: tokens of the first piece, about.
        most: tokens of the longest piece.

    Returns:
        Tokens and seconds of each that counts; and whether they are of the longest and of a typical pack.
    """
    started, size = time.perf_counter(), least
    wanted, _ = tokens_of(longest)
    run(piece(longest, size))  # draws the projections, and warms kernels and allocators up
    points = [run(piece(longest, size))]
    while True:
        tokens, seconds = points[-1]
        left = SECONDS - (time.perf_counter() - started)
        if wanted <= most and 2 * seconds / tokens * wanted <= left:
            return [run(longest), run(typical)], True
        size *= GROWTH
        longer = piece(longest, size)
        more = tokens_of(longer)[0]
        if more <= tokens or more > most or seconds / tokens * more > left:
            return points, False
        points.append(run(longer))


def scaled(
    points: Sequence[tuple[int, float]], num_tokens: int, budget: int, floor: float, *, whole: bool
) -> tuple[float, float, float]:
    """Seconds of all tokens, with a lower and an upper end.

    Args:
        points: of `measure`.
        budget: tokens of a pack.
        floor: seconds that the matrix products of all tokens take alone.
        whole: the points are packs; else pieces, whose fixed costs weigh more than a pack's.
    """
    rates = [seconds / tokens for tokens, seconds in points]
    if whole:
        middle = sum(rates) / len(rates)
        return middle * num_tokens, min(rates) * (1 - NOISE) * num_tokens, max(rates) * (1 + NOISE) * num_tokens
    (tokens, seconds), high = points[-1], rates[-1] * num_tokens
    if len(points) == 1:  # how much of it is fixed is not known: it is somewhere between
        low = min(floor, high)
        return (low * high) ** 0.5, low * (1 - NOISE), high * (1 + NOISE)
    before, seconds_before = points[-2]
    a_token = max(seconds - seconds_before, 0.0) / (tokens - before)
    fixed = seconds - a_token * tokens
    low = min(a_token * num_tokens, floor)  # what else runs on the machine makes pieces slower, and their difference
    return (a_token + fixed / max(budget, tokens)) * num_tokens, low * (1 - NOISE), high * (1 + NOISE)
