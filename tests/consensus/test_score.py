"""Scores: by hand, against a naive implementation in float64, and on simulated pairs with flipped labels."""

import math

import pytest
import torch

from congrad.consensus import score
from congrad.consensus.accumulate import ema_weights
from congrad.consensus.buckets import assign_buckets
from congrad.consensus.score import NO_CONSENSUS, NON_FINITE, ZERO_GRADIENT, score_pairs
from congrad.consensus.surgery import random_orders
from congrad.errors import UserError
from congrad.settings.consensus import Consensus


def run(sketches, language_P, consensus=None, *, scale_P=None, weight_P=None, group_P=None, num_languages=None):
    num_pairs = len(language_P)
    return score_pairs(
        sketches,
        scale_P=torch.ones(num_pairs) if scale_P is None else scale_P,
        weight_P=torch.full((num_pairs,), -0.05) if weight_P is None else weight_P,
        language_P=language_P,
        num_languages=num_languages or int(language_P.max()) + 1,
        group_P=group_P,
        consensus=consensus,
    )


def simulate(num_pairs, num_languages, num_dims, seed=0, noise=1.0, flipped=0.0):
    """Languages that share a direction and have one of their own; a flipped pair's difference has the other sign."""
    generator = torch.Generator().manual_seed(seed)
    language_P = torch.randint(num_languages, (num_pairs,), generator=generator)
    own_LD = torch.randn(num_languages, num_dims, generator=generator) / num_dims**0.5
    mean_LD = own_LD + torch.randn(num_dims, generator=generator) / num_dims**0.5
    flipped_P = torch.rand(num_pairs, generator=generator) < flipped
    noise_PD = torch.randn(num_pairs, num_dims, generator=generator) * noise / num_dims**0.5
    sign_P = 1 - 2 * flipped_P.float()
    return ((mean_LD[language_P] + noise_PD) * sign_P[:, None]).half(), language_P, flipped_P


def cosine(one, other):
    return one @ other / (one.norm() * other.norm())


def naive(sketches, language_P, settings, scale_P, weight_P, group_P, num_languages):
    """The definition, pair by pair in float64: PCGrad with explicit vectors; the folds alone are the package's."""
    gradient_PD = (weight_P * scale_P).double()[:, None] * sketches.double()
    used_P = torch.ones(len(language_P), dtype=torch.bool)
    buckets = assign_buckets(
        language_P,
        group_P,
        used_P,
        num_languages=num_languages,
        num_dims=sketches.shape[1],
        num_folds=max(settings.cross_fit, 1),
        seed=settings.seed,
    )
    fold_P = buckets.fold_B[buckets.bucket_P] if settings.cross_fit else torch.zeros_like(language_P)
    if settings.accumulate == "ema":
        share_P = ema_weights(language_P, used_P, decay=settings.ema_decay, batch=settings.ema_batch)
    score_P, cosine_PL = [], []
    for pair in range(len(language_P)):
        mean_LD = []
        for language in range(num_languages):
            own = language_P == language
            rest = own & ((fold_P != fold_P[pair]) if settings.cross_fit else own)
            if settings.accumulate == "mean":
                mean_LD.append(gradient_PD[rest].mean(0))
            else:
                mean_LD.append(share_P[rest] @ gradient_PD[rest] * share_P[own].sum() / share_P[rest].sum())
        surgered = []
        orders_RLL = random_orders(num_languages, settings.num_orders, settings.seed)
        for order_LL in orders_RLL:
            for language, order in enumerate(order_LL.tolist()):
                vector_D = mean_LD[language].clone()
                for met in order:
                    if met != language and vector_D @ mean_LD[met] < 0:
                        vector_D -= vector_D @ mean_LD[met] / (mean_LD[met] @ mean_LD[met]) * mean_LD[met]
                surgered.append(vector_D)
        consensus_D = torch.stack(surgered).mean(0)
        score_P.append(cosine(gradient_PD[pair], consensus_D))
        cosine_PL.append(torch.stack([cosine(gradient_PD[pair], mean_D) for mean_D in mean_LD]))
    return torch.stack(score_P), torch.stack(cosine_PL)


