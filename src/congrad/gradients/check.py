"""A check before the pass: that the model is causal, and that packing computes what the model's own forward computes.

Architectures differ in ways that no interface names: factors on logits, tokens that mix across attention's back,
windows and positions that change with the length. So both passes run on the same tokens: on the first 24 of a pair,
which shows most of it in a moment, and before anything is written on the longest pair whole and on three of other
lengths. What packing does not fit goes to the general pass; what is not causal goes nowhere.

Two forwards of one model differ by rounding. How much is measured: the model's own forward in two shapes.

Shapes: N response tokens, T tokens, V vocabulary.
"""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients.experts import is_experts
from congrad.gradients.general import as_ids, general_sketcher, own_logits
from congrad.gradients.packing import IntArray, Triple, num_packed_tokens, pack
from congrad.gradients.passes import pass_sketcher
from congrad.gradients.sketch import packed, packed_logps, sketcher
from congrad.gradients.space import Space
from congrad.machine import ran_out
from congrad.models.device import CHOSEN, PROMPT, REJECTED, Computed
from congrad.models.load import quiet
from congrad.models.quantised import token_by_token
from congrad.settings.index import PassSettings
from congrad.words import one_line

T = TypeVar("T")
PROMPT_TOKENS, RESPONSE_TOKENS = 16, 8
START_SIZE = 16  # of a sketch that is not looked at
MAX_CHECKED = 8  # pairs tried until the model gives one a finite log-probability
TIMES_ROUNDING = 4
ONE_AT_A_TIME = threading.Lock()  # kernels of attention are chosen for the whole process, and put back afterwards
FLIPS = 1 / 32  # of the tokens, in a mixture of experts in half precision


@dataclass(frozen=True)
class Limits:
    """What no rounding has to explain.

    Attributes:
        spread: nats, root mean square over tokens.
        mean: nats a token; a mean difference above it is none of rounding, whatever was measured.
        sketch: of two sketches, relative.
    """

    spread: float
    mean: float
    sketch: float


LIMITS = {
    torch.float32: Limits(1e-4, 1e-3, 1e-3),
    torch.float64: Limits(1e-4, 1e-3, 1e-3),
    torch.bfloat16: Limits(0.05, 0.02, 0.4),
    torch.float16: Limits(0.01, 5e-3, 0.1),
}


@dataclass(frozen=True)
class Known:
    """A pair, and of both sides log p of every response token by the model's own forward and their logits."""

    triple: Triple
    own: Sequence[tuple[torch.Tensor, torch.Tensor]]

    @staticmethod
    def of(model: PreTrainedModel, triple: Triple) -> "Known":
        prompt, *responses = triple
        return Known(triple, [own_logps(model, prompt, response) for response in responses])

    def is_finite(self) -> bool:
        return all(bool(logp_N.sum().isfinite()) for logp_N, _ in self.own)


