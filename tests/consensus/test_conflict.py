"""The test of conflict: tables by hand, a naive loop, an analysis of variance by least squares, and false alarms."""

import numpy as np
import pytest
import torch

from congrad.consensus.conflict import compare_languages, critical, discoveries, in_words, two_sided


def compare(gradient_LND, *, shared=False, weight=1.0):
    """Languages of N units each; `shared`: unit n holds the same prompts in all."""
    num_languages, num_units, _ = gradient_LND.shape
    sums_BD = (gradient_LND * weight).flatten(0, 1).double()
    language_B = torch.arange(num_languages).repeat_interleave(num_units)
    unit_B = torch.arange(num_units).repeat(num_languages) if shared else torch.arange(num_languages * num_units)
    weight_B = torch.full((len(language_B),), weight, dtype=torch.float64)
    return compare_languages(sums_BD @ sums_BD.T, weight_B, language_B, unit_B, num_languages)


def noise(num_languages, num_units, num_dims, seed, within=0.0):
    """No gradient at all; translations of a prompt correlate by `within`."""
    generator = torch.Generator().manual_seed(seed)
    own_LND = torch.randn(num_languages, num_units, num_dims, generator=generator)
    prompt_ND = torch.randn(num_units, num_dims, generator=generator)
    return (1 - within) ** 0.5 * own_LND + within**0.5 * prompt_ND


def least_squares(table_JK, cell_JK):
    """Mean, row and column effects and the rest of a table with holes, from its normal equations."""
    at_j, at_k = np.nonzero(cell_JK)
    rows, columns = len(table_JK), len(table_JK[0])
    design = np.zeros((len(at_j), rows + columns))
    design[np.arange(len(at_j)), at_j] = design[np.arange(len(at_j)), rows + at_k] = 1
    values = table_JK[at_j, at_k] - table_JK[at_j, at_k].mean()
    effects = np.linalg.lstsq(design, values, rcond=None)[0]
    return effects[:rows] - effects[:rows].mean(), effects[rows:] - effects[rows:].mean(), values - design @ effects


def test_a_table_by_hand():
    # Language 0 has the unit gradients 1 and 3, language 1 has -1, -2 and -6: the products are [-1 -2 -6; -3 -6 -18],
    # their mean -6, the row effects 3 and -3, the column effects 4, 2 and -6, the rest [-2 -1 3; 2 1 -3].
    sums_BD = torch.tensor([[1.0], [3.0], [-1.0], [-2.0], [-6.0]], dtype=torch.float64)
    language_B = torch.tensor([0, 0, 1, 1, 1])
    found = compare_languages(sums_BD @ sums_BD.T, torch.ones(5), language_B, torch.arange(5), 2)
    # Language 1's own products are 2, 6 and 12; its units' effects on their mean are -16/3, 2/3 and 14/3, which count
    # -6 / 9 as much: 9 is the squared length of its mean, -3. Language 0's only product, 3, has none.
    rest = 28 / 2 / 6
    columns = [effect + own * 6 / 9 for effect, own in ((4, -16 / 3), (2, 2 / 3), (-6, 14 / 3))]
    variance = 18 / (1 * 2) + sum(effect**2 for effect in columns) / (2 * 3) - rest
    assert found.t_LL[0, 1].item() == pytest.approx(-6 / variance**0.5, rel=1e-3)
    # |mu|^2 without noise: 1 * 3 = 3, and (2 + 6 + 12) / 3 = 20/3; neither is clear of its noise with so few units
    assert found.effect_LL.isnan().all()
    assert in_words(found.verdict_LL) == [[None, "cannot tell"], ["cannot tell", None]]


