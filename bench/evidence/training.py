"""One training with DPO's loss (arXiv 2305.18290, eq. 7) in a plain loop, and what it did to held-out pairs.

It is what `congrad train` does by TRL (AdamW, a learning rate that falls to 0 on a line, gradients clipped at 1, no
weight decay) without its checkpoints, its merged model and its second copy of the logits: the head runs on response
tokens alone, and the reference's log-probabilities are computed once. `tests/bench/test_evidence.py` has the equality.

Shapes: P pairs, B pairs of a batch.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import get_peft_model
from torch import Tensor
from torch.nn.functional import softplus
from torch.nn.utils import clip_grad_norm_
from transformers import PreTrainedModel

from congrad.gradients.packing import Triple
from congrad.models.lora import peft_config
from congrad.settings.training import Lora

EVALUATED = 12  # pairs at a time


@dataclass(frozen=True)
class Recipe:
    """Of a training; the adapter is the loop's own (`rounds.lora`).

    Attributes:
        label_smoothing: the share of swapped labels that the loss expects (robust DPO, arXiv 2403.00409); 0 for DPO.
    """

    learning_rate: float = 2e-4
    epochs: int = 1
    batch_size: int = 6
    beta: float = 0.1
    rank: int = 16
    label_smoothing: float = 0.0


def logps(model: PreTrainedModel, pairs: Sequence[Triple]) -> Tensor:
    """Log-probabilities of the chosen and the rejected responses, summed over tokens (B x 2)."""
    rows = [(prompt, response) for prompt, *sides in pairs for response in sides]
    width = max(len(prompt) + len(response) for prompt, response in rows)
    ids_RW = torch.zeros(len(rows), width, dtype=torch.int64)
    is_token_RW, is_response_RW = torch.zeros(2, len(rows), width, dtype=torch.bool)
    for number, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        ids_RW[number, :end] = torch.tensor([*prompt, *response])
        is_token_RW[number, :end] = True
        is_response_RW[number, len(prompt) : end] = True
    hidden_RWH = model.get_decoder()(input_ids=ids_RW, attention_mask=is_token_RW.long()).last_hidden_state
    predicts_RW = is_response_RW.roll(-1, dims=1)
    head = model.get_output_embeddings()
    logp_TV = torch.log_softmax(head(hidden_RWH[predicts_RW]).float(), dim=-1)
    logp_T = logp_TV.gather(1, ids_RW[is_response_RW][:, None])[:, 0]
    row_T = torch.nonzero(predicts_RW)[:, 0]
    return torch.zeros(len(rows)).index_add(0, row_T, logp_T).view(-1, 2)


@torch.no_grad()
def all_logps(model: PreTrainedModel, pairs: Sequence[Triple]) -> Tensor:
    """The same of many (P x 2)."""
    starts = range(0, len(pairs), EVALUATED)
    return torch.cat([logps(model, pairs[start : start + EVALUATED]) for start in starts])


def margins(logps_B2: Tensor, reference_B2: Tensor, beta: float) -> Tensor:
    ratio_B2 = logps_B2 - reference_B2
    return beta * (ratio_B2[:, 0] - ratio_B2[:, 1])


def loss_of(margin_B: Tensor, label_smoothing: float) -> Tensor:
    """DPO's loss, or robust DPO's, whose mean over swapped labels is DPO's with the right ones (eq. 8)."""
    if label_smoothing == 0:
        return softplus(-margin_B)
    smoothed_B = (1 - label_smoothing) * softplus(-margin_B) - label_smoothing * softplus(margin_B)
    return smoothed_B / (1 - 2 * label_smoothing)


def fit(model: PreTrainedModel, pairs: Sequence[Triple], reference_P2: Tensor, recipe: Recipe, seed: int) -> int:
    """Trains what requires a gradient, in an order by the seed. Returns the number of steps."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    size, steps = recipe.batch_size, recipe.epochs * math.ceil(len(pairs) / recipe.batch_size)
    batches = [
        batch for _ in range(recipe.epochs) for batch in torch.randperm(len(pairs), generator=generator).split(size)
    ]
    for step, batch in enumerate(batches):
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * (1 - step / steps)
        margin_B = margins(logps(model, [pairs[row] for row in batch.tolist()]), reference_P2[batch], recipe.beta)
        loss_of(margin_B, recipe.label_smoothing).mean().backward()
        clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return steps


@contextmanager
def adapter(model: PreTrainedModel, rank: int, seed: int) -> Iterator[PreTrainedModel]:
    """The model with a new adapter that is trained; without it again in the end."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PEFT sets right by itself
        torch.manual_seed(seed)
        adapted = get_peft_model(model, peft_config(Lora(r=rank)))
    try:
        yield adapted.get_base_model()
    finally:
        adapted.unload()
