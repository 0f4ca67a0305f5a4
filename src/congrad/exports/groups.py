"""From a finished run to a data set for every group of languages, for those who train a model or an adapter a group.

    group-1.jsonl   the pairs of the first group's languages: rows of the run's own files, in input order
    groups.json     written last: each group's languages and pairs, and what the division is predicted to gain

The groups are those of `congrad.advice.groups`, from the sketches of all scored pairs; only whole languages move.

Shapes: N rows, L languages.
"""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from congrad.advice.budget import MEASURES, Budget
from congrad.advice.groups import Cut, best_groups
from congrad.advice.language_sums import Estimate, LanguageSums
from congrad.advice.languages import dealt_sums
from congrad.errors import UserError
from congrad.files import json_line, versions, without_nan, write_json
from congrad.filtering.comparison import FILTER_AGAIN
from congrad.filtering.finished import KEPT, ScoredRun, read_run, rows_in_order, stored_section
from congrad.filtering.score import language_codes, pair_inputs
from congrad.gradients.index import open_index
from congrad.settings.advice import Advice
from congrad.settings.consensus import Loss
from congrad.stage import Kind, check_can_be_made, file_fingerprint, is_finished, staging

DIVISION = Kind("division", first="groups.json", last="groups.json", mark="congrad_groups")
"""Made in one go (`staging`), and never again in the same place."""


@dataclass(frozen=True)
class Group:
    """A data set that was written."""

    file: str
    languages: list[str]
    num_pairs: int


@dataclass(frozen=True)
class Division:
    """Attributes:
    groups: that were written.
    recommended: whether the advice recommends to divide these languages.
    over_together, random: what the groups and random ones of the same sizes are predicted to gain for the budget, over
        training all languages together, as shares of the gain of that; NaN where that is not above 0.
    """

    directory: Path
    groups: list[Group]
    recommended: bool
    over_together: Estimate
    random: float


def write_groups(
    run: str | Path, output: str | Path, advice: Advice, *, num_groups: int | None = None, kept_only: bool = True
) -> Division:
    """Writes one data set for each group of languages.

    Args:
        run: directory of a finished run of ConGrad's, with its index.
        output: a new or empty directory.
        advice: the training that the groups are for.
        num_groups: None for the number that the advice recommends.
        kept_only: False to write dropped pairs as well, but for rows that have no score.

    Raises:
        UserError: there is no such run, the directory holds something, there are not that many languages, or no number
            is given and none is recommended.
    """
    directory = Path(output)
    check_can_be_made(directory, DIVISION)
    if is_finished(directory, DIVISION):
        raise UserError(f"output: {directory} holds groups already", "choose another output directory")
    scored = read_run(Path(run))
    names = scored.languages
    if num_groups is not None and not 2 <= num_groups <= len(names):
        raise UserError(f"must be 2 to {len(names)}, the number of languages", key="--groups", value=num_groups)
    trained = Budget(advice.epochs, advice.batch_size, advice.steps)
    found = best_groups(sums_of_run(scored, advice), trained, seed=advice.seed)
    if num_groups is None and not found.recommended:
        problem = f"no division of the {len(names)} languages is predicted to gain clearly over none"
        raise UserError(problem, "train them together, or say how many groups to write all the same (--groups)")
    cut = found.cuts[(num_groups or found.chosen) - 1]
    members = _members(names, cut)
    label_N = cut.label_L[scored.language_N]
    count_G = [0] * len(members)
    with staging(directory, DIVISION) as new, ExitStack() as stack:
        files = [stack.enter_context((new / _file(number)).open("xb")) for number in range(len(members))]
        for position, row in rows_in_order(scored, kept_only=kept_only):
            if not np.isnan(scored.score_N[position]):
                count_G[label_N[position]] += 1
                files[label_N[position]].write(json_line(row))
        stack.close()
        groups = [Group(_file(number), *each) for number, each in enumerate(zip(members, count_G, strict=True))]
        content = {
            "congrad_groups": 1,
            "groups": [asdict(group) for group in groups],
            "kept_only": kept_only,
            "selection": file_fingerprint(scored.directory / KEPT),
            "advice": asdict(advice),
            "recommended": found.recommended,
            "cuts": [_cut(names, each) for each in found.cuts],
            "merges": found.tree.merges,
            "versions": versions(),
        }
        write_json(new / DIVISION.last, without_nan(content))
    budget = MEASURES.index("budget")
    together = float(found.cuts[0].gain.value[budget])
    unit, over = together if together > 0 else np.nan, cut.over_together
    share = Estimate(over.value[budget] / unit, over.error[budget] / unit, over.num_buckets)
    return Division(directory, groups, found.recommended, share, float(cut.random_gain[budget] / unit - 1))


def sums_of_run(run: ScoredRun, advice: Advice) -> LanguageSums:
    """The sums of the run's pairs by language and bucket, from its index under its own loss."""
    index = open_index(run.directory / run.manifest["index"])
    if language_codes(index)[0] != run.languages:
        raise UserError("not the index of this run: its languages are others", FILTER_AGAIN, at=index.directory)
    inputs = pair_inputs(index, stored_section(Loss, run), torch.from_numpy(run.shared_N))
    return dealt_sums(
        index,
        factor_P=inputs["weight_P"].double() * inputs["scale_P"].double(),
        language_P=inputs["language_P"].long(),
        group_P=inputs["group_P"],
        num_languages=len(run.languages),
        advice=advice,
        num_threads=torch.get_num_threads(),
    )


def _file(number: int) -> str:
    return f"group-{number + 1}.jsonl"


def _members(languages: list[str], cut: Cut) -> list[list[str]]:
    """The languages of every group."""
    return [[languages[i] for i in np.flatnonzero(cut.label_L == number)] for number in range(cut.num_groups)]


def _cut(languages: list[str], cut: Cut) -> dict[str, Any]:
    """What a number of groups is predicted to gain, by measure."""
    gains: dict[str, Any] = {
        measure: {
            "gain": cut.gain.value[number],
            "over_together": cut.over_together.value[number],
            "over_together_interval": cut.over_together.interval[number].tolist(),
            "random_groups": cut.random_gain[number],
        }
        for number, measure in enumerate(MEASURES)
    }
    return {"groups": _members(languages, cut), **gains}
