"""The pass over the model: from checked pairs to their gradient index."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from congrad.consensus.surgery import check_aggregator
from congrad.errors import UserError
from congrad.filtering.estimate import estimate
from congrad.filtering.settings import FilterConfig
from congrad.gradients.build import build_index
from congrad.gradients.check import by_sketches
from congrad.gradients.index import INDEX, GradientIndex, read_plan
from congrad.models.compute import settle_dtype
from congrad.models.device import pick_device
from congrad.models.load import fingerprint, load_model, load_tokenizer
from congrad.models.packaged import PACKAGES, converted, resolve
from congrad.models.ranks import Rank, ranks, wait_for_all
from congrad.preferences.rows import Preferences
from congrad.preferences.tokenise import TokenisedPairs, tokenise
from congrad.progress import Listener, Progress
from congrad.stage import is_finished


def make_index(
    config: FilterConfig, preferences: Preferences, directory: Path, listener: Listener, *, dry_run: bool, settled: bool
) -> GradientIndex | None:
    """Sketches what is not sketched yet, together with a launcher's other processes.

    Returns:
        None after a dry run, and in all processes but the first.

    Raises:
        UserError: whatever is wrong with the model, the device, or the place to write.
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
    model, trust = config.model, config.model.trust_remote_code
    if model.name in PACKAGES and not converted(model.name).exists():
        listener.on_stage(f"converting {model.name} from its package, once")
        resolve(model.name)
    listener.on_stage(f"loading the tokenizer of {model.name}")
    tokenizer = load_tokenizer(model.name, revision=model.revision, trust_remote_code=trust)
    pairs = tokenise(
        preferences,
        tokenizer,
        chat=config.input.chat,
        max_length=config.input.max_length,
        on_progress=lambda rows: listener.on_progress(Progress("tokenising", rows, len(preferences), "pairs")),
    )
    check_pairs(pairs)
    if not settled:
        model = settle_dtype(
            model,
            device=device,
            began_in=(read_plan(directory) or {}).get("dtype"),
            together=[] if model.reference is None else [replace(model, name=model.reference, revision=None)],
            rank=rank,
            listener=listener,
        )
    reference = reference_fingerprint = None
    if (name := model.reference) is not None:
        listener.on_stage(f"loading {name}")
        reference = partial(load_model, name, dtype=model.dtype, device=device, trust_remote_code=trust)
        reference_fingerprint = fingerprint(reference())
    listener.on_stage(f"loading {model.name}")
    policy = load_model(
        model.name,
        dtype=model.dtype,
        device=device,
        adapter=model.adapter,
        revision=model.revision,  # of the policy's repository alone
        trust_remote_code=trust,
    )
    if rank.number == 0 and (dry_run or not is_finished(directory, INDEX)):
        listener.on_stage("measuring a few pairs")
        listener.on_note(estimate(policy, pairs, config.index, rank.world_size))
    if dry_run:
        return None
    listener.on_stage(f"checking {model.name}")
    return build_index(
        policy,
        pairs,
        directory,
        config.index,
        model_fingerprint=fingerprint(policy),
        reference=reference,
        reference_fingerprint=reference_fingerprint,
        rank=rank,
        barrier=wait_for_all,
        on_progress=listener.on_progress,
    )


def check_pairs(pairs: TokenisedPairs) -> None:
    """Raises:
    UserError: no pair can be scored.
    """
    if all(pairs.reasons):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(pairs.reasons).most_common())
        raise UserError(f"none of the {len(pairs)} pairs can be scored ({reasons}); see --max-length and the data")
