"""The index of the watched pairs, beside the data's in a run: `watch/` and the first digits of their fingerprint.

    plan.json, ...   as of any index, with the settings of the data's
    prompts.json     the prompt of every row, as a number: below the rows of the data that of a row of theirs with the
                     same text or id, from there on one of its own

Shapes: N rows of the data, M watched rows, Q of these that are sketched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from congrad.advice.sample import usable
from congrad.advice.watched import WatchedPairs
from congrad.errors import UserError
from congrad.files import write_json
from congrad.filtering.prompts import joined
from congrad.filtering.score import gradient_inputs, language_codes
from congrad.gradients.index import INDEX, SAME_FILES, GradientIndex, decided, open_index, read_plan
from congrad.preferences.prompt_ids import ID_COLUMNS, Codes, prompt_ids, tells_prompts_apart
from congrad.preferences.render import explicit
from congrad.preferences.rows import Preferences, iterate
from congrad.settings.consensus import Loss
from congrad.settings.tree import FilterConfig
from congrad.stage import MOST_BYTES, Amount, Record, damaged, read_json

PROMPTS = "prompts.json"
WATCH_AGAIN = "filter the data with --watch into another output directory"
OWN_DATA = "the tokenised pairs (the section input)"  # of `decided`: the only difference from the data's index


class PromptsFile(Record):
    """prompts.json."""

    most_bytes, fix = MOST_BYTES, WATCH_AGAIN
    data_rows: Amount
    prompts: Annotated[list[Amount], Field(min_length=1)]


@dataclass(frozen=True)
class WatchedIndex:
    """Attributes:
    source: where the pairs were read.
    prompt_M: see above.
    num_rows: N.
    """

    source: str
    index: GradientIndex
    prompt_M: torch.Tensor
    num_rows: int

    @property
    def languages(self) -> list[str]:
        return language_codes(self.index)[0]

    def pairs(self, loss: Loss, prompt_N: torch.Tensor) -> WatchedPairs:
        """What `advise` takes, with the prompts' numbers of the data.

        Raises:
            UserError: none has a gradient.
        """
        others_M = self.prompt_M - self.num_rows + int(prompt_N.max()) + 1
        group_M = torch.where(self.prompt_M < self.num_rows, prompt_N[self.prompt_M % self.num_rows], others_M)
        pairs = WatchedPairs(self.index, **gradient_inputs(self.index, loss, group_M))
        if not usable(pairs.factor_N).any():
            problem = "has no pair with a gradient that is finite and not zero"
            raise UserError(problem, "name other pairs", key="advice.watch", value=self.source)
        return pairs


def place_of(watched: Preferences, run: Path) -> Path:
    """The directory of their index in a run: other pairs have another one."""
    return run / "watch" / watched.fingerprint[:16]


def finish_watch(
    config: FilterConfig, preferences: Preferences, watched: Preferences, index: GradientIndex
) -> WatchedIndex:
    """Writes which prompts are the data's beside a finished index."""
    prompts = same_prompts(preferences, watched, config.input.columns.group)
    write_json(index.directory / PROMPTS, {"data_rows": len(preferences), "prompts": prompts.tolist()})
    return WatchedIndex(str(config.advice.watch), index, torch.from_numpy(prompts), len(preferences))


def open_watch(directory: Path, index: GradientIndex, config: FilterConfig) -> WatchedIndex:
    """Opens the watched pairs of a finished run, which may come from a stranger.

    Raises:
        UserError: something is missing or damaged, or they were sketched otherwise than the data.
    """
    path = directory / PROMPTS
    found = read_json(path, PromptsFile)
    prompts, num_rows = found["prompts"], len(index.pairs)
    if found["data_rows"] != num_rows or max(prompts) >= num_rows + len(prompts):
        raise damaged(path, f"data_rows should be {num_rows}, and prompts below that and their number", WATCH_AGAIN)
    plan = read_plan(directory, SAME_FILES)
    if plan is not None and plan["num_rows"] != len(prompts):
        problem = f"num_rows {plan['num_rows']} should be {len(prompts)}, as in {PROMPTS}"
        raise damaged(directory / INDEX.first, problem, WATCH_AGAIN)
    watch = open_index(directory)
    own, wanted = decided(watch.plan), decided(index.plan)
    if other := [key for key in wanted if key != OWN_DATA and own[key] != wanted[key]]:
        raise damaged(directory / INDEX.first, f"{other[0]} should be that of {index.directory}", WATCH_AGAIN)
    opened = WatchedIndex(str(config.advice.watch), watch, torch.tensor(prompts), num_rows)
    if len(opened.languages) > config.input.bounds.languages:
        problem = f"has more than {config.input.bounds.languages} languages"
        raise UserError(problem, "raise input.bounds.languages", at=directory)
    return opened


def same_prompts(preferences: Preferences, watched: Preferences, column: str | None) -> Codes:
    """The prompt of every watched row (M); of those in several languages, the same number.

    Two prompts are one where their text is, or their id, without the language's tag. Taking two for one that have
    nothing to do with each other costs next to nothing: a watched pair is measured without some fold in any case.

    Args:
        column: of the prompts; None for those of ids.
    """
    texts, own_texts = prompt_texts(preferences), prompt_texts(watched)
    prompt_M = numbers(own_texts)
    row_M = first_rows(texts, own_texts)
    language_M = numbers(watched.languages)
    for name in ID_COLUMNS if column is None else (column,):
        if name in watched.dataset.column_names:
            ids = prompt_ids(watched, name, tagged=True)
            key_M = numbers(ids)
            if column is None and not tells_prompts_apart(key_M, prompt_M, language_M):
                continue
            prompt_M = joined(prompt_M, key_M)
            if name in preferences.dataset.column_names:
                row_M = np.where(row_M < 0, first_rows(prompt_ids(preferences, name, tagged=True), ids), row_M)
    row_of_prompt = np.full(int(prompt_M.max()) + 1, -1)
    np.maximum.at(row_of_prompt, prompt_M, row_M)
    return np.where(row_of_prompt[prompt_M] >= 0, row_of_prompt[prompt_M], len(preferences) + prompt_M)


def numbers(keys: Sequence[str]) -> Codes:
    """A number for each of the distinct keys, in the order of their first rows (M)."""
    found: dict[str, int] = {}
    return np.array([found.setdefault(key, len(found)) for key in keys])


def first_rows(keys: Sequence[str], own: Sequence[str]) -> Codes:
    """The first row of the data with the key of every watched row (M); -1 where there is none."""
    rows = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
    return np.array([rows.get(key, -1) for key in own])


def prompt_texts(preferences: Preferences) -> list[str]:
    return [json.dumps(explicit(row)[0], ensure_ascii=False, sort_keys=True) for row in iterate(preferences.dataset)]
