"""Which languages to train together, a model or an adapter for each group: by predicted gain, or not at all.

Agglomeration: every language begins alone, and the two groups are joined whose union gains most over the two
(after TAG, NeurIPS 2021; GradSim, EMNLP 2023, groups by cosines). A group gains, at one step of length 1, the sum over
its languages l of (U w)_l / sqrt(w' G w), with w its languages' shares of its pairs, U the inner products of language
means from products of different buckets, G their Gramian with the noise that a real step has; for epochs the batch's
noise joins G and the group's pairs are its number of steps (`congrad.advice.language_sums`).

The tree is made anew without each fold, and what its cuts gain is read on that fold. How many groups is chosen without
the fold as well, by the same within the others. No division is the null choice: one is recommended only where the
gain of that whole procedure beats all languages together by more than two standard errors. At steps of the same length
that is not enough: every group has a step of its own, so that k groups of languages with nothing in common gain sqrt(k)
times what they gain together, however they are divided. There it must beat random groups of the same sizes as well.

Shapes: L languages, K = L cuts (of 1 to L groups), F folds, R the whole and without one bucket each, E the measures.
"""

from dataclasses import dataclass

import numpy as np

from congrad.advice.budget import MEASURES, Budget, Measure, step_factor
from congrad.advice.language_sums import (
    Array,
    Estimate,
    Folded,
    LanguageSums,
    by_language,
    fold_up,
    gains,
    jackknife,
)


@dataclass(frozen=True)
class Tree:
    """Attributes:
    merges: the two nodes that are joined, one pair after another. Nodes 0 to L - 1 are the languages, and the n-th
        merge (from 0) makes node L + n.
    label_KL: the group of every language where the tree is cut into 1 to L groups; groups are numbered in the order of
        their first language.
    """

    merges: list[tuple[int, int]]
    label_KL: Array


@dataclass(frozen=True)
class Cut:
    """One number of groups. Gains are means over languages, by both measures (E), read outside the folds that made the
    tree.

    Attributes:
        label_L: the group of every language in the tree of all pairs.
        gain: predicted.
        over_together: the paired difference from one group.
        gain_L: by language.
        random_gain: the mean over random groups of the same sizes.
    """

    label_L: Array
    gain: Estimate
    over_together: Estimate
    gain_L: Estimate
    random_gain: Array

    @property
    def num_groups(self) -> int:
        return int(self.label_L.max()) + 1


@dataclass(frozen=True)
class Groups:
    """The best divisions by the gain by one measure.

    Attributes:
        measure: by which trees and number of groups are chosen, one of `MEASURES`.
        tree: of all pairs.
        cuts: of 1 to L groups.
        chosen: how many groups gain most outside the folds that made the trees.
        chosen_over_together: what the whole procedure gains over together by both measures, the number of groups being
            chosen without the fold that it is read on.
        chosen_over_random: the same over random groups of the same sizes.
        recommended: whether to divide.
    """

    measure: Measure
    tree: Tree
    cuts: list[Cut]
    chosen: int
    chosen_over_together: Estimate
    chosen_over_random: Estimate
    recommended: bool


def best_groups(
    sums: LanguageSums, budget: Budget, chosen_by: Measure = "budget", *, num_random: int = 20, seed: int = 0
) -> Groups:
    """Divides the languages into groups, and says what that gains.

    Args:
        chosen_by: the measure whose gain counts, one of `MEASURES`.
        num_random: draws of random groups.
    """
    number, budget = MEASURES.index(chosen_by), budget.in_epochs(int(sums.count_LC.sum()))
    folded, whole = fold_up(sums), fold_up(sums, with_error=False)
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(sums.num_languages) for _ in range(num_random)]

    def mean_gain(folded: Folded, label_FL: Array) -> Array:  # (R x E)
        mean_RE: Array = np.nanmean(group_gains(folded, label_FL, budget), axis=-1).T
        return mean_RE

    def random_gain(folded: Folded, label_FL: Array) -> Array:
        result: Array = np.mean([mean_gain(folded, label_FL[:, order]) for order in orders], axis=0)
        return result

    label_KFL = np.stack([grow(sums.without(fold), budget, chosen_by).label_KL for fold in sums.folds], axis=1)
    gain_KREL = np.stack([group_gains(folded, label_FL, budget).swapaxes(0, 1) for label_FL in label_KFL])
    mean_KRE = np.nanmean(gain_KREL, axis=-1)
    best_F = np.array([_best_number(sums.without(fold), budget, chosen_by) for fold in sums.folds])
    best_FL = label_KFL[best_F - 1, np.arange(len(best_F))]
    best_RE = mean_gain(folded, best_FL)
    over_together, over_random = jackknife(best_RE - mean_KRE[0]), jackknife(best_RE - random_gain(folded, best_FL))
    tree = grow(sums, budget, chosen_by)
    cuts = [
        Cut(
            label_L,
            jackknife(mean_RE),
            jackknife(mean_RE - mean_KRE[0]),
            jackknife(gain_REL),
            random_gain(whole, label_FL)[0],
        )
        for label_L, label_FL, mean_RE, gain_REL in zip(tree.label_KL, label_KFL, mean_KRE, gain_KREL, strict=True)
    ]
    chosen = int(mean_KRE[:, 0, number].argmax()) + 1
    clear_E = over_together.is_clear & (over_random.is_clear | (np.array(MEASURES) == "budget"))
    return Groups(chosen_by, tree, cuts, chosen, over_together, over_random, chosen > 1 and bool(clear_E[number]))


