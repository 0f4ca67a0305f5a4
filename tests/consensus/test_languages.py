"""Agreement between languages: worked values, no bias in noise, and intervals that cover."""

import pytest
import torch

from congrad.consensus.languages import agreement


def of_buckets(sums_BD, language_B, weight_B=None, num_resamples=200, num_languages=2):
    return agreement(
        sums_BD @ sums_BD.T,
        torch.ones(len(language_B), dtype=torch.float64) if weight_B is None else weight_B,
        language_B,
        num_languages=num_languages,
        num_resamples=num_resamples,
        seed=0,
    )


def two_languages(cosine, noise, num_buckets, num_dims, seed, weight_B=None):
    """Bucket sums of two languages whose true gradients have length 1 and this cosine; noise is that of one pair."""
    generator = torch.Generator().manual_seed(seed)
    mean_LD = torch.zeros(2, num_dims, dtype=torch.float64)
    mean_LD[0, 0], mean_LD[1, 0], mean_LD[1, 1] = 1, cosine, (1 - cosine**2) ** 0.5
    language_B = torch.arange(2).repeat_interleave(num_buckets)
    weight_B = torch.ones(2 * num_buckets, dtype=torch.float64) if weight_B is None else weight_B
    noise_BD = torch.randn(2 * num_buckets, num_dims, generator=generator, dtype=torch.float64) * noise / num_dims**0.5
    return weight_B[:, None] * (mean_LD[language_B] + noise_BD), language_B


def test_raw_cosines_by_hand():
    # language 0: (1, 0) + (1, 2) = (2, 2); language 1: (0, 3); language 2 has nothing
    sums_BD = torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 3.0]])
    found = of_buckets(sums_BD, torch.tensor([0, 0, 1]), num_languages=3)
    nan = torch.nan
    expected = torch.tensor([[1, 0.5**0.5, nan], [0.5**0.5, 1, nan], [nan, nan, nan]], dtype=torch.float64)
    torch.testing.assert_close(found.cosine_LL, expected, equal_nan=True)
    assert found.interval_LL2.shape == (3, 3, 2)
    assert found.interval_LL2[1:].isnan().all()  # one bucket, or none
    assert found.corrected_LL.shape == (3, 3)


@pytest.mark.parametrize("weights", [[1.0] * 16, [0.5**age for age in range(16)]], ids=["mean", "ema"])
def test_without_noise_all_three_agree(weights):
    weight_B = torch.tensor(weights, dtype=torch.float64)
    sums_BD, language_B = two_languages(-0.3, noise=0, num_buckets=8, num_dims=4, seed=0, weight_B=weight_B)
    found = of_buckets(sums_BD, language_B, weight_B)
    expected = torch.tensor([[1, -0.3], [-0.3, 1]], dtype=torch.float64)
    torch.testing.assert_close(found.cosine_LL, expected)
    torch.testing.assert_close(found.corrected_LL, expected)
    torch.testing.assert_close(found.interval_LL2, expected[..., None].expand(2, 2, 2))


def test_the_corrected_cosine_is_every_split_half():
    """With two buckets a language, the squared norm is their inner product: one split half."""
    sums_BD, language_B = two_languages(cosine=0.5, noise=0.3, num_buckets=6, num_dims=50, seed=1)
    squared_norm_L = []
    for own_BD in (sums_BD[:6], sums_BD[6:]):
        products = [own_BD[one] @ own_BD[other] for one in range(6) for other in range(6) if one != other]
        squared_norm_L.append(torch.stack(products).mean())
    expected = sums_BD[:6].mean(0) @ sums_BD[6:].mean(0) / (squared_norm_L[0] * squared_norm_L[1]).sqrt()
    torch.testing.assert_close(of_buckets(sums_BD, language_B).corrected_LL[0, 1], expected)


