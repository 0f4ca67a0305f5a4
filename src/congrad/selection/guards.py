"""What a person should know before training on the kept pairs: a line each, by name.

Shapes: P pairs.
"""

from collections.abc import Sequence

import torch

from congrad.consensus.findings import MIN_PAIRS

NUM_EXAMPLES = 3


def guards(
    languages: Sequence[str],
    language_P: torch.Tensor,
    score_P: torch.Tensor,
    kept_P: torch.Tensor,
    *,
    group_P: torch.Tensor | None = None,
    row_P: torch.Tensor | None = None,
) -> list[str]:
    """Warnings about the data and the selection, by language; those with too few pairs share the last line.

    Args:
        languages: name of every language code.
        score_P: alignment, NaN where there is none.
        kept_P: what `select` gave.
        group_P: the same number for the pairs of one prompt; None if all prompts differ. A prompt that has one pair and
            loses it is expected: there is no warning of those.
        row_P: input row of the pair, for examples; None for its position.
    """
    warnings: list[str] = []
    few: list[tuple[str, int]] = []
    if len(languages) == 1:
        warnings.append(f"{languages[0]} is the only language, so there is no conflict to remove")
    for code, language in enumerate(languages):
        own_P = language_P == code
        num_pairs = int(own_P.sum())
        num_scored = int((own_P & ~score_P.isnan()).sum())
        if num_scored < MIN_PAIRS:
            few.append((language, num_scored))
        if num_pairs and not (own_P & kept_P).any():
            warnings.append(f"{language}: none of its {_pairs(num_pairs)} is kept")
        elif group_P is not None:
            warnings += _lost_prompts(language, own_P, kept_P, group_P, row_P)
    if few:
        warnings.append(too_few(few, MIN_PAIRS))
    return warnings


def too_few(languages: Sequence[tuple[str, int]], least: int) -> str:
    """A warning of languages, given with their pairs, that have fewer than `least`."""
    named = ", ".join(f"{name} ({count})" for name, count in languages)
    return f"fewer than {least} pairs, too few for a meaningful language gradient: {named}"


def _lost_prompts(
    language: str, own_P: torch.Tensor, kept_P: torch.Tensor, group_P: torch.Tensor, row_P: torch.Tensor | None
) -> list[str]:
    """A warning if there are prompts of several pairs of which none is kept."""
    own = torch.nonzero(own_P).flatten()
    group_U, prompt_of_own, size_U = torch.unique(group_P[own], return_inverse=True, return_counts=True)
    kept_U = torch.zeros(len(group_U), dtype=torch.int64).index_add_(0, prompt_of_own, kept_P[own].long())
    lost_U = (size_U > 1) & (kept_U == 0)
    if not lost_U.any():
        return []
    first_U = torch.full_like(size_U, len(own)).scatter_reduce_(0, prompt_of_own, torch.arange(len(own)), "amin")
    first = own[first_U[lost_U].sort().values]
    rows = (first if row_P is None else row_P[first]).tolist()
    examples = ", ".join(map(str, rows[:NUM_EXAMPLES])) + (", ..." if len(rows) > NUM_EXAMPLES else "")
    prompts = "1 prompt with several pairs loses" if len(rows) == 1 else f"{len(rows)} prompts with several pairs lose"
    return [f"{language}: {prompts} all of them (first at row {examples})"]


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
