"""Log-probabilities of pairs under a model, forward only: what baselines and evaluation ask of it.

The pass is the filter's (`congrad.gradients.sketch.scorer`): prompts computed once for both sides, the head on response
tokens alone. Batches are cut from the whole list, before what is done is taken out, so that a resumed pass computes
the same tokens together, and on a CPU the same bytes.

Shapes: B pairs of a batch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients.build import MAX_CHECKED, packs_of
from congrad.gradients.check import check_model
from congrad.gradients.packing import IntArray, num_packed_tokens, pack
from congrad.gradients.sketch import scorer
from congrad.settings.index import default_token_budget

Triple = tuple[IntArray, IntArray, IntArray]
"""Token ids of a prompt and of two responses to it, none of them empty."""


def batches_of(triples: Sequence[Triple], budget: int) -> list[list[int]]:
    """Positions of triples of like length whose tokens fit the budget together, longest first."""
    lengths = np.array([num_packed_tokens(*triple) for triple in triples], dtype=int)
    return list(packs_of(np.arange(len(triples)), lengths, budget))


def log_probabilities(
    model: PreTrainedModel, triples: Sequence[Triple], done: Sequence[bool] | None = None, budget: int | None = None
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yields batches as they are done: positions in `triples`, and both log-probabilities, summed (B x 2, float32).

    Args:
        model: frozen, in evaluation mode.
        done: which triples need no result. A batch that lacks any is computed whole.
        budget: tokens in one batch; None for what suits the device.

    Raises:
        UserError: the model computes in a way that packs do not know, or the device is out of memory.
    """
    budget = budget or default_token_budget(model.device)
    missing = [
        batch for batch in batches_of(triples, budget) if done is None or not all(done[position] for position in batch)
    ]
    if not missing:
        return
    any(check_model(model, *triple) for triple in triples[:MAX_CHECKED])  # until one is finite
    with scorer(model) as score:
        for batch in missing:
            try:
                logps_B2 = score(pack([triples[position] for position in batch], "sum")).logps_B2
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"out of memory on {model.device} with {budget} tokens at a time; lower the token budget or the "
                    "length limit"
                ) from error
            yield batch, logps_B2