@torch.no_grad()
def own_logps(
    model: PreTrainedModel, prompt: IntArray, response: IntArray, copies: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of every response token by the model's own forward on some copies of one sequence, and their logits."""
    ids_1T = as_ids(model, prompt, response)
    try:
        logits_NV = own_logits(model, ids_1T.repeat(copies, 1), len(response) + 1)[0, :-1].float()
    except Exception as error:  # whatever it has to say
        if ran_out(error):
            raise
        reason = one_line(str(error), 100) or type(error).__name__
        problem = f"its own forward fails on {ids_1T.shape[1]} tokens ({reason})"
        is_short = ids_1T.shape[1] <= PROMPT_TOKENS + RESPONSE_TOKENS
        fix = "lower input.max_length if these are too many for it"
        fix = "a language model that reads text alone is needed" if is_short else fix
        raise UserError(f"model {model.config.name_or_path!r}: {problem}", fix) from error
    targets_N1 = ids_1T[0, len(prompt) :, None]
    return logits_NV.log_softmax(-1).gather(1, targets_N1)[:, 0], logits_NV.gather(1, targets_N1)[:, 0]


def packed_by_side(model: PreTrainedModel, pairs: Sequence[Triple]) -> list[torch.Tensor]:
    """log p of every token of all responses, in one pack."""
    together = pack(pairs, "mean").to(model.device)
    with packed(model) as head:
        logp_N = packed_logps(model, head, together)
    of_side_N2 = together.sides_N2 > 0
    return [logp_N[(together.pairs_N == i) & of_side_N2[:, side]] for i in range(len(pairs)) for side in (0, 1)]


def tried(compute: Callable[[], T]) -> tuple[T | None, str | None]:
    """What packing gives, or why it gives nothing."""
    try:
        with quiet():
            return compute(), None
    except UserError as error:
        return None, f"packing fails in it ({one_line(error.problem, 100)})"
    except Exception as error:  # whatever a forward that knows nothing of packs has to say
        if ran_out(error):
            raise
        return None, f"packing fails in it ({one_line(str(error), 100) or type(error).__name__})"


def packing_fault(model: PreTrainedModel, packs: Iterable[Sequence[Known]]) -> str | None:
    """How packed log-probabilities differ from the model's own, in words; None where rounding explains it, which is
    measured on the last pair."""
    differences, logits = [], []
    for pairs in packs:
        own = [each for known in pairs for each in known.own]
        found, fault = tried(partial(packed_by_side, model, [known.triple for known in pairs]))
        if found is None:
            return fault
        for found_N, (own_N, logits_N) in zip(found, own, strict=True):  # a pair that overflows is dropped later
            differences.append((found_N - own_N)[own_N.isfinite()])
            logits.append(logits_N[own_N.isfinite()])
    prompt, *responses = pairs[-1].triple
    with ONE_AT_A_TIME, sdpa_kernel(SDPBackend.MATH):
        again = [own_logps(model, prompt, response, copies=2) for response in responses]
    rounding = [(again_N - own_N).nan_to_num(0, 0, 0) for (again_N, _), (own_N, _) in zip(again, own[-2:], strict=True)]
    difference_N, rounding_N, logits_N = (torch.cat(parts).double() for parts in (differences, rounding, logits))
    flips = torch.finfo(model.dtype).bits < 32 and any(is_experts(module) for module in model.modules())
    return fault_of(difference_N, rounding_N, logits_N, model.dtype, share_of_flips=FLIPS if flips else 0)


def fault_of(
    difference_N: torch.Tensor,
    rounding_N: torch.Tensor,
    logits_N: torch.Tensor,
    dtype: torch.dtype,
    *,
    share_of_flips: float = 0,
) -> str | None:
    """Whether differences by token are more than rounding: by their spread, and by their mean, which a wrong factor or
    position moves and rounding does not.

    Logits are rounded to their dtype, so what was measured cannot be less than a part of their own size.

    Args:
        share_of_flips: of the tokens, those with the largest differences do not count: rounding sends a few to other
            experts, in the one forward or in the other.
    """
    num_flips = math.ceil(share_of_flips * len(difference_N))
    difference_N = difference_N[difference_N.abs().argsort()[: len(difference_N) - num_flips]]
    limits = LIMITS[dtype]
    least = torch.finfo(dtype).eps * spread(logits_N) / TIMES_ROUNDING
    measured = max(spread(rounding_N), least)
    found, mean = spread(difference_N), abs(difference_N.mean().item())
    of_mean = max(limits.mean, TIMES_ROUNDING * measured / len(difference_N) ** 0.5)
    if found <= max(limits.spread, TIMES_ROUNDING * measured) and mean <= of_mean:
        return None
    return (
        f"packed log-probabilities differ from its own by {found:.2g} nats a token, "
        f"where rounding makes {spread(rounding_N):.1g}"
    )


def spread(values_N: torch.Tensor) -> float:
    """The root mean square."""
    return float(values_N.square().mean().sqrt())


def check_causality(model: PreTrainedModel, triple: Triple) -> None:
    """Refuses a model in which the last token changes an earlier log-probability, of both sequences."""
    prompt, *responses = triple
    if all(reads_ahead(model, prompt, response) for response in responses):
        raise UserError(
            f"model {model.config.name_or_path!r}: {type(model).__name__} reads ahead as it is loaded: its last token "
            "changes the log-probabilities of earlier ones",
            "a causal language model is needed",
        )


@torch.no_grad()
def reads_ahead(model: PreTrainedModel, prompt: IntArray, response: IntArray) -> bool:
    """Whether another last token changes what is predicted before it by more than rounding does."""
    ids_1T = as_ids(model, prompt, response)
    last, num_tokens = ids_1T[0, -1], ids_1T.shape[1]
    changed_1T = ids_1T.clone()
    changed_1T[0, -1] = next(token for token in (*ids_1T[0].tolist(), 0, 1) if token != last)
    with token_by_token(model):
        again = (ids_1T, changed_1T, ids_1T.repeat(2, 1))
        logits = [own_logits(model, ids, num_tokens)[0, :-1].float() for ids in again]
    one_TV, other_TV, again_TV = (each.log_softmax(-1) for each in logits)
    least = 2 * torch.finfo(model.dtype).eps * float(logits[0].abs().max())
    rounding = TIMES_ROUNDING * float((again_TV - one_TV).abs().max())
    return not float((other_TV - one_TV).abs().max()) <= max(LIMITS[model.dtype].spread, least, rounding)


def check_start(
    model: PreTrainedModel,
    pairs: Sequence[Triple],
    settings: PassSettings,
    on_note: Callable[[str], None] = lambda note: None,
    *,
    sketches: bool = True,
) -> PassSettings:
    """The settings, with route general where packing does not fit the first tokens of a pair.

    Args:
        on_note: hears why.
        sketches: whether the pass is one of sketches.

    Raises:
        UserError: the model is not causal, has no logits for a token of the pairs, or gives none of the first pairs a
            finite log-probability; or packing does not fit and is what the settings ask for.
    """
    check_vocabulary(model, pairs)
    known = (Known.of(model, start_of(triple)) for triple in pairs[:MAX_CHECKED])
    starts = list(islice(filter(Known.is_finite, known), 2))  # two, since one may see the other's tokens
    if not starts:
        problem = f"no finite log-probability for the first {len(pairs[:MAX_CHECKED])} pairs in {dtype_of(model)}"
        fix = "try another model.dtype, or fix the model's weights"
        raise UserError(f"model {model.config.name_or_path!r}: {problem}", fix)
    check_causality(model, starts[0].triple)
    if settings.route == "general":
        return settings
    fault = left_out(model, settings) if sketches else None
    fault = fault or packing_fault(model, [[starts[0], starts[-1]]])
    if sketches and fault is None:
        small = replace(settings, projection_size=START_SIZE)
        _, fault = tried(partial(packed_sketch, model, starts[0].triple, small))
    return without_packing(model, settings, fault, on_note)


def start_of(triple: Triple) -> Triple:
    prompt, chosen, rejected = triple
    return prompt[:PROMPT_TOKENS], chosen[:RESPONSE_TOKENS], rejected[:RESPONSE_TOKENS]


def check_whole(
    model: PreTrainedModel,
    pairs: Sequence[Triple],
    settings: PassSettings,
    on_note: Callable[[str], None] = lambda note: None,
    *,
    sketches: bool = True,
) -> PassSettings:
    """The same on the longest pair and three others, and with one pair's sketch of both passes.

    Args:
        sketches: as of `check_start`; the settings are resolved then.
    """
    order = sorted(pairs, key=lambda triple: num_packed_tokens(*triple))
    longest = max(pairs, key=lambda triple: len(triple[0]) + max(map(len, triple[1:])))
    shortest, middle, longer = (order[len(order) * part // 4] for part in (0, 2, 3))
    fault = None
    if settings.route == "general":
        own_logps(model, longest[0], max(longest[1:], key=len))
    else:  # positions may depend on the longest sequence that runs with a pair
        packs = ([longest, shortest], [longer, middle])
        fault = packing_fault(model, ([Known.of(model, triple) for triple in pack] for pack in packs))
    if sketches:
        fault = fault or sketch_fault(model, middle, settings)
    return without_packing(model, settings, fault, on_note)


def sketch_fault(model: PreTrainedModel, triple: Triple, settings: PassSettings) -> str | None:
    """How the packed sketch of a pair differs from that of the general pass, in words."""

    assert settings.projection_size is not None
    options: dict[str, Any] = {"size": settings.projection_size, "seed": settings.seed, "layers": settings.layers}
    options |= {"normalise": settings.normalise, "packed": settings.route == "packed"}
    try:
        with general_sketcher(model, **options, hooks=settings.route == "general") as sketch:
            own_D = sketch([triple]).sketches_BD[0]
    except UserError:
        raise
    except Exception as error:  # whatever it has to say
        if ran_out(error):
            raise
        problem = f"its own backward pass fails ({one_line(str(error), 100) or type(error).__name__})"
        raise UserError(f"model {model.config.name_or_path!r}: {problem}", "use a model that can be trained") from error
    if not own_D.isfinite().all():
        problem = f"the gradient of a pair of average length is not finite in {dtype_of(model)}"
        raise UserError(f"model {model.config.name_or_path!r}: {problem}", "try another model.dtype")
    if settings.route == "general":
        return None

    found_D, fault = tried(partial(packed_sketch, model, triple, settings))
    if found_D is None:
        return fault
    distance = float((found_D - own_D).norm() / own_D.norm().clamp_min(torch.finfo(own_D.dtype).tiny))
    if distance <= LIMITS[model.dtype].sketch:
        return None
    return f"the packed gradient of a pair differs from its own by {distance:.0%}"


def packed_sketch(model: PreTrainedModel, triple: Triple, settings: PassSettings) -> torch.Tensor:
    with pass_sketcher(model, settings) as sketch:
        return sketch([triple]).sketches_BD[0]


def without_packing(
    model: PreTrainedModel, settings: PassSettings, fault: str | None, on_note: Callable[[str], None]
) -> PassSettings:
    """The settings, with route general where there is a fault."""
    if fault is None:
        return settings
    name = model.config.name_or_path or type(model).__name__
    if settings.route == "packed":
        problem = f"does not fit model {name!r}: {fault}"
        raise UserError(problem, "leave it at auto, or set it to general", key="index.route", value="packed")
    on_note(f"{name} takes the general pass, in 1.1 to 1.7 times the packed one's time: {fault}")
    return replace(settings, route="general")


def left_out(model: PreTrainedModel, settings: PassSettings) -> str | None:
    """What of the gradient space the packed pass does not see, in words; it is asked for where packed is."""
    matrices = Space.of(model, settings.layers).matrices
    if not matrices or settings.route == "packed":
        return None
    return f"packing does not see {len(matrices)} matrices that no linear layer holds, the first is {matrices[0].name}"


def check_vocabulary(model: PreTrainedModel, pairs: Sequence[Triple]) -> None:
    head = model.get_output_embeddings()
    unknown = getattr(model.config.get_text_config(), "vocab_size", math.inf)
    num_rows = unknown if head is None else len(head.weight)
    if (largest := max(int(ids.max()) for triple in pairs for ids in triple)) >= num_rows:
        problem = f"has {num_rows:,} tokens, and the pairs hold token {largest:,}"
        fix = "name a model with the tokenizer of model.name"
        raise UserError(f"model {model.config.name_or_path!r} {problem}", fix)


def dtype_of(model: PreTrainedModel) -> str:
    return str(model.dtype).removeprefix("torch.")


def by_sketches(model: PreTrainedModel) -> Computed:
    """What `congrad.models.device.pick_device` compares with the CPU before a gradient pass: that of one short pair."""
    triple = np.array(PROMPT), np.array(CHOSEN), np.array(REJECTED)
    with sketcher(model.requires_grad_(False), size=16, seed=0) as sketch:
        found = sketch(pack([triple], "sum"))
    return found.logps_B2[0], found.sketches_BD[0]
