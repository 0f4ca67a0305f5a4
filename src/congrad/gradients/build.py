"""Build the gradient index: plan, sketch shard by shard on every rank, finish.

The plan is a function of the pairs and the settings alone. Ranks take whole shards in turn and write them under their
own names, so that a killed run, a resumed one and one on more devices all leave the same files.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.files import whole_file, write_json
from congrad.gradients.check import check_start, check_whole
from congrad.gradients.index import (
    COLUMNS,
    FEW_PERCENT,
    FORMAT,
    INDEX,
    MUCH_OUTSIDE,
    PAIRS,
    GradientIndex,
    Shard,
    decided,
    encode,
    in_words,
    open_index,
    read_plan,
    shards_of,
    share_of_weights,
    write_tensors,
)
from congrad.gradients.outside import few, measure_outside, memory_needed
from congrad.gradients.packing import IntArray, Triple, num_packed_tokens
from congrad.gradients.passes import Compute, pass_scorer, pass_sketcher
from congrad.gradients.space import Space
from congrad.machine import ran_out
from congrad.models.load import give_memory_back, quiet
from congrad.models.memory import enough_memory, free_memory
from congrad.models.ranks import Rank
from congrad.preferences.tokenise import TokenisedPairs
from congrad.progress import Progress
from congrad.settings.index import PassSettings, default_token_budget
from congrad.stage import check_same, is_finished, make, sweep
from congrad.words import human_bytes, one_line

MIN_SHARD_PAIRS = 32  # on a CPU about a minute's work: what a kill may cost
NUM_SHARDS = 256


def triples(pairs: TokenisedPairs, positions: Sequence[int]) -> list[Triple]:
    return [(pairs.prompt_ids[i], pairs.chosen_ids[i], pairs.rejected_ids[i]) for i in positions]


def packed_lengths(pairs: TokenisedPairs) -> IntArray:
    """Packed tokens of every pair, 0 where it cannot be scored."""
    everything = zip(pairs.reasons, triples(pairs, range(len(pairs))), strict=True)
    return np.array([0 if reason else num_packed_tokens(*triple) for reason, triple in everything], dtype=int)


def pairs_fingerprint(pairs: TokenisedPairs) -> str:
    """SHA-256 over all that the index depends on: rows, languages, reasons and token ids."""
    digest = hashlib.sha256()
    for i, (row, language, reason) in enumerate(zip(pairs.rows, pairs.languages, pairs.reasons, strict=True)):
        parts = [np.ascontiguousarray(part, dtype="<i4") for part in triples(pairs, [i])[0]]
        digest.update(json.dumps([row, language, reason, *(len(part) for part in parts)]).encode())
        for part in parts:
            digest.update(part.tobytes())
    return digest.hexdigest()


def make_plan(
    pairs: TokenisedPairs,
    model: PreTrainedModel,
    settings: PassSettings,
    *,
    model_fingerprint: str,
    reference: str | None,
    made_on_load: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What plan.json holds. Two plans are equal exactly when their indexes may be shared.

    Args:
        settings: with the route that is taken; `auto` counts as packed.
        made_on_load: as of `build_index`.
    """
    num_pairs = sum(not reason for reason in pairs.reasons)
    settings = settings.resolved(num_pairs, model.device)
    settings = replace(settings, route="packed" if settings.route == "auto" else settings.route)
    space = Space.of(model, settings.layers, packed=settings.route == "packed")
    num_weights, num_outside = space.count(model)
    assert settings.projection_size is not None
    return {
        "format": FORMAT,
        "model": model_fingerprint,
        "reference": reference,
        "data": pairs_fingerprint(pairs),
        "dtype": str(model.dtype).removeprefix("torch."),
        "settings": asdict(settings),
        "num_rows": len(pairs.rows),
        "num_pairs": num_pairs,
        "num_layers": len(space.layers) + len(space.experts) + len(space.matrices),
        "num_weights": num_weights,
        "num_weights_outside": num_outside,
        "tied": space.tied,
        "outside": None,
        "dims": settings.projection_size**2,
        "shard_pairs": max(MIN_SHARD_PAIRS, -(-num_pairs // NUM_SHARDS)),
        **(made_on_load or {}),
    }


def pairs_table(pairs: TokenisedPairs) -> pa.Table:
    """pairs.parquet; `group` numbers the distinct prompts of each language."""
    keys = [(language, ids.tobytes()) for language, ids in zip(pairs.languages, pairs.prompt_ids, strict=True)]
    numbers: dict[tuple[str, bytes], int] = {}
    groups = [numbers.setdefault(key, len(numbers)) for key in keys]
    lengths = ([len(ids) for ids in side] for side in (pairs.chosen_ids, pairs.rejected_ids))
    return pa.table([pairs.rows, pairs.languages, groups, pairs.reasons, *lengths], schema=COLUMNS)


def write_pairs(path: Path, pairs: TokenisedPairs) -> None:
    with whole_file(path) as file:
        pq.write_table(pairs_table(pairs), file)


def packs_of(positions: IntArray, lengths: IntArray, budget: int) -> Iterator[list[int]]:
    """Pairs of like length whose tokens fit the budget together, longest first; a longer pair goes alone."""
    current: list[int] = []
    for position in positions[np.argsort(-lengths[positions], kind="stable")].tolist():
        if current and lengths[[*current, position]].sum() > budget:
            yield current
            current = []
        current.append(position)
    if current:
        yield current


def run_shards(
    shards: Sequence[Shard], kind: str, directory: Path, rank: Rank, work: Callable[[Shard], dict[str, torch.Tensor]]
) -> None:
    """Writes this rank's missing shards of a kind, one after the other."""
    for shard in shards[rank.number :: rank.world_size]:
        path = shard.path(directory, kind)
        if not path.exists():
            write_tensors(path, work(shard))


def begin_index(directory: Path, plan: Mapping[str, Any], pairs: TokenisedPairs, rank: Rank) -> None:
    """Makes the directory with its plan, or checks that the plan that is there is the same."""
    found, path = read_plan(directory), directory / PAIRS
    if found is not None:
        check_same(directory, decided(found), decided(plan))
        plan = {**plan, "outside": found["outside"]}  # was measured, and decides nothing
        check_same(directory, found, plan)  # what depends on that, in a plan that nothing of ours wrote
    if rank.number > 0:
        return
    if found is None:
        make(directory, INDEX)
        write_json(directory / INDEX.first, plan)
    sweep(directory)  # the other ranks write from the barrier on
    if not path.exists():
        write_pairs(path, pairs)


def as_begun(settings: PassSettings, directory: Path) -> PassSettings:
    """The settings, with the route of an index that was begun in the general pass where they leave it open.

    One begun in the packed pass is checked again: before there was another, no check was made of long pairs.
    """
    if settings.route != "auto" or (plan := read_plan(directory)) is None:
        return settings
    route = plan["settings"]["route"]
    return replace(settings, route=route) if route == "general" or is_finished(directory, INDEX) else settings


def out_of_memory(model: PreTrainedModel, settings: PassSettings) -> AbstractContextManager[None]:
    """Says in one line what to do when the device is out of memory."""
    budget = settings.token_budget or default_token_budget(model.device)
    fix = f"lower index.token_budget ({budget}) or input.max_length"
    if settings.route == "general":  # which takes one pair at a time
        fix = "lower input.max_length"
    return enough_memory(f"out of memory on {model.device}", fix)


def measured(
    model: PreTrainedModel, pairs: Sequence[Triple], settings: PassSettings, on_note: Callable[[str], None]
) -> dict[str, Any] | None:
    """What the space leaves out; None, with a note, where that cannot be measured."""
    taken = few(pairs)
    if (needed := memory_needed(model, taken)) > free_memory(model.device):
        reason = f"it takes about {human_bytes(needed)} of memory"
        on_note(f"what is outside the gradient space is not measured ({reason})")
        return None
    space = Space.of(model, settings.layers, packed=settings.route != "general")
    try:
        with quiet():
            return measure_outside(model, taken, space, settings.normalise)
    except Exception as error:  # of a forward in which other parameters cannot have gradients
        if isinstance(error, UserError) or ran_out(error):
            raise
        reason = one_line(str(error), 100) or type(error).__name__
        on_note(f"what is outside the gradient space could not be measured ({reason})")
        return None


def build_index(
    model: PreTrainedModel,
    pairs: TokenisedPairs,
    directory: str | Path,
    settings: PassSettings | None = None,
    *,
    model_fingerprint: str | None = None,
    made_on_load: Mapping[str, Any] | None = None,
    reference: Callable[[], PreTrainedModel] | None = None,
    reference_fingerprint: str | None = None,
    started: bool = False,
    rank: Rank | None = None,
    barrier: Callable[[], None] = lambda: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> GradientIndex:
    """Sketches every usable pair's gradient into `directory`; continues where an interrupted call stopped.

    What is sketched is the unscaled difference grad log pi(y_w) - grad log pi(y_l): every loss on these
    log-probabilities is a reweighting of it.

    Args:
        model: a frozen causal language model in evaluation mode.
        pairs: tokenised pairs, as `congrad.preferences.tokenise` gives them.
        directory: of the index; made where it is missing.
        settings: what decides the content of the index; None for the defaults.
        model_fingerprint: `congrad.models.identity` of the model; None for the fingerprint of what is in memory.
        made_on_load: what decides the index besides the fingerprint, by name (`congrad.settings.model.Model`).
        reference: loads the reference model, where the policy is not its own reference.
        reference_fingerprint: the reference's; required with `reference`.
        started: whether the policy went through `check_start` with these settings.
        rank: this process among those that build the index together, all on one shared file system; None: alone.
        barrier: waits for all ranks.
        on_progress: called after every pack.
        on_note: hears why the general pass is taken, where it is not asked for, and what the space leaves out.

    Raises:
        UserError: the model is not causal, or gives nothing finite; the directory holds an index of another model, data
            or settings; it cannot be written; or the device is out of memory.
    """
    from congrad.models.identity import fingerprint

    directory, settings, rank = Path(directory), settings or PassSettings(), rank or Rank()
    lengths = packed_lengths(pairs)
    usable = np.flatnonzero(lengths)
    model_fingerprint = model_fingerprint or fingerprint(model)
    settings = as_begun(settings, directory).resolved(len(usable), model.device)
    as_model: Any = {"model_fingerprint": model_fingerprint, "reference": reference_fingerprint}
    as_model |= {"made_on_load": made_on_load}
    if (found := read_plan(directory)) is not None:  # other settings are refused before any work
        route = found["settings"]["route"] if settings.route == "auto" else settings.route
        asked = make_plan(pairs, model, replace(settings, route=route), **as_model)
        check_same(directory, decided(found), decided(asked))
    reference_model = None
    with out_of_memory(model, settings):
        if len(usable) and not is_finished(directory, INDEX):  # before anything is written
            scored = triples(pairs, usable.tolist())
            settings = settings if started else check_start(model, scored, settings, on_note)
            settings = check_whole(model, scored, settings, on_note)
            if reference is not None:
                reference_model = reference()
                settings = check_start(reference_model, scored, settings, on_note, sketches=False)
                settings = check_whole(reference_model, scored, settings, on_note, sketches=False)
    if rank.number > 0 and (found := read_plan(directory)) is not None:
        settings = replace(settings, route=found["settings"]["route"])
    plan = make_plan(pairs, model, settings, **as_model)
    if rank.number == 0 and found is None and len(usable):
        with out_of_memory(model, settings):
            plan["outside"] = outside = measured(model, scored, settings, on_note)
        if outside is not None and outside["share"] >= FEW_PERCENT and share_of_weights(plan) < MUCH_OUTSIDE:
            on_note(in_words(outside))  # else the run's warning says it
    shards = shards_of(plan)
    begin_index(directory, plan, pairs, rank)
    barrier()
    settings = PassSettings(**(read_plan(directory) or plan)["settings"])  # all ranks take the first one's route
    assert settings.token_budget is not None
    budget, mine = settings.token_budget, shards[rank.number :: rank.world_size]

    def run(stage: str, kind: str, compute: Compute) -> None:
        missing = [shard for shard in mine if not shard.path(directory, kind).exists()]
        total = int(sum(lengths[usable[shard.start : shard.stop]].sum() for shard in missing))
        num_pairs = sum(shard.stop - shard.start for shard in missing)
        done = num_done = 0

        def work(shard: Shard) -> dict[str, torch.Tensor]:
            nonlocal done, num_done
            results, order = [], []
            for positions in packs_of(usable[shard.start : shard.stop], lengths, budget):
                results.append(compute(triples(pairs, positions)))
                order += positions
                done, num_done = done + int(lengths[positions].sum()), num_done + len(positions)
                on_progress(Progress(stage, num_done, num_pairs, "pairs", work=(done, total)))
            back = torch.from_numpy(np.argsort(order))
            tensors = {"logps": torch.cat([result.logps_B2 for result in results])[back]}
            if kind == "sketches":
                unit, scales = encode(torch.cat([result.sketches_BD for result in results])[back])
                tensors |= {"sketches": unit, "scales": scales}
            return tensors

        with out_of_memory(model, settings):
            run_shards(shards, kind, directory, rank, work)

    since = time.monotonic()
    if reference is not None and not all(shard.path(directory, "reference").exists() for shard in mine):
        with pass_scorer(reference_model or reference(), settings.route) as score:
            run("reference model", "reference", score)
        del reference_model, score
        give_memory_back()
    with pass_sketcher(model, settings) as sketch:
        run("sketching", "sketches", sketch)
    barrier()
    if rank.number == 0:
        finish_index(directory, shards, seconds=time.monotonic() - since, has_reference=reference is not None)
    barrier()
    return open_index(directory)


def finish_index(directory: Path, shards: Sequence[Shard], *, seconds: float, has_reference: bool) -> None:
    """Writes index.json when every shard is there."""
    kinds = ("sketches", "reference") if has_reference else ("sketches",)
    missing = [p for kind in kinds for shard in shards if not (p := shard.path(directory, kind)).exists()]
    if missing:
        raise UserError("not there", "ranks on several hosts need to share the output directory", at=missing[0])
    if not is_finished(directory, INDEX):
        write_json(directory / INDEX.last, {"format": FORMAT, "shards": len(shards), "seconds": round(seconds, 3)})
