"""What the advice makes of 40 languages of which it is known which conflict: no training, from the sketches alone.

    python -m bench.known_truth             what is not done yet; an interrupted call goes on where it stopped
    python -m bench.known_truth --markdown  the tables of all that is done

Needs Babel. A line of JSON in OUTPUT for every finished figure. The pairs and their sketches lie beside it.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # before any import

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.evidence.cases import open_bank
from bench.known_truth.measure import Pairs, by_signs, conflicts, divisions, filters, steps, transfers, turned
from bench.known_truth.page import DATA, FEW, HALF, NAMED, tables
from bench.known_truth.pairs import LANGUAGES, NAMES, decimal_sign, write
from bench.log import Log
from congrad.models.packaged import resolve

MINORITY = 5  # languages with a point, beside all with a comma
MEASURED: dict[str, Callable[[Pairs], dict[str, Any]]] = {
    "conflicts": conflicts,
    "divisions": divisions,
    "by_signs": by_signs,
    "transfers": transfers,
    "filters": filters,
    "steps": steps,
}
OFTEN = "conflicts", "divisions", "by_signs"  # which are measured on draws of fewer prompts as well


def read(name: str, languages: Sequence[str], num_prompts: int, seed: int, output: Path) -> Pairs:
    """Every pair's gradient; an even number is that of a prompt for a sign, an odd one for a name."""
    folder = output.with_suffix(".pairs")
    write(folder, languages, num_prompts, seed)
    bank = open_bank(resolve(name), folder, output.with_suffix(".index"))
    is_name_N = torch.tensor([NAMES in key.split("-") for key in bank.ids])
    return Pairs(
        turned(bank.gradient_ND, bank.factor_N),
        bank.language_N,
        2 * bank.prompt_N + is_name_N,
        torch.tensor([decimal_sign(language) == "," for language in bank.names]),
    )


def chosen(pairs: Pairs, data: str, num_prompts: int, draw: int) -> Pairs:
    """`num_prompts` prompts of a data set of `DATA`, drawn at random, the same in every language."""
    own_P = torch.ones(len(pairs.language_P), dtype=torch.bool)
    if data == FEW:
        point = torch.nonzero(~pairs.comma_L).flatten()
        own_P &= ~torch.isin(pairs.language_P, point[MINORITY:])
    kinds = {HALF: (0, 1), NAMED: (1,)}.get(data, (0,))
    taken = []
    for kind in kinds:
        prompts = pairs.prompt_P[pairs.prompt_P % 2 == kind].unique()
        order = np.random.default_rng([draw, kind]).permutation(len(prompts))
        taken.append(prompts[order[: num_prompts // len(kinds)]])
    return pairs.some(own_P & torch.isin(pairs.prompt_P, torch.cat(taken)))


def plan(num_prompts: int, sizes: Sequence[int], draws: int) -> Iterator[tuple[dict[str, Any], str]]:
    """The key of every figure, and what is measured: first with all prompts, which are drawn once."""
    for what in MEASURED:
        for data in DATA:
            yield {"known_truth": what, "data": data, "prompts": num_prompts, "draw": 0}, what
    for what in OFTEN:
        for data, size, draw in itertools.product(DATA, sizes, range(draws)):
            yield {"known_truth": what, "data": data, "prompts": size, "draw": draw}, what


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--prompts", type=int, default=30, help="of each kind; the data sets have as many of one kind")
    parser.add_argument("--sizes", type=int, nargs="*", default=[6, 12, 20], help="fewer prompts, to draw from these")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", action="store_true", help="run nothing; print the tables of what is done")
    parser.add_argument("--output", type=Path, default=Path("runs/known_truth.jsonl"))
    options = parser.parse_args(arguments)
    log = Log(options.output)
    if options.markdown:
        print(tables(list(log.rows.values())))
        return
    torch.set_num_threads(1)
    todo = [each for each in plan(options.prompts, options.sizes, options.draws) if log.get(each[0]) is None]
    if not todo:
        return
    pairs = read(options.model, options.languages, options.prompts, options.seed, options.output)
    for key, what in todo:
        own, since = chosen(pairs, key["data"], key["prompts"], key["draw"]), time.monotonic()
        figures = MEASURED[what](own)
        sizes = {"languages": own.num_languages, "pairs": len(own.language_P)}
        log.add(key, sizes | figures | {"seconds": round(time.monotonic() - since, 1)})
        print(*key.values(), flush=True)


if __name__ == "__main__":
    main()
