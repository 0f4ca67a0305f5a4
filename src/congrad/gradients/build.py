"""Build the gradient index: plan, sketch shard by shard on every rank, finish.

The plan is a function of the pairs and the settings alone. Ranks take whole shards in turn and write them under their
own names, so that a killed run, a resumed one and one on more devices all leave the same files.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.files import whole_file, write_json
from congrad.gradients.check import check_model
from congrad.gradients.index import (
    COLUMNS,
    FORMAT,
    INDEX,
    PAIRS,
    GradientIndex,
    Shard,
    encode,
    open_index,
    read_plan,
    shards_of,
    write_tensors,
)
from congrad.gradients.packing import IntArray, Pack, num_packed_tokens, pack
from congrad.gradients.sketch import PairSketches, scorer, sketcher
from congrad.gradients.space import count_weights, expert_space, gradient_space
from congrad.models.ranks import Rank
from congrad.preferences.tokenise import TokenisedPairs
from congrad.progress import Progress
from congrad.settings.index import PassSettings
from congrad.stage import check_same, is_finished, make, sweep

MIN_SHARD_PAIRS = 32  # on a CPU about a minute's work: what a kill may cost
NUM_SHARDS = 256
MAX_CHECKED = 8  # pairs tried until the model gives one a finite log-probability


def triples(pairs: TokenisedPairs, positions: Sequence[int]) -> list[tuple[IntArray, IntArray, IntArray]]:
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


@contextmanager
def pass_sketcher(model: PreTrainedModel, settings: PassSettings) -> Iterator[Callable[[Pack], PairSketches]]:
    """`sketcher` with the settings of a pass, which are resolved."""
    assert settings.projection_size is not None
    with sketcher(model, size=settings.projection_size, seed=settings.seed, layers=settings.layers) as sketch:
        yield sketch


def make_plan(
    pairs: TokenisedPairs,
    model: PreTrainedModel,
    settings: PassSettings,
    *,
    model_fingerprint: str,
    reference: str | None,
) -> dict[str, Any]:
    """What plan.json holds. Two plans are equal exactly when their indexes may be shared."""
    num_pairs = sum(not reason for reason in pairs.reasons)
    space, experts = gradient_space(model, settings.layers), expert_space(model, settings.layers)
    num_weights, num_outside = count_weights(model, space, experts)
    settings = settings.resolved(num_pairs, model.device)
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
        "num_layers": len(space) + len(experts),
        "num_weights": num_weights,
        "num_weights_outside": num_outside,
        "dims": settings.projection_size**2,
        "shard_pairs": max(MIN_SHARD_PAIRS, -(-num_pairs // NUM_SHARDS)),
    }


def decided(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What decides an index's content, by the names that a person knows, in the order in which differences are named:
    the precision before the model, whose fingerprint depends on it."""
    return {
        "model.dtype": plan.get("dtype"),
        "the model (model.name, model.adapter)": plan.get("model"),
        "the reference model (model.reference)": plan.get("reference"),
        "the tokenised pairs (the section input)": plan.get("data"),
        "index": plan.get("settings"),
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
        check_same(directory, found, plan)  # what depends on that, in a plan that nothing of ours wrote
    if rank.number > 0:
        return
    if found is None:
        make(directory, INDEX)
        write_json(directory / INDEX.first, plan)
    sweep(directory)  # the other ranks write from the barrier on
    if not path.exists():
        write_pairs(path, pairs)


def build_index(
    model: PreTrainedModel,
    pairs: TokenisedPairs,
    directory: str | Path,
    settings: PassSettings | None = None,
    *,
    model_fingerprint: str | None = None,
    reference: Callable[[], PreTrainedModel] | None = None,
    reference_fingerprint: str | None = None,
    rank: Rank | None = None,
    barrier: Callable[[], None] = lambda: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
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
        reference: loads the reference model, where the policy is not its own reference.
        reference_fingerprint: the reference's; required with `reference`.
        rank: this process among those that build the index together, all on one shared file system; None: alone.
        barrier: waits for all ranks.
        on_progress: called after every pack.

    Raises:
        UserError: the directory holds an index of another model, data or settings; it cannot be written; or the device
            is out of memory.
    """
    from congrad.models.identity import fingerprint

    directory, settings, rank = Path(directory), settings or PassSettings(), rank or Rank()
    lengths = packed_lengths(pairs)
    model_fingerprint = model_fingerprint or fingerprint(model)
    plan = make_plan(pairs, model, settings, model_fingerprint=model_fingerprint, reference=reference_fingerprint)
    shards, usable = shards_of(plan), np.flatnonzero(lengths)
    if len(usable) and not is_finished(directory, INDEX):  # before anything is written
        some = triples(pairs, usable[:MAX_CHECKED].tolist())
        if not any(check_model(model, *triple) for triple in some):
            problem = f"no finite log-probability for the first {len(some)} pairs in {plan['dtype']}"
            fix = "try another model.dtype, or fix the model's weights"
            raise UserError(f"model {model.config.name_or_path!r}: {problem}", fix)
    begin_index(directory, plan, pairs, rank)
    barrier()
    settings, budget = PassSettings(**plan["settings"]), plan["settings"]["token_budget"]

    def run(stage: str, kind: str, compute: Callable[[Pack], PairSketches]) -> None:
        mine = shards[rank.number :: rank.world_size]
        missing = [shard for shard in mine if not shard.path(directory, kind).exists()]
        total = int(sum(lengths[usable[shard.start : shard.stop]].sum() for shard in missing))
        num_pairs = sum(shard.stop - shard.start for shard in missing)
        done = num_done = 0

        def work(shard: Shard) -> dict[str, torch.Tensor]:
            nonlocal done, num_done
            results, order = [], []
            for positions in packs_of(usable[shard.start : shard.stop], lengths, budget):
                results.append(compute(pack(triples(pairs, positions), settings.normalise)))
                order += positions
                done, num_done = done + int(lengths[positions].sum()), num_done + len(positions)
                on_progress(Progress(stage, num_done, num_pairs, "pairs", work=(done, total)))
            back = torch.from_numpy(np.argsort(order))
            tensors = {"logps": torch.cat([result.logps_B2 for result in results])[back]}
            if kind == "sketches":
                unit, scales = encode(torch.cat([result.sketches_BD for result in results])[back])
                tensors |= {"sketches": unit, "scales": scales}
            return tensors

        try:
            run_shards(shards, kind, directory, rank, work)
        except torch.OutOfMemoryError as error:
            fix = f"lower index.token_budget ({budget}) or input.max_length"
            raise UserError(f"out of memory on {model.device}", fix) from error

    started = time.monotonic()
    with pass_sketcher(model, settings) as sketch:
        run("sketching", "sketches", sketch)
    if reference is not None:
        assert reference_fingerprint is not None
        with scorer(reference()) as score:
            run("reference model", "reference", score)
    barrier()
    if rank.number == 0:
        finish_index(directory, shards, seconds=time.monotonic() - started, has_reference=reference is not None)
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