def group_gains(folded: Folded, label_FL: Array, budget: Budget) -> Array:
    """The gain of every language where each group of a fold's labels is trained on its own (E x R x L)."""
    member_FOL = (np.arange(label_FL.max() + 1)[:, None] == label_FL[:, None]).astype(float)
    gain_ERFOL = gains(folded, member_FOL, budget)
    return by_language((gain_ERFOL * member_FOL).sum(3), folded)


def _best_number(sums: LanguageSums, budget: Budget, chosen_by: Measure) -> int:
    """The number of groups with the largest mean gain, read on one fold after another outside its tree."""
    folded = fold_up(sums, with_error=False)
    label_KFL = np.stack([grow(sums.without(fold), budget, chosen_by).label_KL for fold in sums.folds], axis=1)
    gain_K = [np.nanmean(group_gains(folded, label_FL, budget)[MEASURES.index(chosen_by), 0]) for label_FL in label_KFL]
    return int(np.argmax(gain_K)) + 1


def grow(sums: LanguageSums, budget: Budget, chosen_by: Measure) -> Tree:
    """The tree of the languages, from all buckets of the sums."""
    count_L, energy_L = sums.count_LC.sum(1), sums.energy_LC.sum(1)
    # Of a group: pairs, squared lengths, and sums over its languages of held-out products and of products.
    crossed_GG = cross_fitted(sums) * count_L
    product_GG = np.einsum("lcmd->lm", sums.gram_LCLC)

    def gain(inner: Array, product: Array, count: Array, energy: Array) -> Array:
        some = np.where(count > 0, count, 1.0)
        lengths = {"squared_norm": product / some**2, "mean_square": energy / some, "num_pairs": count}
        result: Array = inner / some * step_factor(chosen_by, budget, **lengths)
        return result

    nodes, labels = list(range(len(count_L))), np.arange(len(count_L))
    merges, cuts = [], [labels]
    for node in range(len(count_L), 2 * len(count_L) - 1):
        own_G, length_G = crossed_GG.diagonal(), product_GG.diagonal()
        alone_G = gain(own_G, length_G, count_L, energy_L)
        union_GG = gain(
            own_G[:, None] + own_G + crossed_GG + crossed_GG.T,
            length_G[:, None] + length_G + product_GG + product_GG.T,
            count_L[:, None] + count_L,
            energy_L[:, None] + energy_L,
        )
        more_GG = np.where(np.tri(len(nodes), dtype=bool), -np.inf, union_GG - alone_G[:, None] - alone_G)
        first, second = np.unravel_index(more_GG.argmax(), more_GG.shape)
        merges.append((nodes[first], nodes[second]))
        nodes[first] = node
        del nodes[second]
        labels = np.where(labels == second, first, labels) - (labels > second)
        cuts.append(labels)
        count_L, energy_L = _join(count_L, first, second), _join(energy_L, first, second)
        crossed_GG = _join(_join(crossed_GG, first, second).T, first, second).T
        product_GG = _join(_join(product_GG, first, second).T, first, second).T
    return Tree(merges, np.array(cuts[::-1]))


def _join(value_G: Array, first: np.intp, second: np.intp) -> Array:
    """The second row is added to the first."""
    joined_G = np.delete(value_G, second, axis=0)
    joined_G[first] += value_G[second]
    return joined_G


def cross_fitted(sums: LanguageSums) -> Array:
    """Inner products of the languages' mean gradients without noise on average (L x L): products of different buckets
    only, which is the average over all ways to split the prompts in two; 0 where there are none."""
    total_LL = np.einsum("lcmd->lm", sums.gram_LCLC) - np.einsum("lcmc->lm", sums.gram_LCLC)
    pairs_LL = sums.count_LC.sum(1)[:, None] * sums.count_LC.sum(1) - sums.count_LC @ sums.count_LC.T
    result: Array = np.where(pairs_LL > 0, total_LL / np.where(pairs_LL > 0, pairs_LL, 1.0), 0.0)
    return result