@pytest.mark.parametrize(
    "settings",
    [
        Consensus(num_orders=2),
        Consensus(cross_fit=0, num_orders=2),
        Consensus(cross_fit=3, accumulate="ema", ema_decay=0.8, ema_batch=4, num_orders=2, seed=5),
    ],
    ids=["mean", "no folds", "ema"],
)
@pytest.mark.parametrize("together", [False, True], ids=["prompts of a language", "prompts in several"])
def test_equals_the_definition(settings, together):
    generator = torch.Generator().manual_seed(0)
    sketches = torch.randn(90, 12, generator=generator).half()  # languages that conflict: pure noise
    language_P = torch.randint(4, (90,), generator=generator)
    scale_P = torch.rand(90, generator=generator) + 0.5
    weight_P = -torch.rand(90, generator=generator)
    group_P = torch.randint(60, (90,), generator=generator) + (0 if together else 60 * language_P)
    found = run(sketches, language_P, settings, scale_P=scale_P, weight_P=weight_P, group_P=group_P)
    expected_P, expected_PL = naive(sketches, language_P, settings, scale_P, weight_P, group_P, 4)
    torch.testing.assert_close(found.score_P.double(), expected_P, rtol=0, atol=2e-6)
    torch.testing.assert_close(found.cosine_PL.double(), expected_PL, rtol=0, atol=2e-6)
    assert found.reason_P == [""] * 90


def test_by_hand():
    # Two languages, no folds. G_0 = -(3, 0), G_1 = -(0, 3): no conflict, the consensus is -(3, 3) / 2.
    sketches = torch.tensor([[1.0, 2.0], [5.0, -2.0], [0.0, 3.0]])
    found = run(sketches, torch.tensor([0, 0, 1]), Consensus(cross_fit=0), weight_P=torch.full((3,), -1.0))
    root = math.sqrt
    assert found.score_P.tolist() == pytest.approx([3 / root(10), 3 / root(58), 1 / root(2)])
    assert found.cosine_PL[0].tolist() == pytest.approx([1 / root(5), 2 / root(5)])
    assert found.weight_L.tolist() == [0.5, 0.5]
    assert found.agreement.cosine_LL.tolist() == [[1, 0], [0, 1]]
    assert found.num_pairs_L.tolist() == [2, 1]
    assert found.score_P.dtype == found.cosine_PL.dtype == torch.float32


def test_a_pair_has_no_part_in_its_own_consensus():
    """Pairs of pure noise look aligned with a consensus they are part of, and do not without."""
    generator = torch.Generator().manual_seed(0)
    sketches = torch.randn(400, 2000, generator=generator).half()
    language_P = torch.arange(400) % 4
    with_own = run(sketches, language_P, Consensus(cross_fit=0)).score_P
    without = run(sketches, language_P).score_P
    assert with_own.mean() > 0.04  # 1 / sqrt(400)
    assert abs(without.mean()) < 0.005


def test_flipped_labels_score_below_zero_and_no_label_was_looked_at():
    sketches, language_P, flipped_P = simulate(1500, 5, 500, noise=5, flipped=0.25)
    score_P = run(sketches, language_P).score_P
    assert score_P[~flipped_P].mean() > 0.05
    assert score_P[flipped_P].mean() < -0.05
    auroc = (score_P[~flipped_P][:, None] > score_P[flipped_P]).double().mean()
    assert auroc > 0.95


