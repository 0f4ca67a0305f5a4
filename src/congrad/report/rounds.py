"""What a loop's directory says, round by round, as far as it has come.

    [ARM/]round-N/generate/manifest.json   prompts, answers
    [ARM/]round-N/judge/hygiene.json       the judge's figures by language
    [ARM/]round-N/pair/manifest.json       pairs; language.json beside it: answers in another language
    [ARM/]round-N/filter/manifest.json     kept pairs; languages.json and advice.json beside it where it is ConGrad's
    [ARM/]round-N/pairings/pairings.json   ways of pairing that were compared
    [ARM/]round-N/train/manifest.json      steps, loss
    evaluate/evaluation.json               all models by all metrics

A stage without manifest.json is not finished and counts as not there.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from congrad.errors import UserError
from congrad.filtering.advised import read_advice
from congrad.filtering.comparison import LanguagePair, language_pairs
from congrad.filtering.finished import read_run
from congrad.report.stage_files import MANIFESTS, Evaluation, Hygiene, Pairings, Rates
from congrad.stage import MANIFEST, read_json

STAGES = ("generate", "judge", "pair", "filter", "train")
ROUND = re.compile(r"round-([1-9]\d*)")


@dataclass(frozen=True)
class Round:
    """One round of one arm.

    Attributes:
        arm: the filter's name; "" where there is one filter only, or all arms share the round's stages.
        manifests: of the finished stages, by name.
        hygiene: of the judge; None where it has not judged.
        off_target: by language, the share of the answers in another language; None where that is not known.
        language_pairs: lowest cosine first; empty where the filter is not ConGrad's.
        advice: what the filter's advice.json says; None where there is none.
        pairings: the ways of pairing that were compared, as pairings.json says; None where none were.
    """

    arm: str
    number: int
    directory: Path
    manifests: dict[str, dict[str, Any]]
    hygiene: dict[str, Any] | None = None
    off_target: dict[str, float | None] = field(default_factory=dict)
    language_pairs: list[LanguagePair] = field(default_factory=list)
    advice: dict[str, Any] | None = None
    pairings: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.arm}, round {self.number}" if self.arm else f"round {self.number}"


@dataclass(frozen=True)
class Loop:
    """Attributes:
    rounds: by number, and by arm within.
    evaluation: evaluation.json; None before the evaluation.
    """

    directory: Path
    rounds: list[Round]
    evaluation: dict[str, Any] | None


def round_directories(directory: Path) -> list[tuple[int, str, Path]]:
    """(number, arm, directory) of every round."""
    if not directory.is_dir():
        return []
    arms = sorted(path for path in directory.iterdir() if path.is_dir() and not ROUND.fullmatch(path.name))
    found = []
    for arm, place in [("", directory), *((path.name, path) for path in arms)]:
        for path in place.iterdir():
            if path.is_dir() and (match := ROUND.fullmatch(path.name)):
                found.append((int(match[1]), arm, path))
    return sorted(found)


def is_loop(directory: Path) -> bool:
    """Whether the directory is a loop's: it has rounds, and is not a run of the filter."""
    return not (directory / MANIFEST).is_file() and bool(round_directories(directory))


def is_congrad(directory: Path) -> bool:
    """Whether a finished filter is ConGrad's; the others find no languages' gradients."""
    return (directory / MANIFEST).is_file() and (directory / "languages.json").is_file()


def read_loop(directory: Path) -> Loop:
    """Reads what is finished; that nothing is, or that a file is damaged, is a `UserError`."""
    rounds = [_read_round(number, arm, path) for number, arm, path in round_directories(directory)]
    rounds = [each for each in rounds if each.manifests]
    path = directory / "evaluate" / "evaluation.json"
    evaluation = read_json(path, Evaluation) if (path.parent / MANIFEST).is_file() and path.is_file() else None
    if not rounds:
        raise UserError("no stage of this loop is finished yet", "there is nothing to report", at=directory)
    return Loop(directory, rounds, evaluation)


def _read_round(number: int, arm: str, directory: Path) -> Round:
    manifests = {
        stage: read_json(path, MANIFESTS[stage]) for stage in STAGES if (path := directory / stage / MANIFEST).is_file()
    }
    hygiene, language = directory / "judge" / "hygiene.json", directory / "pair" / "language.json"
    rates = read_json(language, Rates)["languages"] if "pair" in manifests and language.is_file() else {}
    filtered = directory / "filter"
    return Round(
        arm=arm,
        number=number,
        directory=directory,
        manifests=manifests,
        hygiene=read_json(hygiene, Hygiene) if "judge" in manifests and hygiene.is_file() else None,
        off_target={name: row["off_target_rate"] for name, row in rates.items()},
        language_pairs=language_pairs(read_run(filtered).compared) if is_congrad(filtered) else [],
        advice=read_advice(filtered) if "filter" in manifests else None,
        pairings=read_pairings(directory),
    )


def read_pairings(directory: Path) -> dict[str, Any] | None:
    """The ways of pairing that a round compared; None where it compared none, or is not finished with it."""
    compared = directory / "pairings"
    return read_json(compared / "pairings.json", Pairings) if (compared / MANIFEST).is_file() else None


def mean_cosine(found: list[LanguagePair]) -> float | None:
    """Of the pairs that have one."""
    cosines = [pair.cosine for pair in found if np.isfinite(pair.cosine)]
    return float(np.mean(cosines)) if cosines else None
