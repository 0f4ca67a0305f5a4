"""Pair gradients that are made of numbers alone, with their prompts and folds."""

from dataclasses import dataclass

import numpy as np
import torch

from congrad.advice.language_sums import LanguageSums, sum_languages


@dataclass(frozen=True)
class Pairs:
    gradient_PD: torch.Tensor
    language_P: torch.Tensor
    group_P: torch.Tensor
    fold_P: torch.Tensor

    @property
    def num_languages(self) -> int:
        return int(self.language_P.max()) + 1

    def sums(self, **options: int) -> LanguageSums:
        return sum_languages(
            self.gradient_PD,
            factor_P=torch.ones(len(self.gradient_PD), dtype=torch.float64),
            language_P=self.language_P,
            group_P=self.group_P,
            fold_P=self.fold_P,
            num_languages=self.num_languages,
            **options,
        )


def draw(sizes, *, seed=0, num_dims=12, mean_LD=None, noise=1.0, num_folds=5, parallel=False) -> Pairs:
    """Pairs of languages of these sizes, two of a prompt here and there; `parallel` prompts are shared by languages."""
    generator = np.random.default_rng(seed)
    language_P = np.repeat(np.arange(len(sizes)), sizes)
    number_P = np.concatenate([np.arange(size) for size in sizes])
    mean_LD = generator.standard_normal((len(sizes), num_dims)) if mean_LD is None else mean_LD
    gradient_PD = mean_LD[language_P] + noise * generator.standard_normal((len(language_P), num_dims))
    group_P = number_P if parallel else number_P // 2 + 1000 * language_P
    group_U, unit_P = np.unique(group_P, return_inverse=True)
    fold_P = (generator.permutation(len(group_U)) % num_folds)[unit_P]
    order_P = generator.permutation(len(language_P))  # of the input
    tensors = (torch.from_numpy(array[order_P]) for array in (gradient_PD, language_P, group_P, fold_P))
    return Pairs(*tensors)
