"""The ways of pairing a round's answers, compared before one of them is trained: what `filter.pairings` names beside
`pair.method`. It informs; the configured way is trained.

    pairings/WAY/          what the stage `pair` makes of the round's answers in another way
    pairings/pairs.jsonl   the pairs of the other ways that the configured one does not make
    pairings/index/        their gradients; those of the configured way are in the filter's index: none is made twice
    pairings/pairings.json the ways with their gains, as `congrad.advice.pairings` predicts them
    pairings/manifest.json written last

Shapes: N pairs of all ways, W ways, D sketch dims.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from congrad.advice.pairings import compare_pairings
from congrad.files import write_json
from congrad.filtering.advise import tokens
from congrad.filtering.gradient_pass import make_indexes
from congrad.filtering.prompts import find_prompts
from congrad.filtering.score import gradient_inputs
from congrad.gradients.index import GradientIndex, open_index
from congrad.models.ranks import is_first, wait_for_all
from congrad.preferences.load import read_preferences
from congrad.preferences.rows import Preferences
from congrad.progress import Listener
from congrad.selfreward.pair import PAIRS, run_pair
from congrad.settings.tree import FilterConfig, RunConfig
from congrad.stage import Record, begin, file_fingerprint, finish, is_finished, read_rows, write_rows

FILE = "pairings.json"


class Row(Record):
    """What a pair of two answers is known by."""

    prompt_key: str
    chosen_key: str
    rejected_key: str


@dataclass(frozen=True)
class Joined:
    """The sketches of two indexes, one after the other."""

    parts: tuple[GradientIndex, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return sum(map(len, self.parts)), self.parts[0].shape[1]

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        start, stop, _ = rows.indices(self.shape[0])
        found, before = [], 0
        for part in self.parts:
            found.append(part[max(start - before, 0) : max(stop - before, 0)])
            before += len(part)
        return torch.cat(found)


def compare_ways(
    config: RunConfig,
    wanted: FilterConfig,
    generated: Path,
    judged: Path,
    filtered: Path,
    output: Path,
    listener: Listener,
) -> None:
    """Compares the ways; returns at once where that is done. By all processes of a launcher together.

    Args:
        wanted: the configuration of the round's filter, whose input is the pairs of the configured way.
        generated, judged, filtered: finished stages of the round.
    """
    if is_finished(output):
        return
    own, ways = Path(wanted.input.source), (config.pair.method, *config.filter.pairings)
    if is_first():
        settings = {"ways": ways, "pairs": file_fingerprint(own), "advice": asdict(wanted.advice)}
        begin(output, "pairings", settings)
        for way in ways[1:]:
            run_pair(generated, judged, replace(config.pair, method=way), output / way, listener=listener)
        files = {way: own if way == ways[0] else output / way / PAIRS for way in ways}
        keys = {way: {key_of(row) for row in read_rows(path, Row)} for way, path in files.items()}
        others = {key_of(row): row for way in ways[1:] for row in read_rows(files[way])}
        write_rows(output / PAIRS, (row for key, row in others.items() if key not in keys[ways[0]]))
    wait_for_all()
    indexes = [open_index(filtered / "index")]
    sources = [read_preferences(wanted.input)]
    if (output / PAIRS).stat().st_size:
        same = replace(wanted.index, projection_size=indexes[0].plan["settings"]["projection_size"])
        further = replace(wanted, input=replace(wanted.input, source=str(output / PAIRS)), index=same)
        sources.append(read_preferences(further.input))
        made = make_indexes(further, [(sources[1], output / "index")], listener, dry_run=False, settled=True)
        indexes += made or []
    if not is_first():
        return
    listener.on_stage("comparing the ways of pairing")
    prompt_N, _ = find_prompts(sources[0], indexes[0], None)
    prompt_of = dict(zip(sources[0].dataset["prompt_key"], prompt_N.tolist(), strict=True))
    prompts = [torch.tensor([prompt_of[key] for key in each.dataset["prompt_key"]]) for each in sources]
    names = sorted({name for each in sources for name in each.languages})
    parts = [gradient_inputs(index, wanted.loss, of) for index, of in zip(indexes, prompts, strict=True)]
    positions = [index.positions_P for index in indexes]
    code_N = [torch.tensor([names.index(name) for name in each.languages]) for each in sources]
    key_N = [key for each, taken in zip(sources, positions, strict=True) for key in keys_of(each, taken)]
    found = compare_pairings(
        Joined(tuple(indexes)),
        factor_N=torch.cat([each["factor_N"] for each in parts]),
        language_N=torch.cat([code[taken] for code, taken in zip(code_N, positions, strict=True)]),
        group_N=torch.cat([each["group_N"] for each in parts]),
        length_N=np.concatenate([np.subtract(*tokens(index).T) for index in indexes]),
        member_WN=torch.tensor([[key in keys[way] for key in key_N] for way in ways]),
        configured=0,
        settings=wanted.advice,
    )
    better = [ways[way] for way in found.better]
    content = {
        "ways": ways,
        "num_pairs": found.num_pairs_W,
        "num_prompts": found.num_prompts,
        "gains": {by: [[asdict(gains) for gains in row] for row in rows] for by, rows in found.gains.items()},
        "better": better,
    }
    note = f"pairing by {' or '.join(better)} is predicted to be clearly better than by {ways[0]}; see pair.method"
    write_json(output / FILE, {**content, "warnings": [note] if better else []})
    finish(output, {})


def key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in Row.model_fields)


def keys_of(preferences: Preferences, position_P: torch.Tensor) -> list[tuple[str, ...]]:
    columns = [list(preferences.dataset[name]) for name in Row.model_fields]
    return [tuple(column[position] for column in columns) for position in position_P.tolist()]