@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "ema"])
def test_the_corrected_cosine_takes_the_noise_out(weighted):
    weight_B = 0.97 ** torch.arange(63, -1, -1, dtype=torch.float64).repeat(2) if weighted else None
    raw, corrected = [], []
    for seed in range(60):
        # noise 16 a pair, 64 pairs: the noise's squared norm in the mean is 4 where the gradient's is 1
        sums_BD, language_B = two_languages(0.6, noise=16, num_buckets=64, num_dims=2000, seed=seed, weight_B=weight_B)
        found = of_buckets(sums_BD, language_B, weight_B, num_resamples=1)
        raw.append(found.cosine_LL[0, 1])
        corrected.append(found.corrected_LL[0, 1])
    assert torch.stack(raw).mean() < 0.15
    assert not torch.stack(corrected).isnan().any()
    assert torch.stack(corrected).mean().item() == pytest.approx(0.6, abs=0.05)


def test_pure_noise_has_no_corrected_cosine():
    generator = torch.Generator().manual_seed(0)
    silent = 0
    for _ in range(50):
        sums_BD = torch.randn(40, 300, generator=generator, dtype=torch.float64)
        found = of_buckets(sums_BD, torch.arange(2).repeat_interleave(20), num_resamples=1)
        silent += bool(found.corrected_LL[0, 1].isnan())
    assert silent >= 48


@pytest.mark.parametrize(("cosine", "noise"), [(0.8, 1.0), (-0.4, 3.0), (0.3, 16.0)])
def test_the_interval_covers(cosine, noise):
    """What it is to cover is the cosine that samples of this size measure on average."""
    found = [
        of_buckets(*two_languages(cosine, noise, num_buckets=64, num_dims=200, seed=seed), num_resamples=300)
        for seed in range(150)
    ]
    expected = torch.stack([one.cosine_LL[0, 1] for one in found]).mean()
    interval_2 = torch.stack([one.interval_LL2[0, 1] for one in found])
    covered = ((interval_2[:, 0] <= expected) & (expected <= interval_2[:, 1])).double().mean()
    assert covered >= 0.9
    assert (interval_2[:, 1] - interval_2[:, 0]).mean() < 4 * 1.96 * torch.stack(
        [one.cosine_LL[0, 1] for one in found]
    ).std()


def test_where_prompts_are_shared_their_products_are_left_out_by_hand():
    # Units 0 and 1 in both languages: only <(1, 2), (4, 0)> and <(3, 0), (0, 5)> count, as large as all four would be.
    sums_BD = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0], [4.0, 0.0]], dtype=torch.float64)
    found = agreement(
        sums_BD @ sums_BD.T,
        torch.ones(4),
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([0, 1, 0, 1]),
        num_languages=2,
        num_resamples=20,
        seed=0,
    )
    expected = (4 + 0) * 4 / 2 / (20 * 41) ** 0.5  # the sums are (4, 2) and (4, 5)
    assert found.cosine_LL[0, 1].item() == pytest.approx(expected)


def test_pulled_up_by_translations_and_not():
    generator = torch.Generator().manual_seed(0)
    cosines = []
    for _ in range(40):
        own, prompt = (torch.randn(size, 20, 40, generator=generator, dtype=torch.float64) for size in (2, 1))
        sums_BD = (own + prompt).flatten(0, 1)
        for unit_B in (torch.arange(40), torch.arange(20).repeat(2)):
            language_B = torch.arange(2).repeat_interleave(20)
            found = agreement(
                sums_BD @ sums_BD.T, torch.ones(40), language_B, unit_B, num_languages=2, num_resamples=50, seed=0
            )
            low, high = found.interval_LL2[0, 1].tolist()
            cosines.append((found.cosine_LL[0, 1].item(), low <= 0 <= high))
    with_them, without = cosines[::2], cosines[1::2]
    assert sum(cosine for cosine, _ in with_them) / 40 == pytest.approx(0.5, abs=0.05)
    assert sum(cosine for cosine, _ in without) / 40 == pytest.approx(0, abs=0.08)
    assert sum(covered for _, covered in without) >= 36


def test_the_interval_follows_the_seed():
    sums_BD, language_B = two_languages(0.5, noise=3, num_buckets=10, num_dims=50, seed=0)
    one, same = (of_buckets(sums_BD, language_B) for _ in range(2))
    assert torch.equal(one.interval_LL2, same.interval_LL2)
    assert (one.interval_LL2[0, 1, 0] < one.cosine_LL[0, 1]) & (one.cosine_LL[0, 1] < one.interval_LL2[0, 1, 1])