def test_pairs_of_one_prompt_share_a_fold():
    """Copies of a pair under one prompt cannot vouch for each other; under different prompts they can."""
    generator = torch.Generator().manual_seed(0)
    sketches = torch.randn(50, 1000, generator=generator).half().repeat_interleave(4, 0)
    language_P = torch.zeros(200, dtype=torch.int64)
    together = run(sketches, language_P, group_P=torch.arange(200) // 4).score_P
    apart = run(sketches, language_P).score_P
    assert apart.mean() > 0.1
    assert abs(together.mean()) < 0.01


def test_translations_do_not_vouch_for_each_other():
    """Pure noise that correlates by 0.3 within a prompt: the mean score is 0, and above it where prompts are taken for
    different ones in each language."""
    in_one: list[float] = []
    in_each: list[float] = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        own, prompt = torch.randn(4, 20, 30, generator=generator), torch.randn(20, 30, generator=generator)
        sketches = (0.7**0.5 * own + 0.3**0.5 * prompt).flatten(0, 1)
        language_P, group_P = torch.arange(4).repeat_interleave(20), torch.arange(20).repeat(4)
        settings = Consensus(num_orders=4, num_resamples=1, seed=seed)
        in_one.append(run(sketches, language_P, settings, group_P=group_P).score_P.mean().item())
        in_each.append(run(sketches, language_P, settings).score_P.mean().item())
    together, apart = torch.tensor(in_one), torch.tensor(in_each)
    assert abs(together.mean()) < 3 * together.std() / 60**0.5
    assert apart.mean() > 5 * apart.std() / 60**0.5


def test_shrinkage_weighs_languages_by_their_reliability():
    """The consensus is the mean of the gradients, each times its reliability by hand."""
    generator = torch.Generator().manual_seed(0)
    sizes = (40, 3)
    language_P = torch.tensor([0] * sizes[0] + [1] * sizes[1])
    sketches = torch.randn(sum(sizes), 6, generator=generator) + torch.tensor([1.0, 0, 0, 0, 0, 0])
    settings = Consensus(aggregator="mean", shrinkage=True, cross_fit=0)
    found = run(sketches, language_P, settings, weight_P=-torch.ones(43))
    gradients, shares = [], []
    products = [(own @ own.T).double() for own in (sketches[:40], sketches[40:])]
    signals = [(p.sum() - p.trace()).item() / (len(p) * (len(p) - 1)) for p in products]
    average = sum((n - 1) * signal for n, signal in zip(sizes, signals, strict=True)) / (sum(sizes) - 2)
    for n, signal, own in zip(sizes, signals, (sketches[:40], sketches[40:]), strict=True):
        shrunk = ((n - 1) * signal + 10 * average) / (n - 1 + 10)
        gradients.append(-own.double().mean(0))
        noise = float(gradients[-1] @ gradients[-1]) - signal
        shares.append(shrunk / (shrunk + noise))
    consensus_D = (shares[0] * gradients[0] + shares[1] * gradients[1]) / 2
    expected_P = torch.nn.functional.cosine_similarity(-sketches.double(), consensus_D[None])
    torch.testing.assert_close(found.score_P.double(), expected_P, rtol=0, atol=1e-5)
    assert found.weight_L.tolist() == pytest.approx([share / 2 for share in shares], rel=1e-5)
    assert shares[1] < 0.8 * shares[0]
    assert found.cosine_PL.isfinite().all(), "the languages' own gradients are as they were"


def test_shrinkage_that_tells_nothing_changes_nothing():
    sketches = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.1, -1.0]])  # no two pairs of a language agree
    language_P = torch.tensor([0, 0, 1, 1])
    plain, shrunk = (run(sketches, language_P, Consensus(cross_fit=0, shrinkage=each)) for each in (False, True))
    assert torch.equal(plain.score_P, shrunk.score_P)


def test_scales_of_language_weights_cannot_overflow():
    sketches, language_P, _ = simulate(100, 3, 20)
    plain = run(sketches, language_P)
    for size in (1e-40, 1e40):
        scaled = run(sketches, language_P, weight_P=torch.full((100,), -0.05 * size, dtype=torch.float64))
        torch.testing.assert_close(scaled.score_P, plain.score_P)


