"""What the statistics of languages say where there is nothing to say, and how often they find what is there.

    python -m bench.null --output runs/null

Pure noise: pairs whose gradients have no direction in common, in prompts of their own or in prompts that all languages
share, where the translations of a prompt correlate by 0.3. A sound test flags some language pair in 5% of the runs, and
the mean score is 0. Power: two blocks of languages that agree within and conflict across; the test, and the old rule
(the bootstrap interval of the cosine, which counts translations), each at the rate of false conflicts that the old rule
has where gradients are as long and at right angles.

Advice: on pure noise what `keep auto` chooses must have no advantage over all pairs where it is read on pairs that had
no part in the choice, and on exchangeable pairs with a common direction it must keep everything in 95% of the runs.

Every cell is a file of its own; an interrupted call goes on when it is given again. `--runs 60` is quick.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from congrad.advice.advise import LEAST_PROMPTS, advise
from congrad.consensus.buckets import assign_buckets, sum_buckets
from congrad.consensus.conflict import compare_languages
from congrad.consensus.languages import agreement
from congrad.consensus.score import score_pairs
from congrad.files import write_json
from congrad.settings.advice import Advice
from congrad.settings.consensus import Consensus
from congrad.tables import Number, Table, columns, to_markdown

NUM_DIMS = 64
WITHIN = 0.3  # correlation of translations
DRAWS = 200  # of the bootstrap of the old rule
NULL, POWER, NOISE, CLEAN = "null", "power", "noise", "clean"
SIGNAL = 8 / 3  # length of the common direction of clean pairs, whose noise is 8 long: the demo's ratio
BATCH_SIZE = 16


@dataclass(frozen=True)
class Cell:
    """One shape of data: pairs of each language, and whether all languages have the same prompts."""

    kind: str
    languages: int
    pairs: int
    parallel: bool

    @property
    def prompts(self) -> int:
        return self.pairs * (1 if self.parallel else self.languages)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.languages}-{self.pairs}-{'parallel' if self.parallel else 'independent'}"


def cells(languages: Sequence[int], pairs: Sequence[int]) -> list[Cell]:
    """The quick ones first."""
    both = (False, True)
    shapes = [(size, each, parallel) for size in languages for each in pairs for parallel in both]
    null = [Cell(NULL, *shape) for shape in shapes]
    power = [Cell(POWER, 6, each, parallel) for each in (48, 200) for parallel in both]
    told = [Cell(kind, *shape) for kind in (NOISE, CLEAN) for shape in shapes]
    enough = [cell for cell in told if cell.prompts >= LEAST_PROMPTS * Advice().num_folds]
    return sorted(null + power + enough, key=lambda cell: cell.languages * cell.pairs)


def draw(cell: Cell, run: int, mean_LD: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Sketches of noise of variance 1 (P x D), around the languages' means where there are any; language; prompt."""
    generator = torch.Generator().manual_seed(run)
    shape = cell.languages, cell.pairs, NUM_DIMS
    noise_LND = torch.randn(shape, generator=generator)
    if cell.parallel:
        noise_LND = (1 - WITHIN) ** 0.5 * noise_LND + WITHIN**0.5 * torch.randn(shape[1:], generator=generator)
    if mean_LD is not None:
        noise_LND += mean_LD[:, None]
    language_P = torch.arange(cell.languages).repeat_interleave(cell.pairs)
    prompt_P = torch.arange(cell.pairs).repeat(cell.languages) if cell.parallel else torch.arange(len(language_P))
    return noise_LND.flatten(0, 1), language_P, prompt_P


def null_run(cell: Cell, run: int) -> dict[str, Any]:
    """Whether any language pair is flagged, and the mean score."""
    sketches, language_P, prompt_P = draw(cell, run)
    scores = score_pairs(
        sketches,
        scale_P=torch.ones(len(sketches)),
        weight_P=-torch.ones(len(sketches)),
        language_P=language_P,
        num_languages=cell.languages,
        group_P=prompt_P,
        consensus=Consensus(num_resamples=1, num_orders=16, seed=run),
    )
    verdict_LL = scores.agreement.verdict_LL
    flags = {"conflict": bool((verdict_LL < 0).any()), "any": bool((verdict_LL != 0).any())}
    return flags | {"score": float(scores.score_P.mean())}


def advice_run(cell: Cell, run: int) -> dict[str, Any]:
    """What is chosen to be kept, and the advantage over all pairs where it was not chosen, by all pairs' gain."""
    mean_LD = torch.zeros(cell.languages, NUM_DIMS)
    mean_LD[:, 0] = SIGNAL if cell.kind == CLEAN else 0.0
    sketches, language_P, prompt_P = draw(cell, run, mean_LD)
    found = advise(
        sketches,
        factor_N=torch.ones(len(sketches)),
        language_N=language_P,
        group_N=prompt_P,
        length_N=np.zeros(len(sketches)),
        given={},
        consensus=Consensus(num_orders=16, seed=run),
        settings=Advice(batch_size=BATCH_SIZE, num_resamples=2, seed=run),
        aggregators=(),
    ).chosen["budget"]
    return {"share": found.choice.share, "advantage": found.gains.mean.delta}


def blocks(cell: Cell) -> tuple[Tensor, NDArray[np.bool_]]:
    """Means of two blocks of languages (L x D), of cosine 0.5 within and -0.5 across, and which conflict."""
    first_L = torch.arange(cell.languages) < cell.languages // 2
    mean_LD = torch.eye(cell.languages, NUM_DIMS) * 0.5**0.5
    mean_LD[:, -1] = torch.where(first_L, 1.0, -1.0) * 0.5**0.5
    length = 7.0 * cell.pairs**-0.5  # the noise of a language's mean is 8 / sqrt(pairs) long
    conflict_LL = (first_L[:, None] != first_L).triu(1)
    return length * mean_LD, conflict_LL.numpy()


