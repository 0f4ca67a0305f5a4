"""Which precision a model computes in, by measurement.

bfloat16 halves the memory of the weights, and is several times as fast as float32 where the processor has instructions
for it. Elsewhere its products are emulated: on x86 without AVX-512, A Bᵀ is 5 times and A B 130 times slower than in
float32 (oneDNN). The name of a processor does not show it, so `auto` times a few products of the model's own shapes:

    bfloat16   where it is at least `WINS` times as fast as float32, or where the weights do not fit in float32
    float32    elsewhere

On CUDA the card says whether it has bfloat16. $CONGRAD_BFLOAT16 (slow, fast, measure) overrides the measurement.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from transformers import PreTrainedModel

from congrad.models.memory import free_memory
from congrad.models.towers import text_part
from congrad.settings.model import SWITCH, switch
from congrad.words import human_bytes

WINS = 1.3  # noise of a shared machine is to decide nothing
SPARE = 1.2  # of free memory, for what a pass needs besides the weights
TOKENS = 512  # of one pass on a CPU (`congrad.settings.index.default_token_budget`)
FLOAT32_BYTES = 4
FIRST_PRODUCTS = 2**21  # multiply-adds of the smallest shape: 8 ms where bfloat16 is emulated
HOPELESS = 8  # times slower than float32 at a small shape; from there no larger one is tried
SECONDS = 0.4  # of measuring, all in all
REPEATS = 3
TURNS = 3  # of both precisions, one after the other: what else the machine does strikes both, and the shortest counts


@dataclass(frozen=True)
class Shape:
    """Of the matrix products that count in a pass: tokens x inputs by inputs x outputs."""

    inputs: int
    outputs: int
    tokens: int = TOKENS

    def smaller(self, products: int) -> "Shape":
        """The same in proportion, with about this many multiply-adds."""
        share = min(1.0, (products / (self.tokens * self.inputs * self.outputs)) ** (1 / 3))
        tokens, inputs, outputs = (max(8, round(size * share)) for size in (self.tokens, self.inputs, self.outputs))
        return Shape(inputs, outputs, tokens)


@dataclass(frozen=True)
class Choice:
    """The precision of a run."""

    dtype: str
    words: str  # what was chosen and why, in one line
    is_slow: bool = False  # another one would be faster, so that the words are a warning


def choose(asked: str, device: torch.device, skeleton: PreTrainedModel, *, num_weights: int) -> Choice:
    """The precision for a model on a device: the dtype that was asked for, or with `auto` the best one.

    Args:
        skeleton: the model without weights (on the meta device), for the shapes of its layers.
        num_weights: of all models that are in memory together; quantised ones count for less.
    """
    position, shape = switch(), layer_shape(skeleton)
    if asked != "auto":
        return as_asked(asked, device, shape, position)
    speed = speed_of("bfloat16", device, shape, position)
    stored = str(skeleton.config.dtype or "float32").removeprefix("torch.")
    rounds = "" if stored == "bfloat16" else f"; the weights are stored in {stored}"
    if speed.is_fast:
        return Choice("bfloat16", f"computing in bfloat16: {speed.words}{rounds}")
    needed = num_weights * FLOAT32_BYTES * SPARE
    free = free_memory(device)
    if needed > free:
        why = f"float32 needs {human_bytes(needed)} including a reserve of a fifth, and {human_bytes(free)} are free"
        return Choice("bfloat16", f"computing in bfloat16 although it is slow: {why} ({speed.words})", is_slow=True)
    return Choice("float32", f"computing in float32: {speed.words}")


def as_asked(asked: str, device: torch.device, shape: Shape, position: str) -> Choice:
    """The precision that was asked for, and whether another one would be faster."""
    words = f"computing in {asked}, as asked"
    if asked == "float16" and device.type != "cpu":
        return Choice(asked, words)
    other = "bfloat16" if asked == "float32" else "float32"
    speed = speed_of("bfloat16" if asked == "float32" else asked, device, shape, position)
    if speed.is_fast if asked == "float32" else speed.is_slow:
        return Choice(asked, f"{words}; {other} would be faster: {speed.words}", is_slow=True)
    return Choice(asked, words if asked == "float32" else f"{words}: {speed.words}")


@dataclass(frozen=True)
class Speed:
    """Whether a precision is worth taking for its speed, whether it is to be avoided, and how that is known."""

    is_fast: bool
    is_slow: bool
    words: str


def figure(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 1 else f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def speed_of(dtype: str, device: torch.device, shape: Shape, position: str) -> Speed:
    if dtype == "bfloat16" and position != "measure":
        return Speed(position == "fast", position == "slow", f"{SWITCH} is {position}")
    if dtype == "bfloat16" and device.type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        return Speed(has_it, not has_it, f"{torch.cuda.get_device_name(device)} {'has' if has_it else 'lacks'} it")
    ratio = times_as_fast(dtype, device, shape, torch.get_num_threads())
    compared = f"{figure(1 / ratio)} times slower than" if ratio < 1 else f"{figure(ratio)} times as fast as"
    return Speed(ratio >= WINS, ratio <= 1 / WINS, f"matrix products in {dtype} are {compared} in float32 here")


def layer_shape(skeleton: PreTrainedModel) -> Shape:
    """Inputs and outputs of the kind of linear layer that most weights are in, without the LM head and towers."""
    head = skeleton.get_output_embeddings()
    counts: Counter[tuple[int, int]] = Counter()
    for module in text_part(skeleton)[1].modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            counts[module.in_features, module.out_features] += module.weight.numel()
    if not counts:  # GPT-2's layers are of another class, a mixture's experts of none
        hidden = skeleton.config.get_text_config().hidden_size
        return Shape(hidden, 4 * hidden)
    return Shape(*max(counts, key=lambda shape: (counts[shape], shape)))


@cache
def times_as_fast(dtype: str, device: torch.device, shape: Shape, num_threads: int) -> float:
    """How many times as fast as in float32 the products of a pass are: A Bᵀ (forward) and A B (gradient of the input).

    On `num_threads`, which PyTorch has and the pass will have. Shapes grow up to the pass's own while that takes little
    time, since a fast precision shows itself in large products only and a slow one in the smallest.
    """
    started, products, ratio = time.perf_counter(), FIRST_PRODUCTS, 1.0
    while True:
        now = shape.smaller(products)
        before = time.perf_counter()
        pairs = [product_pair(name, device, now) for name in (dtype, "float32")]
        turns = [[seconds_of(pair, device) for pair in pairs] for _ in range(TURNS)]
        other, single = (min(turn[number] for turn in turns) for number in range(2))
        ratio = single / other
        last = time.perf_counter() - before
        left = SECONDS - (time.perf_counter() - started)
        if now == shape.smaller(4 * products) or ratio < 1 / HOPELESS or 4 * last > left:
            return ratio
        products *= 4


def product_pair(dtype: str, device: torch.device, shape: Shape) -> Callable[[], None]:
    """A function that multiplies as a linear layer does forward and backward."""
    tokens, inputs, outputs = shape.tokens, shape.inputs, shape.outputs
    # Not zeros, which some processors multiply faster, and not the global generator's numbers.
    x_TI, d_TO, w_OI = (
        torch.linspace(-1, 1, rows * columns, device=device).view(rows, columns).to(getattr(torch, dtype))
        for rows, columns in ((tokens, inputs), (tokens, outputs), (outputs, inputs))
    )

    @torch.no_grad()
    def multiply() -> None:
        x_TI @ w_OI.T
        d_TO @ w_OI

    return multiply


def seconds_of(work: Callable[[], None], device: torch.device) -> float:
    """The shortest of a few runs after a first one."""
    times = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - started)
        if len(times) > 1 and times[-1] > SECONDS / 8:  # slow enough for one run to show it
            break
    return min(times[1:])