def test_effect_interval_and_smallest_effect_follow_from_the_table():
    gradient_LND = noise(2, 12, 5, seed=0)
    gradient_LND[0, :, 0] += 2
    gradient_LND[1, :, 0] -= 2
    found = compare(gradient_LND)
    one_ND, other_ND = gradient_LND.double()
    mean = (one_ND @ other_ND.T).mean().item()
    lengths = [
        np.mean([float(own_ND[i] @ own_ND[j]) for i in range(12) for j in range(12) if i != j]) ** 0.5
        for own_ND in (one_ND, other_ND)
    ]
    error = mean / found.t_LL[0, 1].item() / (lengths[0] * lengths[1])
    effect = mean / (lengths[0] * lengths[1])
    assert found.effect_LL[0, 1].item() == pytest.approx(effect)
    # 2.201 is Student's 97.5% point with 11 degrees of freedom
    assert found.interval_LL2[0, 1].tolist() == pytest.approx(
        [max(-1, effect - 2.201 * error), effect + 2.201 * error], abs=1e-3
    )
    assert found.smallest_LL[0, 1].item() == pytest.approx(2.201 * error, rel=1e-3)
    assert in_words(found.verdict_LL)[0][1] == "conflict"


@pytest.mark.parametrize("shared", [False, True])
def test_the_variance_is_that_of_an_analysis_of_rows_and_columns(shared):
    """Least squares by the normal equations; where prompts are shared the diagonal is left out, and mirrored cells and
    the two effects of a unit go together."""
    units = 7
    one_ND, other_ND = (noise(2, units, 3, seed=1, within=0.5 * shared) + 0.7).double()
    table_JK = (one_ND @ other_ND.T).numpy()
    cell_JK = ~np.eye(units, dtype=bool) if shared else np.ones((units, units), dtype=bool)
    row_J, column_K, rest = least_squares(table_JK, cell_JK)
    for effects, own_ND in ((row_J, one_ND), (column_K, other_ND)):
        own_J, _, _ = least_squares((own_ND @ own_ND.T).numpy(), ~np.eye(units, dtype=bool))
        effects -= own_J * table_JK[cell_JK].mean() / float((own_ND.mean(0) ** 2).sum())
    rest_JK = np.zeros_like(table_JK)
    rest_JK[cell_JK] = rest
    cells = cell_JK.sum()
    left = (rest**2).sum() + (rest_JK * rest_JK.T).sum() * shared
    left /= (cells - 2 * units + 1) * cells
    variance = ((row_J**2).sum() + (column_K**2).sum() + 2 * (row_J * column_K).sum() * shared) / (units * (units - 1))
    expected = table_JK[cell_JK].mean() / max(variance - left, left) ** 0.5
    found = compare(torch.stack([one_ND, other_ND]), shared=shared)
    assert found.t_LL[0, 1].item() == pytest.approx(expected, rel=2e-3)
    assert found.t_LL[1, 0].item() == pytest.approx(found.t_LL[0, 1].item())


def test_weights_change_nothing_where_all_are_alike_and_units_without_any_are_left_out():
    gradient_LND = noise(3, 6, 4, seed=2) + 0.5
    plain = compare(gradient_LND)
    torch.testing.assert_close(compare(gradient_LND, weight=0.25).t_LL, plain.t_LL, equal_nan=True)
    sums_BD = torch.cat([gradient_LND.flatten(0, 1), torch.ones(1, 4)]).double()
    language_B = torch.cat([torch.arange(3).repeat_interleave(6), torch.tensor([1])])
    weight_B = torch.cat([torch.ones(18), torch.zeros(1)])
    more = compare_languages(sums_BD @ sums_BD.T, weight_B, language_B, torch.arange(19), 3)
    torch.testing.assert_close(more.t_LL, plain.t_LL, equal_nan=True)


def test_translations_are_left_out():
    """What two languages share in a prompt alone is no agreement of theirs."""
    gradient_LND = noise(2, 40, 30, seed=3, within=0.9)
    assert in_words(compare(gradient_LND).verdict_LL)[0][1] == "agree", "with them"
    assert in_words(compare(gradient_LND, shared=True).verdict_LL)[0][1] == "cannot tell"


