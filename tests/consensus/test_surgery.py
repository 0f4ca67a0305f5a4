"""Surgery on Gramians: by hand, against TorchJD under the same orders, and its properties."""

import importlib.util
import sys

import pytest
import torch

from congrad.consensus import consensus_weights
from congrad.consensus.surgery import check_aggregator, cosines_after_surgery, pcgrad_weights, random_orders
from congrad.errors import UserError
from congrad.settings.consensus import AGGREGATORS

NEEDS = {"upgrad": ["torchjd", "quadprog", "qpsolvers"], "cagrad": ["torchjd", "cvxpy", "clarabel"]}


def missing(aggregator):
    needed = [] if aggregator in ("mean", "pcgrad") else NEEDS.get(aggregator, ["torchjd"])
    return [name for name in needed if importlib.util.find_spec(name) is None]


def installed(*aggregators):
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(missing(name)), reason=f"{missing(name)} not installed"))
        for name in aggregators
    ]


def gram(gradients):
    gradient_LD = torch.as_tensor(gradients, dtype=torch.float64)
    return gradient_LD @ gradient_LD.T


def draw(num_languages, num_dims, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_languages, num_dims, generator=generator, dtype=torch.float64)


def test_pcgrad_of_two_by_hand():
    # g1 = (1, 0), g2 = (-1, 1), <g1, g2> = -1. g1 becomes g1 + g2 / 2 = (1/2, 1/2), g2 becomes g2 + g1 = (0, 1).
    weight_L = consensus_weights(gram([[1, 0], [-1, 1]]), "pcgrad")
    torch.testing.assert_close(weight_L, torch.tensor([2, 1.5], dtype=torch.float64) / 2)


def test_pcgrad_goes_by_the_order():
    # g1 = (1, 0), g2 = (-1, 1), g3 = (-1, -2): language 1 alone, meeting 2 then 3, or 3 then 2.
    gram_LL = gram([[1, 0], [-1, 1], [-1, -2]])
    stay = torch.tensor([[0, 1, 2], [1, 1, 1], [2, 2, 2]])  # languages 2 and 3 meet only themselves
    two_first, three_first = stay.clone(), stay.clone()
    three_first[0] = torch.tensor([0, 2, 1])
    # 2 first: g1 + g2 / 2 = (1/2, 1/2), whose product with g3 is -3/2: + 3/10 g3
    # 3 first: g1 + g3 / 5 = (4/5, -2/5), whose product with g2 is -6/5: + 3/5 g2
    weight_L = pcgrad_weights(gram_LL, two_first[None]) * 3
    torch.testing.assert_close(weight_L, torch.tensor([1, 1.5, 1.3], dtype=torch.float64))
    weight_L = pcgrad_weights(gram_LL, three_first[None]) * 3
    torch.testing.assert_close(weight_L, torch.tensor([1, 1.6, 1.2], dtype=torch.float64))
    both = pcgrad_weights(gram_LL, torch.stack([two_first, three_first])) * 3
    torch.testing.assert_close(both, torch.tensor([1, 1.55, 1.25], dtype=torch.float64))


def test_cosines_after_surgery_of_two_by_hand():
    # As above g1 becomes (1/2, 1/2) and g2 becomes (0, 1): they were at 135 degrees, and are at 45.
    cosine_LL = cosines_after_surgery(gram([[1, 0], [-1, 1]]))
    torch.testing.assert_close(cosine_LL, torch.tensor([[1, 0.5**0.5], [0.5**0.5, 1]], dtype=torch.float64))


