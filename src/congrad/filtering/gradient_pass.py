"""The pass over the model: from checked pairs to their gradient index, and from watched ones to another."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from congrad.consensus.surgery import check_aggregator
from congrad.errors import UserError
from congrad.filtering.estimate import estimate
from congrad.gradients.build import as_begun, build_index, out_of_memory, triples
from congrad.gradients.check import by_sketches, check_start
from congrad.gradients.index import INDEX, GradientIndex, read_plan
from congrad.models.compute import settle_dtype
from congrad.models.device import pick_device
from congrad.models.identity import identities
from congrad.models.load import load, load_skeleton, tokenizer_of
from congrad.models.packaged import PACKAGES, converted, resolve
from congrad.models.positions import check_positions
from congrad.models.ranks import Rank, ranks, wait_for_all
from congrad.preferences.load import of_the_watched
from congrad.preferences.rows import Preferences
from congrad.preferences.tokenise import TokenisedPairs, tokenise
from congrad.progress import Listener, Progress
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import reference_of
from congrad.settings.tree import FilterConfig
from congrad.stage import is_finished
from congrad.words import quote

TOKENIZER = "tokenizer_config.json"  # without it, transformers makes up an empty one
COMPARED = 100  # responses that both tokenizers read


def make_indexes(
    config: FilterConfig,
    wanted: Sequence[tuple[Preferences, Path]],
    listener: Listener,
    *,
    dry_run: bool,
    settled: bool,
) -> list[GradientIndex] | None:
    """Sketches what is not sketched yet, together with a launcher's other processes.

    None after a dry run, and in all processes but the first.

    Args:
        wanted: pairs and the directory of their index; the data first, then, where there are any, the watched pairs,
            which take the settings that the data's index has.
    """
    check_aggregator(config.consensus.aggregator)
    device = pick_device(config.model.device, compute=by_sketches, on_note=listener.on_warning)
    with ranks() as rank:
        indexes = _make_indexes(config, wanted, device, rank, listener, dry_run=dry_run, settled=settled)
        return indexes if rank.number == 0 else None


def _make_indexes(
    config: FilterConfig,
    wanted: Sequence[tuple[Preferences, Path]],
    device: torch.device,
    rank: Rank,
    listener: Listener,
    *,
    dry_run: bool,
    settled: bool,
) -> list[GradientIndex] | None:
    directory = wanted[0][1]
    model, began = config.model, read_plan(directory)
    if model.name in PACKAGES and not converted(model.name).exists():
        listener.on_stage(f"converting {model.name} from its package, once")
        resolve(model.name)
    listener.on_stage(f"loading the tokenizer of {model.name}")
    tokenizer = tokenizer_of(model)
    tokenised = []
    for number, (preferences, _) in enumerate(wanted):
        with of_the_watched(config) if number else nullcontext():
            tokenised.append(tokenise_all(preferences, tokenizer, config.input, listener))
    pairs = together(tokenised)
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
        load_skeleton(reference)  # its weights are loaded later: a wrong name shows now
        if Path(reference.name).is_dir() and not (Path(reference.name) / TOKENIZER).is_file():
            problem = f"{reference.name} has no {TOKENIZER}: whether it reads the same tokens as {model.name}"
            listener.on_warning(f"{problem} cannot be checked")
        else:
            check_same_tokens(tokenizer, tokenizer_of(reference), pairs, reference.name)
    listener.on_stage(f"loading {model.name}")
    with identities(*([model] if reference is None else [model, reference])) as which:
        policy = load(model, device=device)
        model_fingerprint, *reference_fingerprint = [found() for found in which]
    check_positions(policy, sequence_lengths(together(tokenised)), config.input.max_length, listener.on_warning)
    num_usable = sum(not reason for reason in tokenised[0].reasons)
    settings = as_begun(config.index, directory).resolved(num_usable, policy.device)
    on_note = listener.on_note if rank.number == 0 else nobody
    unfinished = [
        own for own, (_, place) in zip(tokenised, wanted, strict=True) if dry_run or not is_finished(place, INDEX)
    ]
    if started := bool(unfinished):
        listener.on_stage(f"checking {model.name}")
        pairs = together(unfinished)
        usable = [position for position, reason in enumerate(pairs.reasons) if not reason]
        with out_of_memory(policy, settings):
            settings = check_start(policy, triples(pairs, usable), settings, on_note)
        if rank.number == 0:
            listener.on_stage("measuring a few pairs")
            with out_of_memory(policy, settings):
                listener.on_note(estimate(policy, pairs, settings, rank.world_size, config.consensus))
    if dry_run:
        return None
    listener.on_stage(f"checking {model.name} on long pairs")

    def load_reference() -> PreTrainedModel:
        assert reference is not None
        listener.on_stage(f"loading {reference.name}")
        return load(reference, device=device)

    def build(number: int, settings: PassSettings) -> GradientIndex:
        of = " (watched)" if number else ""
        return build_index(
            policy,
            tokenised[number],
            wanted[number][1],
            settings,
            model_fingerprint=model_fingerprint,
            made_on_load=model.made_on_load,
            reference=None if reference is None else load_reference,
            reference_fingerprint=next(iter(reference_fingerprint), None),
            started=started,
            rank=rank,
            barrier=wait_for_all,
            on_progress=lambda progress: listener.on_progress(replace(progress, stage=f"{progress.stage}{of}")),
            on_note=nobody if number else on_note,
        )

    indexes = [build(0, settings)]
    for number in range(1, len(wanted)):
        with of_the_watched(config):
            indexes.append(build(number, PassSettings(**indexes[0].plan["settings"])))
    return indexes


def tokenise_all(
    preferences: Preferences, tokenizer: PreTrainedTokenizerBase, config: Input, listener: Listener
) -> TokenisedPairs:
    """The pairs of a data set, of which at least one can be scored."""
    pairs = tokenise(
        preferences,
        tokenizer,
        chat=config.chat,
        max_length=config.max_length,
        on_progress=lambda rows: listener.on_progress(Progress("tokenising", rows, len(preferences), "pairs")),
    )
    if all(pairs.reasons):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(pairs.reasons).most_common())
        problem = f"none of the {len(pairs)} pairs can be scored ({reasons})"
        raise UserError(problem, "check input.max_length and the data")
    return pairs


def sequence_lengths(pairs: TokenisedPairs) -> list[int]:
    """Tokens of each usable pair's prompt and its longer response, which is what a model's positions count."""
    usable = [position for position, reason in enumerate(pairs.reasons) if not reason]
    return [len(prompt) + max(map(len, responses)) for prompt, *responses in triples(pairs, usable)]


def together(sets: Sequence[TokenisedPairs]) -> TokenisedPairs:
    """The pairs of several data sets, one after the other."""
    columns = ([getattr(pairs, field.name) for pairs in sets] for field in fields(TokenisedPairs))
    return TokenisedPairs(*(list(chain.from_iterable(parts)) for parts in columns))


def check_same_tokens(
    tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, pairs: TokenisedPairs, reference: str
) -> None:
    """Refuses a reference to which the policy's ids mean other text, or that reads the same text as other ids."""
    usable = [position for position, reason in enumerate(pairs.reasons) if not reason]
    used = np.unique(np.concatenate([ids for triple in triples(pairs, usable) for ids in triple])).tolist()
    fix = "name a reference with the same tokenizer"
    for number in used:
        tokens = [each.convert_ids_to_tokens(number) if number < len(each) else None for each in (tokenizer, other)]
        if tokens[0] != tokens[1]:
            problem = f"token {number:,} is {quote(tokens[1])} to it and {quote(tokens[0])} to the model"
            raise UserError(problem, fix, key="model.reference", value=reference)
    for position in usable[:COMPARED]:
        text = tokenizer.decode(pairs.chosen_ids[position])
        one, two = (each(text, add_special_tokens=False)["input_ids"] for each in (tokenizer, other))
        if one != two:
            problem = f"it reads the chosen response of row {pairs.rows[position]} as other tokens than the model"
            raise UserError(problem, fix, key="model.reference", value=reference)


def nobody(note: object) -> None:
    """Hears what the first process says."""
