"""From a finished index to a finished run: score, advise, select, write."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from congrad.filtering.advise import advise_index
from congrad.filtering.exact import inexact_in_words
from congrad.filtering.fidelity import estimate_fidelity
from congrad.filtering.left_out import input_record
from congrad.filtering.outputs import languages_content, scores_table, write_run
from congrad.filtering.prompts import find_prompts
from congrad.filtering.score import ScoredRows, score
from congrad.filtering.stability import ranking_stability
from congrad.filtering.watch import WatchedIndex
from congrad.gradients.index import MUCH_OUTSIDE, GradientIndex, in_words, share_of_weights
from congrad.models.memory import peak_memory
from congrad.preferences.rows import Preferences
from congrad.progress import Listener, Progress
from congrad.selection.guards import guards
from congrad.selection.keep import reasons, select
from congrad.settings.tree import FilterConfig


@dataclass(frozen=True)
class FilterResult:
    """What a run found, as in its files."""

    output: Path
    scored: ScoredRows
    keep_N: torch.Tensor
    warnings: list[str]
    manifest: dict[str, Any]
    advice: dict[str, Any]


def conclude(
    config: FilterConfig,
    preferences: Preferences,
    index: GradientIndex,
    output: Path,
    seconds: dict[str, float],
    listener: Listener,
    watch: WatchedIndex | None = None,
) -> FilterResult:
    """Scores, selects, and writes the run."""
    started = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        listener.on_progress(Progress("scoring", done, total, "pairs"))

    prompt_N, shared = find_prompts(preferences, index, config.input.columns.group)
    if shared:
        listener.on_note(f"prompts: {shared}")
    scored = score(index, config.loss, config.consensus, group_N=prompt_N, on_progress=on_progress)
    listener.on_stage("predicting what options would do")
    advice = advise_index(index, preferences, prompt_N, config.loss, config.consensus, config.advice, watch=watch)
    auto = {}
    if config.selection.keep == "auto":
        config = replace(config, selection=replace(config.selection, keep=advice["verdict"]["share"]))
        auto = {"auto": {name: value for name, value in advice["chosen"].get("budget", {}).items() if name != "gains"}}
    keep_N = select(scored.score_N, scored.language_N, **asdict(config.selection))
    reason_N = reasons(keep_N, scored.reason_N, min_score=config.selection.min_score)
    warnings = guards(
        scored.languages,
        scored.language_N,
        scored.score_N,
        keep_N,
        group_P=torch.from_numpy(scored.rows["group"].to_numpy().copy()),
        row_P=torch.from_numpy(scored.rows["row"].to_numpy().copy()),
    )
    warnings += outside_the_space(index.plan)
    listener.on_stage("estimating the fidelity")
    fidelity = estimate_fidelity(index, config.loss, config.consensus, prompt_N)
    seconds["score"] = round(time.monotonic() - started, 3)
    listener.on_stage("writing the pairs")
    described = input_record(preferences)
    if described["inexact"]:
        listener.on_note(inexact_in_words(described["inexact"]))
    source = Path(config.input.source)
    if source.exists():  # the run can then be re-filtered from any directory
        config = replace(config, input=replace(config.input, source=str(source.resolve())))
    manifest = {
        "congrad": 1,
        "config": asdict(config),
        "command": sys.argv,
        "index": place_within(index.directory, output),
        **({} if watch is None else {"watch": place_within(watch.index.directory, output)}),
        "plan": index.plan,
        "data_fingerprint": preferences.fingerprint,
        "input": described,
        "rows": len(preferences),
        "kept": int(keep_N.sum()),
        **auto,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "fidelity": fidelity,
        "stability": ranking_stability(scored, config.selection),
        "shared_prompts": shared or None,
        "warnings": warnings,
        "reasons": dict(sorted(Counter(reason_N).items())),
    }
    table = scores_table(scored.rows, keep_N, reason_N, scored.languages)
    if shared:
        table = table.append_column("prompt", pa.array(prompt_N.numpy()))
    write_run(output, preferences, table, scored.score_N, manifest, languages=languages_content(scored), advice=advice)
    return FilterResult(output, scored, keep_N, warnings, manifest, advice)


def place_within(directory: Path, run: Path) -> str:
    """An index as the manifest of a run names it: below it by its name there."""
    place = directory.resolve()
    return place.relative_to(run.resolve()).as_posix() if place.is_relative_to(run.resolve()) else str(place)


def outside_the_space(plan: Mapping[str, Any]) -> list[str]:
    """Warnings where much of the model has no part in the scores, or a layer of its blocks."""
    share, measured = share_of_weights(plan), plan["outside"]
    warning = (
        f"{share:.0%} of the weights in the decoder blocks are outside the gradient space, because they are in "
        "neither linear layers nor experts that congrad knows; the scores use the other weights only"
    ) + ("" if measured is None else f"; {in_words(measured)}")
    tied = plan["tied"]
    named = f"{tied[0]} and {len(tied) - 1} more" if len(tied) > 1 else "".join(tied)
    is_tied = f"outside the gradient space, because its weight is also an embedding or the LM head: {named}"
    return ([warning] if share >= MUCH_OUTSIDE else []) + ([is_tied] if tied else [])