def test_cosines_after_surgery_are_of_the_gradients_that_the_algorithm_leaves():
    """PCGrad's Algorithm 1 on vectors, one order after the other, against the Gramian's way."""
    gradient_LD = draw(5, 3, seed=2)
    order_RLL = random_orders(5, 8, seed=3)
    left_LD = torch.zeros(5, 3, dtype=torch.float64)
    for order_LL in order_RLL:
        for i in range(5):
            g = gradient_LD[i].clone()
            for k in order_LL[i].tolist():
                if k != i and g @ gradient_LD[k] < 0:
                    g -= (g @ gradient_LD[k]) / (gradient_LD[k] @ gradient_LD[k]) * gradient_LD[k]
            left_LD[i] += g / 8
    assert (gram(gradient_LD) < 0).any()
    expected = torch.nn.functional.normalize(left_LD)
    cosine_LL = cosines_after_surgery(gram(gradient_LD), num_orders=8, seed=3)
    torch.testing.assert_close(cosine_LL, expected @ expected.T)


def test_no_cosine_after_surgery_where_nothing_is_left():
    gradient_LD = torch.cat([draw(3, 6).abs(), torch.zeros(1, 6, dtype=torch.float64)])
    cosine_LL = cosines_after_surgery(gram(gradient_LD))
    unit_LD = torch.nn.functional.normalize(gradient_LD[:3])
    torch.testing.assert_close(cosine_LL[:3, :3], unit_LD @ unit_LD.T)  # they agree: surgery changes nothing
    assert cosine_LL[3].isnan().all()
    assert cosine_LL[:, 3].isnan().all()
    assert cosines_after_surgery(gram([[0.3, 0.1], [-0.3, -0.1]])).isnan().all()  # opposites leave nothing
    assert cosines_after_surgery(gram(gradient_LD), "mgda").isnan().all()  # no gradient of a language's own
    assert cosines_after_surgery(torch.zeros(2, 2)).isnan().all()


@pytest.mark.parametrize("num_languages", [1, 2, 5, 12])
def test_pcgrad_is_torchjds_under_the_same_orders(monkeypatch, num_languages):
    aggregation = pytest.importorskip("torchjd.aggregation")
    gram_LL = gram(draw(num_languages, 4))
    order_RLL = random_orders(num_languages, 6, seed=3)
    draws = iter(order_RLL.flatten(0, 1))
    monkeypatch.setattr(torch, "randperm", lambda size: next(draws))
    weighting = aggregation.PCGradWeighting()
    expected = torch.stack([weighting(gram_LL) for _ in range(6)]).mean(0) / num_languages
    torch.testing.assert_close(pcgrad_weights(gram_LL, order_RLL), expected)