def test_languages_with_some_prompts_in_common():
    """Language 1 lacks half of the prompts: all its products with other prompts count."""
    one_ND, other_ND = (noise(2, 20, 5, seed=4) + 1).double()
    sums_BD = torch.cat([one_ND, other_ND[:10]])
    language_B = torch.tensor([0] * 20 + [1] * 10)
    unit_B = torch.cat([torch.arange(20), torch.arange(10)])
    found = compare_languages(sums_BD @ sums_BD.T, torch.ones(30), language_B, unit_B, 2)
    products = [float(one_ND[i] @ other_ND[j]) for i in range(20) for j in range(10) if i != j]
    lengths = [
        np.mean([float(own[i] @ own[j]) for i in range(len(own)) for j in range(len(own)) if i != j]) ** 0.5
        for own in (one_ND, other_ND[:10])
    ]
    effect = np.mean(products) / (lengths[0] * lengths[1])
    assert found.effect_LL[0, 1].item() == pytest.approx(min(effect, 1))
    assert found.t_LL[0, 1] > 5


@pytest.mark.parametrize(("num_units", "tested"), [((0, 5), False), ((1, 5), False), ((2, 2), True), ((2, 5), True)])
def test_few_units(num_units, tested):
    language_B = torch.tensor([0] * num_units[0] + [1] * num_units[1])
    sums_BD = noise(1, len(language_B), 3, seed=5)[0].double()
    found = compare_languages(
        sums_BD @ sums_BD.T, torch.ones(len(language_B)), language_B, torch.arange(len(language_B)), 2
    )
    assert found.t_LL[0, 1].isfinite().item() == tested
    assert found.verdict_LL.tolist() == [[0, 0], [0, 0]]


def test_students_t_against_its_tables():
    # 97.5% points: 12.706 (1), 4.303 (2), 3.182 (3), 2.228 (10), 2.093 (19), 2.000 (60)
    for df, point in ((1, 12.706), (2, 4.303), (3, 3.182), (10, 2.228), (19, 2.093), (60, 2.000)):
        assert critical(0.05, df) == pytest.approx(point, abs=6e-4)
        assert two_sided(torch.tensor([-point, 0.0], dtype=torch.float64), df).tolist() == pytest.approx(
            [0.05, 1], abs=1e-4
        )
    assert critical(1e-5, 4) == pytest.approx((6 / 1e-5) ** 0.25, rel=0.01), "far out, P(|T| > t) of 4 is 6 / t^4"


def test_discoveries_by_hand():
    """Benjamini and Hochberg's own example, at 5%: the first four of fifteen."""
    p_T = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1,
    ]
    backwards_T = torch.tensor(p_T[::-1], dtype=torch.float64)
    assert discoveries(backwards_T).tolist() == [False] * 11 + [True] * 4
    # one small p does not help the others; a row of middling ones carries itself
    assert discoveries(torch.tensor([0.04, 0.045, 0.001])).tolist() == [True, True, True]
    assert discoveries(torch.tensor([0.04, 0.06, 0.001])).tolist() == [False, False, True]


@pytest.mark.parametrize("within", [0.0, 0.3, 0.9])
def test_pure_noise_seldom_shows_anything(within):
    """At most 5% plus two standard errors of 200 runs of ten pairs of languages."""
    runs = [compare(noise(5, 12, 20, seed, within), shared=within > 0).verdict_LL for seed in range(200)]
    assert sum(bool(verdict_LL.any()) for verdict_LL in runs) <= 200 * 0.05 + 2 * (200 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.8])
def test_the_interval_covers_the_true_cosine(cosine):
    covered = known = 0
    for seed in range(200):
        gradient_LND = noise(2, 30, 40, seed) * 0.6
        gradient_LND[0, :, 0] += 1
        gradient_LND[1, :, 0] += cosine
        gradient_LND[1, :, 1] += (1 - cosine**2) ** 0.5
        low, high = compare(gradient_LND).interval_LL2[0, 1].tolist()
        known += low == low
        covered += low <= cosine <= high
    assert known == 200
    assert covered >= 0.92 * known
