import torch

from congrad.consensus.reliability import PRIOR, reliability


def reliability_of(sums_BD, weight_B, language_B, num_languages):
    return reliability(sums_BD @ sums_BD.T, weight_B, language_B, num_languages=num_languages)


def test_worked_by_hand():
    """Two buckets (1, 0) and (3, 0) of weight 1/2 each: different ones multiply to 2 * 3 = 6 of 2 * 1/4 in weight, so
    |mu|^2 = 12; the mean is (4, 0), of squared length 16, of which 4 are noise. The second language has buckets (0, 1)
    and (0, 2): 8 of 9. On average that is 10, of which each borrows. The third has one bucket, (0, 8): 10 of 64."""
    sums_BD = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 2], [0, 8]])
    weight_B, language_B = torch.tensor([0.5, 0.5, 0.5, 0.5, 1]), torch.tensor([0, 0, 1, 1, 2])
    found_L = reliability_of(sums_BD, weight_B, language_B, 4)
    first, second = (12 + PRIOR * 10) / (1 + PRIOR), (8 + PRIOR * 10) / (1 + PRIOR)
    expected_L = [first / (first + 4), second / (second + 1), 10 / 64, 0]
    torch.testing.assert_close(found_L, torch.tensor(expected_L, dtype=torch.float64))


def test_without_noise_each_is_1_however_long_its_gradient():
    sums_BD = torch.tensor([[1.0, 0], [1, 0], [0, 9], [0, 9]])
    found_L = reliability_of(sums_BD, torch.full((4,), 0.5), torch.tensor([0, 0, 1, 1]), 2)
    torch.testing.assert_close(found_L, torch.ones(2, dtype=torch.float64))


def test_signal_is_1_and_noise_is_0():
    generator = torch.Generator().manual_seed(0)
    same_BD = torch.randn(1, 50, generator=generator).expand(20, 50)
    language_B = torch.arange(20) % 2
    weight_B = torch.full((20,), 0.1)
    torch.testing.assert_close(reliability_of(same_BD, weight_B, language_B, 2), torch.ones(2, dtype=torch.float64))
    opposite_BD = same_BD * torch.tensor([1.0, 1, -1, -1] * 5)[:, None]
    assert (reliability_of(opposite_BD, weight_B, language_B, 2) == 0).all()


def test_the_average_is_the_true_share_whatever_the_number_of_pairs():
    """A gradient of length 1 under noise of squared length 20 a pair: 4 pairs give 1 / (1 + 5), 64 give
    1 / (1 + 20 / 64). The loop draws the pairs themselves."""
    generator = torch.Generator().manual_seed(1)
    found_RL = []
    for _ in range(40):
        pairs_LPD = [torch.randn(size, 500, generator=generator) * 0.2 + 500**-0.5 for size in (4, 4, 64, 64)]
        sums_BD = torch.cat([pairs_PD / len(pairs_PD) for pairs_PD in pairs_LPD])
        weight_B = torch.cat([torch.full((len(pairs_PD),), 1 / len(pairs_PD)) for pairs_PD in pairs_LPD])
        language_B = torch.repeat_interleave(torch.arange(4), torch.tensor([4, 4, 64, 64]))
        found_RL.append(reliability_of(sums_BD, weight_B, language_B, 4))
    few, many = torch.stack(found_RL).mean(0).view(2, 2).mean(1).tolist()
    assert abs(few - 1 / 6) < 0.02
    assert abs(many - 1 / (1 + 20 / 64)) < 0.02


def test_neither_scale_of_gradients_nor_of_weights_matters():
    generator = torch.Generator().manual_seed(2)
    sums_BD = torch.randn(12, 8, generator=generator, dtype=torch.float64) + 0.5
    weight_B = torch.rand(12, generator=generator, dtype=torch.float64)
    language_B = torch.arange(12) % 3
    found_L = reliability_of(sums_BD, weight_B, language_B, 3)
    torch.testing.assert_close(reliability_of(sums_BD * 1e3, weight_B, language_B, 3), found_L)
    torch.testing.assert_close(reliability_of(sums_BD, weight_B * 7, language_B, 3), found_L)
    assert 0 < found_L.min() < 0.5
