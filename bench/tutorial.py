"""Whether the tutorial shows what its command makes: the table in docs/tutorial.md beside the files of a finished run.

    congrad filter demo/pairs --model gemma3-270m --limit 260 --output runs/tutorial
    python -m bench.tutorial runs/tutorial

The command takes minutes, so no test gives it; `tests/docs/test_tutorial.py` has the same comparison on fewer pairs.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from congrad.consensus.findings import CONFLICT
from congrad.errors import UserError
from congrad.filtering.finished import ScoredRun, read_run

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
CLOSE = 0.03  # of scores and cosines: bfloat16 and float32 differ by less, and so do processors
EXAMPLE = re.compile(r"^```sh\n(congrad filter demo[^\n]*)\n```\n+```text\n(.*?)^```", re.M | re.S)
ROW = re.compile(
    r"(?P<language>[\w-]+) +(?P<pairs>\d+) +(?P<kept>\d+) +(?P<mean>[+-]\d\.\d{3}) +(?P<kept_mean>[+-]\d\.\d{3})"
    r" +[\w-]+ (?P<cosine>[+-]\d\.\d\d) \[[+-]\d\.\d\d, (?P<high>[+-]\d\.\d\d)\](?P<mark> conflict)?"
)
KEPT = re.compile(r"^kept (\d+) of (\d+) pairs$", re.M)
FIDELITY = re.compile(r"^fidelity: Spearman of about (\d\.\d+) with ", re.M)


@dataclass(frozen=True)
class Row:
    """What is said of a language; `high` is the upper end of the interval of its lowest cosine."""

    language: str
    pairs: int
    kept: int
    mean: float
    kept_mean: float
    cosine: float
    high: float
    conflict: bool


@dataclass(frozen=True)
class Table:
    rows: list[Row]
    kept: int
    pairs: int
    fidelity: float


def example(page: Path = PAGE) -> tuple[str, str]:
    """The command that filters the demo's pairs, and what the page shows below it."""
    match = EXAMPLE.search(page.read_text(encoding="utf-8"))
    assert match, f"{page} shows no output of `congrad filter demo`"
    return match[1], match[2]


def read_table(text: str) -> Table:
    """The table as it is printed: a title, a row for each language, and what stands below."""
    rows = []
    for line in text.splitlines()[1:]:
        if match := ROW.fullmatch(line.rstrip()):
            numbers = {name: float(match[name]) for name in ("mean", "kept_mean", "cosine", "high")}
            counts = {name: int(match[name]) for name in ("pairs", "kept")}
            rows.append(Row(match["language"], **counts, **numbers, conflict=match["mark"] is not None))
    kept, fidelity = KEPT.search(text), FIDELITY.search(text)
    assert rows, "no row of a language"
    assert kept, "no line of kept pairs"
    assert fidelity, "no line of fidelity"
    return Table(rows, int(kept[1]), int(kept[2]), float(fidelity[1]))


def run_table(run: ScoredRun) -> Table:
    """The same from a run's files."""
    compared, rows = run.compared, []
    for code, language in enumerate(run.languages):
        own_N = run.language_N == code
        cosine_L = compared.cosine_LL[code].copy()
        cosine_L[code] = np.nan
        other = int(np.nanargmin(cosine_L))
        rows.append(
            Row(
                language,
                pairs=int(own_N.sum()),
                kept=int((own_N & run.keep_N).sum()),
                mean=float(np.nanmean(run.score_N[own_N])),
                kept_mean=float(np.nanmean(run.score_N[own_N & run.keep_N])),
                cosine=float(cosine_L[other]),
                high=float(compared.high_LL[code, other]),
                conflict=compared.verdict_LL[code, other] == CONFLICT,
            )
        )
    fidelity = run.manifest["fidelity"]["estimated_spearman"]
    return Table(rows, int(run.keep_N.sum()), len(run), float("nan") if fidelity is None else fidelity)


def disagreements(shown: Table, found: Table, close: float = CLOSE) -> list[str]:
    """A line for everything that is shown and not so, up to `close` where it is measured.

    Which language has the lowest cosine is left out, for it changes where two are near one another; so is a conflict
    whose interval is within `close` of zero.
    """
    names = [[row.language for row in table.rows] for table in (shown, found)]
    if names[0] != names[1]:
        return [f"the languages are {', '.join(names[0])} on the page, {', '.join(names[1])} in the run"]
    lines = []

    def compare(what: str, one: float, other: float, within: float) -> None:
        if not abs(one - other) <= within:
            lines.append(f"{what} is {one:g} on the page, {other:g} in the run")

    for one, other in zip(shown.rows, found.rows, strict=True):
        for name, within in (("pairs", 0), ("kept", 0), ("mean", close), ("kept_mean", close), ("cosine", close)):
            compare(f"{one.language}: {name.replace('_', ' ')}", getattr(one, name), getattr(other, name), within)
        if one.conflict and one.high < -close and not other.conflict:
            lines.append(f"{one.language}: a conflict on the page, none in the run")
        if other.conflict and other.high < -close and not one.conflict:
            lines.append(f"{one.language}: no conflict on the page, one in the run")
    compare("kept", shown.kept, found.kept, 0)
    compare("pairs", shown.pairs, found.pairs, 0)
    compare("fidelity", shown.fidelity, found.fidelity, close)
    return lines


def main() -> None:
    command, text = example()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help=f"the directory that `{command}` has made")
    options = parser.parse_args()
    try:
        lines = disagreements(read_table(text), run_table(read_run(options.run)))
    except UserError as error:
        sys.exit(str(error))
    print("\n".join(lines) or f"{PAGE.name} shows what is in {options.run}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
