"""Log-probabilities of pairs under a model, forward only: what baselines, implicit rewards and evaluation ask of it.

The pass is the filter's (`congrad.gradients.passes`), after the same check: packed, with prompts computed once for both
sides and the head on response tokens alone, where that fits the model. Batches are cut from the whole list, before what
is done is taken out, so that a resumed pass computes the same tokens together, and on a CPU the same bytes. Results go
to a log of rows as they come.

Shapes: B pairs of a batch.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel

from congrad.gradients.build import packs_of
from congrad.gradients.check import check_start, check_whole
from congrad.gradients.packing import Triple, num_packed_tokens
from congrad.gradients.passes import pass_scorer
from congrad.models.memory import enough_memory
from congrad.settings.index import PassSettings, default_token_budget
from congrad.stage import LogRow, RowLog

Row = dict[str, Any]
logger = logging.getLogger(__name__)


class PairRow(LogRow):
    """Both log-probabilities of a pair; null where one is not finite."""

    logps: Annotated[list[float | None], Field(min_length=2, max_length=2)]


class SideRow(LogRow):
    """The log-probability of one side."""

    logp: float | None


def logged_logps(
    load: Callable[[], PreTrainedModel],
    triples: Sequence[Triple],
    path: Path,
    rows: Callable[[int, float, float], Iterable[Row]],
    on_progress: Callable[[int], None] = lambda num_rows: None,
    kind: type[LogRow] = PairRow,
) -> dict[str, Row]:
    """The log of rows at `path`, by key, with the log-probabilities of all triples; continues from those in it.

    Args:
        load: gives the model, frozen, where anything is left to compute.
        rows: what the log holds of one triple: made of its position and its two log-probabilities, with keys that
            depend on the position alone. NaN is null in a row that was read.
        on_progress: called with how many rows the log has, at the start and after every batch.
        kind: what such a row is, also one that the log holds already.
    """
    with RowLog(path, kind) as log:
        on_progress(len(log.rows))
        done = [all(row["key"] in log.rows for row in rows(i, math.nan, math.nan)) for i in range(len(triples))]
        if not all(done):
            for batch, logps_B2 in batch_logps(load(), triples, done):
                found = zip(batch, logps_B2.tolist(), strict=True)
                log.append([row for position, logps in found for row in rows(position, *logps)])
                on_progress(len(log.rows))
        return log.rows


def batch_logps(
    model: PreTrainedModel, triples: Sequence[Triple], done: Sequence[bool] | None = None, budget: int | None = None
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yields batches as they are done: positions in `triples`, and both log-probabilities, summed (B x 2, float32).

    Args:
        model: frozen, in evaluation mode.
        done: which triples need no result. A batch that lacks any is computed whole.
        budget: tokens in one batch; None for what suits the device.
    """
    budget = budget or default_token_budget(model.device)
    lengths = np.array([num_packed_tokens(*triple) for triple in triples], dtype=int)
    batches = packs_of(np.arange(len(triples)), lengths, budget)
    missing = [batch for batch in batches if done is None or not all(done[position] for position in batch)]
    if not missing:
        return
    problem = f"out of memory on {model.device} with {budget} tokens at a time"
    with enough_memory(problem, "lower the token budget or the length limit"):
        settings = check_start(model, triples, PassSettings(), logger.warning, sketches=False)
        settings = check_whole(model, triples, settings, logger.warning, sketches=False)
        with pass_scorer(model, settings.route) as score:
            for batch in missing:
                yield batch, score([triples[position] for position in batch]).logps_B2
