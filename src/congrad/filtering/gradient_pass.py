"""The pass over the model: from checked pairs to their gradient index."""

from collections import Counter
from pathlib import Path

import torch
from transformers import PreTrainedModel

from congrad.consensus.surgery import check_aggregator
from congrad.errors import UserError
from congrad.filtering.estimate import estimate
from congrad.gradients.build import build_index
from congrad.gradients.check import by_sketches
from congrad.gradients.index import INDEX, GradientIndex, read_plan
from congrad.models.compute import settle_dtype
from congrad.models.device import pick_device
from congrad.models.identity import identities
from congrad.models.load import load, load_skeleton, tokenizer_of
from congrad.models.packaged import PACKAGES, converted, resolve
from congrad.models.ranks import Rank, ranks, wait_for_all
from congrad.preferences.rows import Preferences
from congrad.preferences.tokenise import tokenise
from congrad.progress import Listener, Progress
from congrad.settings.model import reference_of
from congrad.settings.tree import FilterConfig
from congrad.stage import is_finished


def make_index(
    config: FilterConfig, preferences: Preferences, directory: Path, listener: Listener, *, dry_run: bool, settled: bool
) -> GradientIndex | None:
    """Sketches what is not sketched yet, together with a launcher's other processes.

    None after a dry run, and in all processes but the first.
    """
    check_aggregator(config.consensus.aggregator)
    device = pick_device(config.model.device, compute=by_sketches, on_note=listener.on_warning)
    with ranks() as rank:
        index = _make_index(config, preferences, directory, device, rank, listener, dry_run=dry_run, settled=settled)
        return index if rank.number == 0 else None


def _make_index(
    config: FilterConfig,
    preferences: Preferences,
    directory: Path,
    device: torch.device,
    rank: Rank,
    listener: Listener,
    *,
    dry_run: bool,
    settled: bool,
) -> GradientIndex | None:
    model, began = config.model, read_plan(directory)
    if model.name in PACKAGES and not converted(model.name).exists():
        listener.on_stage(f"converting {model.name} from its package, once")
        resolve(model.name)
    listener.on_stage(f"loading the tokenizer of {model.name}")
    pairs = tokenise(
        preferences,
        tokenizer_of(model),
        chat=config.input.chat,
        max_length=config.input.max_length,
        on_progress=lambda rows: listener.on_progress(Progress("tokenising", rows, len(preferences), "pairs")),
    )
    if all(pairs.reasons):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(pairs.reasons).most_common())
        problem = f"none of the {len(pairs)} pairs can be scored ({reasons})"
        raise UserError(problem, "check input.max_length and the data")
    if not settled:
        model = settle_dtype(
            model,
            device=device,
            began_in=None if began is None else began["dtype"],
            together=[] if (reference := reference_of(model)) is None else [reference],
            rank=rank,
            listener=listener,
        )
    reference = reference_of(model)
    if reference is not None:
        load_skeleton(reference)  # its weights are loaded last: a wrong name shows now
    listener.on_stage(f"loading {model.name}")
    with identities(*([model] if reference is None else [model, reference])) as which:
        policy = load(model, device=device)
        model_fingerprint, *reference_fingerprint = [found() for found in which]
    if rank.number == 0 and (dry_run or not is_finished(directory, INDEX)):
        listener.on_stage("measuring a few pairs")
        listener.on_note(estimate(policy, pairs, config.index, rank.world_size, config.consensus))
    if dry_run:
        return None
    listener.on_stage(f"checking {model.name}")

    def load_reference() -> PreTrainedModel:
        assert reference is not None
        listener.on_stage(f"loading {reference.name}")
        return load(reference, device=device)

    return build_index(
        policy,
        pairs,
        directory,
        config.index,
        model_fingerprint=model_fingerprint,
        reference=None if reference is None else load_reference,
        reference_fingerprint=next(iter(reference_fingerprint), None),
        rank=rank,
        barrier=wait_for_all,
        on_progress=listener.on_progress,
    )
