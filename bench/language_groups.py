"""Are groups of languages found where there are some, and none recommended where there are none?

    python -m bench.language_groups --runs 400
    python -m bench.language_groups --markdown    a table of what is done; 13 languages of 200 pairs take longest

draws pair gradients of languages that are exchangeable, or of two blocks whose mean gradients agree within a block and
conflict across, and asks `congrad.advice.groups` for the best division, with prompts of their own in every language and
with parallel ones, whose gradients are correlated.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.markdown import markdown
from congrad.advice.budget import MEASURES, Budget, Measure
from congrad.advice.groups import Groups, best_groups
from congrad.advice.language_sums import sum_languages

NUM_FOLDS, NUM_DIMS = 5, 256
NOISE_TO_SIGNAL = 10.0  # squared length of a pair's noise over that of its language's mean gradient; the demo's is 9
WITHIN_PROMPT = 0.3  # of the noise that translations share
BUDGET = Budget(epochs=1, batch_size=16)
IN_WORDS: dict[str, str] = {"budget": "for the budget", "equal_length": "at equal step length"}


def means(block_L: np.ndarray, *, agree: float, across: float, generator: np.random.Generator) -> np.ndarray:
    """Mean gradients of length 1 (L x D) whose cosines are exactly `agree` within a block and `across` between blocks.

    Exactly: vectors that are drawn at random agree or conflict a little, which a division may well use.
    """
    cosine_LL = np.where(block_L[:, None] == block_L, agree, across)
    np.fill_diagonal(cosine_LL, 1.0)
    values, vectors = np.linalg.eigh(cosine_LL)
    orthonormal_DL, _ = np.linalg.qr(generator.standard_normal((NUM_DIMS, len(block_L))))
    root_LL: np.ndarray = vectors * np.sqrt(values.clip(0)) @ vectors.T
    return root_LL @ orthonormal_DL.T


def divide(
    num_pairs: int,
    mean_LD: np.ndarray,
    *,
    parallel: bool,
    seed: int,
    chosen_by: Measure = "budget",
    noise: float = NOISE_TO_SIGNAL,
) -> Groups:
    """The groups that are found in `num_pairs` pairs of each language, each with a prompt of its own in its language.

    Args:
        parallel: whether the prompts are the same in all languages.
    """
    generator = np.random.default_rng(seed)
    num_languages = len(mean_LD)
    scale = (noise / NUM_DIMS) ** 0.5
    noise_LND = generator.standard_normal((num_languages, num_pairs, NUM_DIMS)) * scale
    if parallel:
        shared_ND = generator.standard_normal((num_pairs, NUM_DIMS)) * scale
        noise_LND = WITHIN_PROMPT**0.5 * shared_ND + (1 - WITHIN_PROMPT) ** 0.5 * noise_LND
    language_P = torch.arange(num_languages).repeat_interleave(num_pairs)
    prompt_P = torch.arange(num_pairs).repeat(num_languages)
    group_P = prompt_P if parallel else prompt_P + language_P * num_pairs
    fold_U = torch.from_numpy(generator.permutation(num_pairs) % NUM_FOLDS)
    sums = sum_languages(
        torch.from_numpy((mean_LD[:, None] + noise_LND).reshape(-1, NUM_DIMS)).float(),
        factor_P=torch.ones(len(language_P), dtype=torch.float64),
        language_P=language_P,
        group_P=group_P,
        fold_P=fold_U[prompt_P],
        num_languages=num_languages,
        seed=seed,
    )
    return best_groups(sums, BUDGET, chosen_by, num_random=2, seed=seed)


def exchangeable(
    num_languages: int, num_pairs: int, *, agree: float, parallel: bool, seed: int, chosen_by: Measure
) -> bool:
    """Whether a division is recommended for languages that do not differ but by chance."""
    generator = np.random.default_rng(seed)
    mean_LD = means(np.zeros(num_languages), agree=agree, across=agree, generator=generator)
    return divide(num_pairs, mean_LD, parallel=parallel, seed=seed, chosen_by=chosen_by).recommended


def two_blocks(
    num_languages: int, num_pairs: int, *, parallel: bool, seed: int, chosen_by: Measure
) -> tuple[bool, bool]:
    """Whether two planted blocks are the best two groups, and whether a division is recommended."""
    generator = np.random.default_rng(seed)
    block_L = generator.permutation(np.arange(num_languages) % 2)
    mean_LD = means(block_L, agree=0.7, across=-0.6, generator=generator)
    found = divide(num_pairs, mean_LD, parallel=parallel, seed=seed, chosen_by=chosen_by)
    label_L = found.cuts[1].label_L
    return bool(((label_L[:, None] == label_L) == (block_L[:, None] == block_L)).all()), found.recommended


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown of what is done, a line for each shape of data and each measure that chooses."""
    lines = []
    for row in rows:
        setting, alike, planted = row["setting"], row["exchangeable"], row["planted"]
        kind = "the same" if setting["parallel"] else "their own"
        shape = [kind, *(str(setting[name]) for name in ("num_languages", "num_pairs")), IN_WORDS[setting["chosen_by"]]]
        rates = [*alike.values(), planted["found"], planted["recommended"]]
        lines.append([*shape, *(f"{rate:.1%}" for rate in rates)])
    head = ("prompts", "languages", "pairs each", "chosen", *(f"divided, {name}" for name in row["exchangeable"]))
    return markdown((*head, "blocks found", "blocks divided"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--languages", type=int, nargs="+", default=[2, 6, 13])
    parser.add_argument("--pairs", type=int, nargs="+", default=[5, 20, 50, 200])
    parser.add_argument("--output", type=Path, default=Path("runs/language_groups.jsonl"))
    parser.add_argument("--markdown", action="store_true", help="run nothing; print the table of what is done")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lines = options.output.read_text(encoding="utf-8").splitlines() if options.output.exists() else []
    rows = [json.loads(line) for line in lines]
    if options.markdown:
        print(table(rows))
        return
    done = [row["setting"] for row in rows]
    for num_languages, num_pairs, parallel, by in itertools.product(
        options.languages, options.pairs, (False, True), MEASURES
    ):
        where = {"num_languages": num_languages, "num_pairs": num_pairs, "parallel": parallel, "chosen_by": by}
        setting = {**where, "runs": options.runs}
        if setting in done:
            continue
        seeds, began = range(options.runs), time.monotonic()
        recommended = {
            f"cosine {agree}": np.mean([exchangeable(**where, agree=agree, seed=seed) for seed in seeds])
            for agree in (0.0, 0.5, 0.95)
        }
        found, divided = np.mean([two_blocks(**where, seed=seed) for seed in seeds], axis=0)
        planted = {"found": found, "recommended": divided}
        row = {"setting": setting, "exchangeable": recommended, "planted": planted}
        line = json.dumps(row | {"seconds": round(time.monotonic() - began, 1)})
        with options.output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line)


if __name__ == "__main__":
    main()
