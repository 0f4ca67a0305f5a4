"""A check before the pass: that packing computes what the model's own forward computes.

Architectures differ in ways that no interface names (scaled logits, positions of their own, tokens that mix across
attention's back). A few tokens of one pair, run both ways, show it in a moment.
"""

import math

import numpy as np
import torch
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients.packing import IntArray, pack
from congrad.gradients.sketch import scorer, sketcher
from congrad.models.device import CHOSEN, PROMPT, REJECTED, Computed

PROMPT_TOKENS, RESPONSE_TOKENS = 16, 8
# Nats per token; rounding alone is a fifth.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}


@torch.no_grad()
def plain_logps(model: PreTrainedModel, prompt: IntArray, response: IntArray) -> torch.Tensor:
    """log p of every response token by the model's own forward on prompt and response alone (float32)."""
    ids = torch.from_numpy(np.concatenate([prompt, response])).long()[None].to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    logp: torch.Tensor = logits.float().log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
    return logp


def check_model(model: PreTrainedModel, prompt: IntArray, chosen: IntArray, rejected: IntArray) -> bool:
    """Compares packed with plain log-probabilities on the start of one pair. False if they are not finite, so that
    there is nothing to compare; a `UserError` if they differ by more than rounding explains.
    """
    prompt, sides = prompt[:PROMPT_TOKENS], (chosen[:RESPONSE_TOKENS], rejected[:RESPONSE_TOKENS])
    with scorer(model) as score:
        # Two copies, so that a model whose tokens see another pair's is found out too.
        packed = score(pack([(prompt, *sides)] * 2, "mean")).logps_B2[1]
    for side, found in zip(sides, packed, strict=True):
        expected = plain_logps(model, prompt, side).sum().item()
        if not math.isfinite(expected):
            return False
        if not abs(expected - found.item()) <= TOLERANCE[model.dtype] * len(side):
            raise UserError(
                f"model {model.config.name_or_path!r}: {type(model).__name__} computes log-probabilities in a way that "
                f"congrad does not know ({found.item():.4f} packed, {expected:.4f} by its own forward)",
                "Llama, Mistral, Mixtral, Qwen 2 and 3, Gemma 2 and 3 and GPT-2 are supported",
            )
    return True


def by_sketches(model: PreTrainedModel) -> Computed:
    """What `congrad.models.device.pick_device` compares with the CPU before a gradient pass: that of one short pair."""
    triple = np.array(PROMPT), np.array(CHOSEN), np.array(REJECTED)
    with sketcher(model.requires_grad_(False), size=16, seed=0) as sketch:
        found = sketch(pack([triple], "sum"))
    return found.logps_B2[0], found.sketches_BD[0]