def test_stored_scale_and_sketch_are_one_product():
    sketches, language_P, _ = simulate(100, 3, 20)
    scale_P = 2.0 ** (torch.arange(100) % 5)
    split = run((sketches.float() / scale_P[:, None]).half(), language_P, scale_P=scale_P)
    torch.testing.assert_close(split.score_P, run(sketches, language_P).score_P, rtol=1e-3, atol=1e-3)


def test_a_positive_weight_turns_the_gradient_round():
    sketches, language_P, _ = simulate(100, 3, 20)
    weight_P = torch.full((100,), -0.05)
    weight_P[7] = 1e-9  # too small to move the consensus
    turned, plain = run(sketches, language_P, weight_P=weight_P).score_P, run(sketches, language_P).score_P
    assert turned[7].item() == pytest.approx(-plain[7].item(), abs=0.02)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_chunks_change_nothing(monkeypatch, rows):
    sketches, language_P, _ = simulate(300, 3, 64)
    whole = run(sketches, language_P)
    monkeypatch.setattr(score, "CHUNK_ELEMENTS", rows * 64)
    monkeypatch.setattr("congrad.consensus.buckets.CHUNK_ELEMENTS", rows * 64)
    parts = run(sketches, language_P)
    torch.testing.assert_close(whole.score_P, parts.score_P, rtol=0, atol=1e-6)
    torch.testing.assert_close(whole.cosine_PL, parts.cosine_PL, rtol=0, atol=1e-6)


def test_same_input_same_bytes_whatever_the_threads():
    sketches, language_P, _ = simulate(3000, 4, 512)
    one = run(sketches, language_P)
    torch.set_num_threads(2)
    two = run(sketches, language_P)
    assert torch.get_num_threads() == 2
    assert one.score_P.numpy().tobytes() == two.score_P.numpy().tobytes()
    assert one.cosine_PL.numpy().tobytes() == two.cosine_PL.numpy().tobytes()
    assert torch.equal(one.agreement.interval_LL2, two.agreement.interval_LL2)


def test_reads_any_matrix_by_slices_of_rows():
    sketches, language_P, _ = simulate(60, 2, 16)

    class Shards:
        shape = (60, 16)

        def __getitem__(self, rows):
            return torch.cat([sketches[row : row + 1] for row in range(*rows.indices(60))])

    assert torch.equal(run(Shards(), language_P).score_P, run(sketches, language_P).score_P)


def test_a_non_finite_pair_is_left_out_of_every_sum():
    sketches, language_P, _ = simulate(100, 3, 16)
    scale_P, weight_P = torch.ones(100), torch.full((100,), -0.05)
    sketches[3, 5] = torch.inf
    sketches[4] = torch.nan
    scale_P[5] = torch.nan
    weight_P[6] = torch.inf
    found = run(sketches, language_P, scale_P=scale_P, weight_P=weight_P)
    assert [pair for pair, reason in enumerate(found.reason_P) if reason] == [3, 4, 5, 6]
    assert set(found.reason_P[3:7]) == {NON_FINITE}
    assert found.score_P[3:7].isnan().all()
    assert found.cosine_PL[3:7].isnan().all()
    assert found.score_P[[0, 7, 99]].isfinite().all()
    assert found.num_pairs_L.sum() == 96
    gone = torch.tensor([pair not in (3, 4, 5, 6) for pair in range(100)])
    without = run(sketches[gone], language_P[gone], Consensus(cross_fit=0))
    full = run(sketches, language_P, Consensus(cross_fit=0), scale_P=scale_P, weight_P=weight_P)
    torch.testing.assert_close(full.score_P[gone], without.score_P, rtol=0, atol=1e-6)