def test_agreeing_gradients_are_left_alone():
    gradient_LD = draw(6, 20).abs()
    torch.testing.assert_close(consensus_weights(gram(gradient_LD)), torch.full((6,), 1 / 6, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_two_languages_no_longer_conflict_with_their_consensus(seed):
    gradient_LD = draw(2, 3, seed)
    gradient_LD[1] -= gradient_LD[0] * 2
    gram_LL = gram(gradient_LD)
    assert gram_LL[0, 1] < 0
    assert (gram_LL @ consensus_weights(gram_LL) > 0).all()


def test_orders_are_permutations_and_follow_the_seed():
    order_RLL = random_orders(7, 3, seed=1)
    assert torch.equal(order_RLL.sort(-1).values, torch.arange(7).expand(3, 7, 7))
    assert torch.equal(order_RLL, random_orders(7, 3, seed=1))
    assert not torch.equal(order_RLL, random_orders(7, 3, seed=2))


def test_many_orders_leave_little_of_the_draw():
    gram_LL = gram(draw(8, 5))
    few, many = (
        torch.stack([consensus_weights(gram_LL, num_orders=n, seed=seed) for seed in range(20)]).std(0).mean()
        for n in (1, 64)
    )
    assert many < few / 4


@pytest.mark.parametrize("aggregator", installed(*AGGREGATORS))
class TestEveryAggregator:
    def test_scale_changes_no_weight(self, aggregator):
        gram_LL = gram(draw(5, 4))
        one, tiny = (consensus_weights(gram_LL * scale, aggregator, seed=1) for scale in (1, 1e-14))
        assert one.dtype == torch.float64
        assert one.shape == (5,)
        assert one.isfinite().all()
        torch.testing.assert_close(one, tiny, rtol=1e-3, atol=1e-4)

    def test_a_language_without_gradient_takes_no_part(self, aggregator):
        gradient_LD = draw(4, 6)
        with_zero = gram(torch.cat([gradient_LD[:2], torch.zeros(1, 6, dtype=torch.float64), gradient_LD[2:]]))
        weight_L = consensus_weights(with_zero, aggregator, seed=1)
        assert weight_L[2] == 0
        without = consensus_weights(gram(gradient_LD), aggregator, seed=1)
        torch.testing.assert_close(weight_L[[0, 1, 3, 4]], without, rtol=1e-3, atol=1e-4)

    def test_no_gradient_at_all(self, aggregator):
        assert consensus_weights(torch.zeros(3, 3), aggregator).tolist() == [0, 0, 0]

    def test_one_language_is_its_own_consensus(self, aggregator):
        weight_L = consensus_weights(torch.tensor([[4.0]]), aggregator)
        assert weight_L.shape == (1,)
        assert weight_L.item() > 0

    def test_agrees_more_with_the_worst_off_language_than_the_mean_does(self, aggregator):
        gram_LL = gram([[1, 0.2], [1, -0.1], [-0.4, 0.3]])

        def worst(name):
            weight_L = consensus_weights(gram_LL, name)
            return (gram_LL @ weight_L / (gram_LL.diagonal() * (weight_L @ gram_LL @ weight_L)).sqrt()).min()

        assert worst(aggregator) >= worst("mean")

    def test_the_global_generator_is_left_alone(self, aggregator):
        before = torch.random.get_rng_state()
        first = consensus_weights(gram(draw(5, 3)), aggregator, seed=4)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.rand(3)
        assert torch.equal(consensus_weights(gram(draw(5, 3)), aggregator, seed=4), first)


@pytest.mark.parametrize("aggregator", installed("gradvac"))
def test_gradvac_of_one_step_is_pcgrad(aggregator):
    gram_LL = gram([[1, 0], [-1, 1]])
    torch.testing.assert_close(consensus_weights(gram_LL, aggregator), consensus_weights(gram_LL), rtol=1e-6, atol=0)


@pytest.mark.parametrize("aggregator", installed("upgrad", "mgda", "cagrad", "aligned-mtl"))
def test_torchjd_gets_the_gramian_as_it_is(aggregator):
    from torchjd import aggregation

    name = {"upgrad": "UPGrad", "mgda": "MGDA", "cagrad": "CAGrad", "aligned-mtl": "AlignedMTL"}[aggregator]
    weighting = getattr(aggregation, f"{name}Weighting")(**({"c": 0.5} if aggregator == "cagrad" else {}))
    gram_LL = gram(draw(5, 8))
    torch.testing.assert_close(consensus_weights(gram_LL, aggregator), weighting(gram_LL), rtol=1e-3, atol=1e-3)


def test_an_unknown_aggregator_is_refused_with_the_nearest():
    with pytest.raises(
        UserError, match=r"consensus\.aggregator 'pcgard': must be one of .*aligned-mtl; did you mean pcgrad\?"
    ):
        check_aggregator("pcgard")


@pytest.mark.parametrize("aggregator", ["upgrad", "mgda", "cagrad", "gradvac", "aligned-mtl"])
def test_without_torchjd_the_extra_is_named(monkeypatch, aggregator):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(UserError, match=rf"{aggregator}: needs the extra torchjd; pip install 'congrad\[torchjd\]'"):
        check_aggregator(aggregator)


@pytest.mark.parametrize("aggregator", ["upgrad", "cagrad"])
def test_without_a_solver_the_extra_is_named(monkeypatch, aggregator):
    pytest.importorskip("torchjd")
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'congrad\[torchjd\]'"):
        check_aggregator(aggregator)
