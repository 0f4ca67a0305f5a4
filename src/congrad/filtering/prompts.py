"""Which pairs have one prompt, in whatever language: what folds, bootstrap and the test of conflict hold together.

The index numbers the prompts of each language. Languages are joined where a column says so, else where they share ids
(`de-country-001` and `en-country-001`, or the same id), else where they are parallel line by line: all have as many
rows, and gradients of one line are more alike (or more opposed), over the languages, than those of different lines.

Shapes: N input rows, P sketched pairs, L languages, K lines, D sketch dims.
"""

import numpy as np
import torch

from congrad.consensus.conflict import critical
from congrad.filtering.score import language_codes
from congrad.gradients.index import GradientIndex
from congrad.preferences.prompt_ids import (
    ID_COLUMNS,
    MIN_LINES,
    Codes,
    count_shared,
    prompt_ids,
    tells_prompts_apart,
)
from congrad.preferences.rows import Preferences
from congrad.words import quote

MAX_ROWS = 1024  # sketches that are looked at for parallel lines
FALSE_ALARM = 0.001  # of taking unrelated lines for parallel ones, which costs a little of the data and misleads nobody


def find_prompts(preferences: Preferences, index: GradientIndex, column: str | None) -> tuple[torch.Tensor, str]:
    """A number for each prompt (N, int64) and a line on what languages share; "" where they share none, and the numbers
    are those of the index."""
    group_N = index.pairs["group"].to_numpy()
    language_N = language_codes(index)[1].numpy()
    ids = [name for name in ID_COLUMNS if name in preferences.dataset.column_names]
    for name in ids if column is None else [column]:
        key_N = np.unique(np.array(prompt_ids(preferences, name, tagged=column is None)), return_inverse=True)[1]
        if column is None and not tells_prompts_apart(key_N, group_N, language_N):
            continue
        prompt_N = joined(group_N, key_N)
        if num_shared := count_shared(prompt_N, language_N):
            return torch.from_numpy(prompt_N), _line(num_shared, language_N, f"by the column {quote(name)}")
    line_N = None if column is not None else parallel_lines(preferences, index)
    if line_N is None:
        return torch.from_numpy(group_N.copy()), ""
    prompt_N = joined(group_N, line_N)
    return torch.from_numpy(prompt_N), _line(count_shared(prompt_N, language_N), language_N, "line by line")


def _line(num_shared: int, language_N: Codes, how: str) -> str:
    prompts = f"{num_shared:,} prompt{' is' if num_shared == 1 else 's are'}"
    return (
        f"{prompts} in several of the {len(np.unique(language_N))} languages ({how}); each is held out in all at once"
    )


def joined(group_N: Codes, key_N: Codes) -> Codes:
    """Numbers for the rows that are connected by an equal group or an equal key, in the order of their first rows."""
    number_N = np.arange(len(group_N))
    while True:
        before_N = number_N
        for code_N in (group_N, key_N):
            _, code_N = np.unique(code_N, return_inverse=True)
            lowest = np.full(int(code_N.max(initial=-1)) + 1, len(number_N))
            np.minimum.at(lowest, code_N, number_N)
            number_N = lowest[code_N]
        if np.array_equal(before_N, number_N):
            return np.unique(number_N, return_inverse=True)[1].astype(np.int64).reshape(-1)


def parallel_lines(preferences: Preferences, index: GradientIndex) -> Codes | None:
    """The line of every row in its language (N), where all languages have as many and lines are alike; else None.

    A sample of rows has lost its lines.
    """
    names, code_N = language_codes(index)
    language_N = code_N.numpy()
    if len(names) < 2 or len(preferences) < sum(source.num_rows for source in preferences.sources):
        return None
    size_L = np.bincount(language_N)
    if size_L.min() < max(size_L.max(), MIN_LINES):
        return None
    line_N = np.empty_like(language_N)
    line_N[np.argsort(language_N, kind="stable")] = np.tile(np.arange(size_L[0]), len(names))
    position_P = index.positions_P.numpy()
    num_lines = min(size_L[0], max(MIN_LINES, MAX_ROWS // len(names)))
    taken_K = np.unique(np.linspace(0, size_L[0] - 1, num_lines).astype(int))
    unit_KLD = torch.zeros(len(taken_K), len(names), index.shape[1])
    for pair, row in enumerate(position_P.tolist()):
        at = int(np.searchsorted(taken_K, line_N[row]))
        if at < len(taken_K) and taken_K[at] == line_N[row]:
            sketch_D = index[pair : pair + 1][0].float()
            norm = sketch_D.norm()
            if norm > 0 and norm.isfinite():
                unit_KLD[at, language_N[row]] = sketch_D / norm
    t = excess_within(unit_KLD)
    return line_N if abs(t) > critical(FALSE_ALARM, len(taken_K) - 1) else None


def excess_within(unit_KLD: torch.Tensor) -> float:
    """Student's t of how much more alike unit gradients of one line are than those of different lines, in different
    languages both; each line is an observation. Far below zero where most languages have the answers the other way
    round."""
    line_KD, language_LD = unit_KLD.sum(1), unit_KLD.sum(0)
    total_D = line_KD.sum(0)
    own_K = (unit_KLD**2).sum((1, 2))
    within_K = (line_KD**2).sum(1) - own_K
    same_language_K = (unit_KLD * language_LD).sum((1, 2))
    across_K = line_KD @ total_D - same_language_K - within_K
    excess_K = (within_K - across_K / (len(unit_KLD) - 1)).double()
    spread = float(excess_K.std()) / len(excess_K) ** 0.5
    return float(excess_K.mean()) / spread if spread > 0 else 0.0