def test_a_pair_that_the_loss_is_flat_for_has_no_score_but_counts_in_the_mean():
    sketches = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, 1.0]])
    weight_P = torch.tensor([-1.0, 0.0, -1.0])
    found = run(sketches, torch.tensor([0, 0, 1]), Consensus(cross_fit=0), weight_P=weight_P)
    assert found.reason_P == ["", ZERO_GRADIENT, ""]
    assert found.score_P[1].isnan()
    # G_0 = -(2, 0) / 2 for the flat pair counts, G_1 = -(0, 1): the consensus points to (1, 1)
    assert found.score_P[0].item() == pytest.approx(0.5**0.5)
    assert found.num_pairs_L.tolist() == [1, 1]


def test_a_zero_sketch_has_no_score():
    sketches, language_P, _ = simulate(50, 2, 16)
    sketches[9] = 0
    found = run(sketches, language_P)
    assert found.reason_P[9] == ZERO_GRADIENT
    assert found.score_P[9].isnan()


def test_languages_that_cancel_have_no_consensus():
    sketches = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = run(sketches, torch.tensor([0, 1]), Consensus(cross_fit=0, aggregator="mean"))
    assert found.reason_P == [NO_CONSENSUS] * 2
    assert found.score_P.isnan().all()
    torch.testing.assert_close(found.cosine_PL, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))


def test_one_language():
    sketches, language_P, flipped_P = simulate(200, 1, 100, flipped=0.2)
    found = run(sketches, language_P)
    torch.testing.assert_close(found.score_P, found.cosine_PL[:, 0])
    assert found.weight_L.tolist() == [1.0]
    assert (found.score_P[~flipped_P] > 0).all()
    assert (found.score_P[flipped_P] < 0).all()


def test_a_single_pair_of_a_language_is_scored_by_the_others():
    sketches, language_P, _ = simulate(101, 2, 50)
    language_P[:], language_P[100] = 0, 1
    found = run(sketches, language_P)
    assert found.score_P[100].isfinite()
    assert found.cosine_PL[100, 1].isnan()  # nothing of its language without it
    torch.testing.assert_close(found.score_P[100], found.cosine_PL[100, 0])
    assert found.agreement.interval_LL2[0, 1].isnan().all()


def test_many_languages_of_one_pair_score_each_other():
    sketches, _, _ = simulate(10, 1, 50, noise=0.3)
    found = run(sketches, torch.arange(10))
    assert found.reason_P == [""] * 10
    assert (found.score_P > 0.5).all()


def test_a_language_without_pairs_and_a_lone_pair():
    found = run(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), num_languages=3)
    assert found.reason_P == [NO_CONSENSUS]
    assert found.num_pairs_L.tolist() == [0, 1, 0]
    assert found.cosine_PL.shape == (1, 3)


def test_nothing_but_non_finite_pairs():
    found = run(torch.full((3, 2), torch.nan), torch.tensor([0, 0, 1]), weight_P=torch.full((3,), torch.nan))
    assert found.reason_P == [NON_FINITE] * 3
    assert found.weight_L.tolist() == [0, 0]


def test_no_pair_at_all():
    with pytest.raises(UserError, match="no pair"):
        run(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), num_languages=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregator": "pcgard"}, "did you mean pcgrad"),
        ({"accumulate": "mena"}, "did you mean mean"),
        ({"ema_decay": 0.9}, "would be ignored where consensus.accumulate is mean"),
        ({"ema_batch": 8}, "would be ignored where consensus.accumulate is mean"),
        ({"accumulate": "ema", "ema_decay": 1.0}, "below 1"),
        ({"accumulate": "ema", "ema_batch": 0}, "must be 1 or more"),
        ({"cross_fit": 1}, "2 or more, or 0"),
        ({"cross_fit": -1}, "must be 0 or more"),
        ({"num_orders": 0}, "must be 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        Consensus(**settings)
    assert "\n" not in str(caught.value)


def test_the_moving_averages_defaults_are_written_down():
    settings = Consensus(accumulate="ema")
    assert (settings.ema_decay, settings.ema_batch) == (0.9, 8)
