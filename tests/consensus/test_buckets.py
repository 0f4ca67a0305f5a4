"""Buckets keep prompts together and folds apart; their sums are the plain sums whatever the chunks."""

import pytest
import torch

from congrad.consensus import buckets as module
from congrad.consensus.buckets import assign_buckets, language_gradients, sum_buckets


def assign(language_P, group_P=None, usable_P=None, num_folds=5, seed=0, num_languages=3, num_dims=16):
    return assign_buckets(
        language_P,
        torch.arange(len(language_P)) if group_P is None else group_P,
        torch.ones_like(language_P, dtype=torch.bool) if usable_P is None else usable_P,
        num_languages=num_languages,
        num_dims=num_dims,
        num_folds=num_folds,
        seed=seed,
    )


def test_a_bucket_holds_one_language_and_all_pairs_of_its_prompts():
    generator = torch.Generator().manual_seed(0)
    language_P = torch.randint(3, (2000,), generator=generator)
    group_P = 200 * language_P + torch.randint(200, (2000,), generator=generator)
    usable_P = torch.rand(2000, generator=generator) > 0.05
    buckets = assign(language_P, group_P, usable_P)
    assert (buckets.bucket_P[~usable_P] == -1).all()
    assert torch.equal(buckets.language_B[buckets.bucket_P[usable_P]], language_P[usable_P])
    for language in range(3):
        for group in range(200 * language, 200 * language + 200):
            own = (group_P == group) & usable_P
            assert len(buckets.bucket_P[own].unique()) <= 1
    assert torch.bincount(buckets.language_B).tolist() == [60, 60, 60]  # the most of 64 that 5 folds share evenly
    for language in range(3):
        assert torch.bincount(buckets.fold_B[buckets.language_B == language]).tolist() == [12] * 5


def test_a_prompt_in_several_languages_has_one_unit_and_one_fold():
    generator = torch.Generator().manual_seed(0)
    language_P = torch.randint(3, (2000,), generator=generator)
    group_P = torch.randint(400, (2000,), generator=generator)
    group_P[:300] = 1000 + torch.arange(300)  # in one language each
    usable_P = torch.rand(2000, generator=generator) > 0.05
    buckets = assign(language_P, group_P, usable_P)
    assert (buckets.bucket_P[~usable_P] == -1).all()
    assert torch.equal(buckets.language_B[buckets.bucket_P[usable_P]], language_P[usable_P])
    for group in group_P.unique():
        own_P = buckets.bucket_P[(group_P == group) & usable_P]
        assert len(buckets.unit_B[own_P].unique()) <= 1
        assert len(buckets.fold_B[own_P].unique()) <= 1
    assert torch.bincount(buckets.language_B).tolist() == [60, 60, 60]
    for language in range(3):
        assert torch.bincount(buckets.fold_B[buckets.language_B == language]).tolist() == [12] * 5


def test_units_are_dealt_evenly_in_every_language():
    """100 prompts in two languages and 50 more in the second: 1 or 2, and 2 or 3, pairs in each of 64 units."""
    language_P = torch.tensor([0] * 100 + [1] * 150)
    group_P = torch.cat([torch.arange(100), torch.arange(150)])
    buckets = assign_buckets(language_P, group_P, language_P >= 0, num_languages=2, num_dims=16, num_folds=1, seed=0)
    per_bucket_B = torch.bincount(buckets.bucket_P)
    assert set(per_bucket_B[buckets.language_B == 0].tolist()) == {1, 2}
    assert set(per_bucket_B[buckets.language_B == 1].tolist()) == {2, 3}


def test_buckets_are_dealt_evenly_and_by_the_seed():
    language_P = torch.zeros(1000, dtype=torch.int64)
    one, same, other = (assign(language_P, seed=seed, num_languages=1).bucket_P for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert set(torch.bincount(one).tolist()) == {16, 17}


def test_few_pairs_have_a_bucket_each_and_start_in_different_folds():
    buckets = assign(torch.tensor([0, 1, 2, 2, 2]))
    assert buckets.language_B.tolist() == [0, 1, 2, 2, 2]
    assert buckets.fold_B.tolist() == [0, 1, 2, 3, 4]
    assert sorted(buckets.bucket_P.tolist()) == [0, 1, 2, 3, 4]


def test_bucket_sums_stay_within_their_memory(monkeypatch):
    monkeypatch.setattr(module, "MAX_BUCKET_BYTES", 3 * 4 * 16 * 20)
    assert len(assign(torch.arange(3000) % 3).language_B) == 3 * 20


def test_sums_by_hand():
    # language 0 has pairs 0 and 2, language 1 pair 1; pair 3 is not finite
    sketches = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [torch.inf, 0.0]]).half()
    language_P = torch.tensor([0, 1, 0, 0])
    buckets = assign(language_P, num_folds=1, num_languages=2, num_dims=2)
    share_P = torch.tensor([0.5, 1.0, 0.25, 0.25])
    sums = sum_buckets(sketches, share_P, torch.tensor([-1.0, 2.0, 2.0, 1.0]), buckets)
    total_L = torch.tensor([1.0, 1.0])
    every_B = torch.ones(4, dtype=torch.bool)
    assert sums.norm_P.tolist() == [1, 2, 5, torch.inf]
    assert sums.weight_B[buckets.bucket_P].tolist() == [0.5, 1.0, 0.25, 0.0]
    # language 0: (0.5 * -(1, 0) + 0.25 * 2 * (3, 4)) / 0.75 = (1, 2) / 0.75
    gradient_LD = language_gradients(sums, buckets.language_B, every_B, total_L)
    torch.testing.assert_close(gradient_LD, torch.tensor([[4 / 3, 8 / 3], [0.0, 4.0]], dtype=torch.float64))
    without_0 = every_B.clone()
    without_0[buckets.bucket_P[0]] = False  # (3, 4) * 2 alone, and language 1 as it was
    gradient_LD = language_gradients(sums, buckets.language_B, without_0, total_L)
    assert gradient_LD.tolist() == [[6.0, 8.0], [0.0, 4.0]]
    nothing = language_gradients(sums, buckets.language_B, ~every_B, total_L)
    assert nothing.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_chunks_change_nothing(monkeypatch, rows):
    generator = torch.Generator().manual_seed(0)
    sketches = torch.randn(300, 16, generator=generator).half()
    language_P = torch.randint(3, (300,), generator=generator)
    buckets = assign(language_P)
    share_P, factor_P = torch.rand(300, generator=generator), -torch.rand(300, generator=generator)
    whole = sum_buckets(sketches, share_P, factor_P, buckets)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", rows * 16)
    parts = sum_buckets(sketches, share_P, factor_P, buckets)
    assert torch.equal(whole.sums_BD, parts.sums_BD)
    torch.testing.assert_close(whole.norm_P, parts.norm_P, rtol=1e-6, atol=0)
    gradient_PD = (share_P * factor_P)[:, None].double() * sketches.double()
    expected = torch.zeros(len(buckets.language_B), 16, dtype=torch.float64).index_add_(
        0, buckets.bucket_P, gradient_PD
    )
    torch.testing.assert_close(whole.sums_BD.double(), expected, rtol=1e-5, atol=1e-6)