def power_run(cell: Cell, run: int) -> dict[str, Any]:
    """Both rules' statistic for every language pair, the lower the more of a conflict: with conflicts, and where the
    languages' gradients are as long and have nothing in common.

    The old rule's is the upper end of the interval: it flags below 0. Pairs are above the diagonal, row by row.
    """
    above = np.triu_indices(cell.languages, 1)
    found = {}
    conflicting_LD = blocks(cell)[0]
    unrelated_LD = torch.eye(cell.languages, NUM_DIMS) * conflicting_LD.norm(dim=1, keepdim=True)
    for name, mean_LD in (("noise", unrelated_LD), ("signal", conflicting_LD)):
        sketches, language_P, prompt_P = draw(cell, run, mean_LD)
        sizes = {"num_languages": cell.languages, "num_dims": NUM_DIMS, "num_folds": 5, "seed": run}
        every_P, one_P = torch.ones_like(language_P, dtype=torch.bool), torch.ones(len(sketches))
        for rule, group_P in (("new", prompt_P), ("old", torch.arange(len(language_P)))):
            buckets = assign_buckets(language_P, group_P, every_P, **sizes)
            sums = sum_buckets(sketches, one_P, one_P, buckets)
            gram_BB = sums.sums_BD @ sums.sums_BD.T
            if rule == "new":
                compared = compare_languages(gram_BB, sums.weight_B, buckets.language_B, buckets.unit_B, cell.languages)
                statistic_LL = compared.t_LL
            else:
                options = {"num_languages": cell.languages, "num_resamples": DRAWS, "seed": run}
                statistic_LL = agreement(gram_BB, sums.weight_B, buckets.language_B, **options).interval_LL2[..., 1]
            found[f"{rule} {name}"] = statistic_LL.numpy()[above].tolist()
    return found


def measure(cell: Cell, runs: int, directory: Path) -> dict[str, Any]:
    """The cell's file, made where it is missing or of other runs."""
    path = directory / f"{cell.name}.json"
    if path.exists():
        content: dict[str, Any] = json.loads(path.read_text())
        if content["runs"] == runs:
            return content
    one = {NULL: null_run, POWER: power_run}.get(cell.kind, advice_run)
    content = {"cell": asdict(cell), "runs": runs, "found": [one(cell, run) for run in range(runs)]}
    write_json(path, content)
    return content


def null_table(contents: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for content in contents:
        cell, found = Cell(**content["cell"]), content["found"]
        score_R = np.array([each["score"] for each in found])
        error = float(score_R.std(ddof=1) / len(score_R) ** 0.5)
        rates = [Number(float(np.mean([each[name] for each in found])), ".1%") for name in ("conflict", "any")]
        kind = "the same" if cell.parallel else "their own"
        mean = float(score_R.mean())
        figures = Number(mean, "+.4f"), Number(error, ".4f"), Number(mean / error, "+.1f")
        rows.append([kind, Number(cell.languages, "d"), Number(cell.pairs, "d"), *rates, *figures])
    titles = ("prompts", "languages", "pairs each", "runs with a conflict", "with any finding")
    return Table(columns(*titles, "mean score", "standard error", "in standard errors"), rows)


def advice_table(contents: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for content in contents:
        cell, found = Cell(**content["cell"]), content["found"]
        everything = Number(float(np.mean([each["share"] == 1 for each in found])), ".1%")
        advantage_R = np.array([each["advantage"] for each in found])
        error = float(advantage_R.std(ddof=1) / len(advantage_R) ** 0.5)
        of_error = Number(float(advantage_R.mean()) / error, "+.1f") if error else None
        kind = "the same" if cell.parallel else "their own"
        rows.append([cell.kind, kind, Number(cell.languages, "d"), Number(cell.pairs, "d"), everything, of_error])
    titles = ("data", "prompts", "languages", "pairs each", "runs that keep everything")
    return Table(columns(*titles, "advantage in standard errors"), rows)


def power_table(contents: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for content in contents:
        cell, found = Cell(**content["cell"]), content["found"]
        conflict_T = blocks(cell)[1][np.triu_indices(cell.languages, 1)]
        of = {name: np.array([each[name] for each in found]) for name in found[0]}
        rate = float((of["old noise"] < 0).mean())
        limit = float(np.quantile(of["new noise"], rate))
        power = [(of["old signal"][:, conflict_T] < 0).mean(), (of["new signal"][:, conflict_T] < limit).mean()]
        kind = "the same" if cell.parallel else "their own"
        figures = [Number(float(value), ".1%") for value in (rate, *power)]
        rows.append([kind, Number(cell.pairs, "d"), *figures])
    titles = ("prompts", "pairs each", "false conflicts of the old rule", "power of the old rule")
    return Table(columns(*titles, "of the test at that rate"), rows)


def tables(contents: Sequence[dict[str, Any]]) -> str:
    """Markdown of what is there."""
    made = ((null_table, (NULL,)), (power_table, (POWER,)), (advice_table, (NOISE, CLEAN)))
    of = [(table, [each for each in contents if each["cell"]["kind"] in kinds]) for table, kinds in made]
    return "\n".join(to_markdown(table(own)) for table, own in of if own)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/null"))
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--languages", type=int, nargs="+", default=[2, 13, 40])
    parser.add_argument("--pairs", type=int, nargs="+", default=[5, 48, 200])
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    contents = []
    for cell in cells(options.languages, options.pairs):
        contents.append(measure(cell, options.runs, options.output))
        print(cell.name, flush=True)
        (options.output / "tables.md").write_text(tables(contents), encoding="utf-8")
    print(tables(contents))


if __name__ == "__main__":
    main()
