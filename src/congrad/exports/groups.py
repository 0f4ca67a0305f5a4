"""From a finished run to a data set for every group of languages, for those who train a model or an adapter a group.

    group-1.jsonl   the pairs of the first group's languages: rows of the run's own files, in input order
    groups.json     written last: each group's languages and pairs, and what the division is predicted to gain

The groups are those of `congrad.advice.groups`, from the sketches of all scored pairs; only whole languages move.

Shapes: N rows, K languages of the run, L of them that have a pair with a gradient.
"""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from congrad.advice.budget import MEASURES
from congrad.advice.groups import best_groups
from congrad.advice.language_sums import Estimate
from congrad.advice.language_words import members
from congrad.advice.languages import budget_of, sums_of
from congrad.advice.sample import Sample, draw
from congrad.errors import UserError
from congrad.files import json_line, versions, without_nan, write_json
from congrad.filtering.advised_languages import division
from congrad.filtering.comparison import FILTER_AGAIN
from congrad.filtering.finished import KEPT, ScoredRun, read_run, rows_in_order, stored_section
from congrad.filtering.score import gradient_inputs, language_codes
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
    languages: tuple[str, ...]
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
    drawn = sample_of_run(scored, advice)
    names = [scored.languages[code] for code in drawn.code_L.tolist()]
    if num_groups is not None and not 2 <= num_groups <= len(names):
        raise UserError(f"must be 2 to {len(names)}, the number of languages", key="--groups", value=num_groups)
    found = best_groups(sums_of(drawn, advice), budget_of(drawn, advice), seed=advice.seed)
    if num_groups is None and not found.recommended:
        problem = f"no division of the {len(names)} languages is predicted to gain clearly over none"
        raise UserError(problem, "train them together, or say how many groups to write all the same (--groups)")
    cut = found.cuts[(num_groups or found.chosen) - 1]
    languages_G = members(cut, names)
    label_K = np.full(len(scored.languages), -1)  # of every code; a language without a gradient has no scored row
    label_K[drawn.code_L.numpy()] = cut.label_L
    label_N = label_K[scored.language_N]
    count_G = [0] * len(languages_G)
    with staging(directory, DIVISION) as new, ExitStack() as stack:
        files = [stack.enter_context((new / _file(number)).open("xb")) for number in range(len(languages_G))]
        for position, row in rows_in_order(scored, kept_only=kept_only):
            if not np.isnan(scored.score_N[position]):
                count_G[label_N[position]] += 1
                files[label_N[position]].write(json_line(row))
        stack.close()
        groups = [Group(_file(number), *each) for number, each in enumerate(zip(languages_G, count_G, strict=True))]
        content = {
            "congrad_groups": 1,
            "groups": [asdict(group) for group in groups],
            "kept_only": kept_only,
            "selection": file_fingerprint(scored.directory / KEPT),
            "advice": asdict(advice),
            **division(found, names),
            "versions": versions(),
        }
        write_json(new / DIVISION.last, without_nan(content))
    budget = MEASURES.index("budget")
    together = float(found.cuts[0].gain.value[budget])
    unit, over = together if together > 0 else np.nan, cut.over_together
    share = Estimate(over.value[budget] / unit, over.error[budget] / unit, over.num_buckets)
    return Division(directory, groups, found.recommended, share, float(cut.random_gain[budget] / unit - 1))


def sample_of_run(run: ScoredRun, advice: Advice) -> Sample:
    """The run's pairs with their gradients, from its index under its own loss."""
    index = open_index(run.directory / run.manifest["index"])
    if language_codes(index)[0] != run.languages:
        raise UserError("not the index of this run: its languages are others", FILTER_AGAIN, at=index.directory)
    pairs = gradient_inputs(index, stored_section(Loss, run), torch.tensor(run.shared_N))
    return draw(index, **pairs, settings=advice)


def _file(number: int) -> str:
    return f"group-{number + 1}.jsonl"
