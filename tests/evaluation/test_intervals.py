"""Intervals: by hand, against exact enumeration of all bootstrap draws, and how often they hold the truth."""

import itertools
import math

import numpy as np
import pytest

from congrad.evaluation.intervals import Examples, constant, figure, mean, normal, wilson


def drawn(examples: Examples, seed: int = 0, name: str = "de", draws: int = 4000):
    return figure(examples, seed=seed, name=name, draws=draws)


def test_wilson_by_hand():
    # 8 of 10, z = 1.96 (Brown, Cai and DasGupta 2001 use the same form): (0.8 + 0.192073) / 1.384146 = 0.71674,
    # reach 1.96 / 1.384146 * sqrt(0.016 + 0.0096036) = 0.22659.
    assert wilson(0.8, 10, 0.95) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    low, high = wilson(1.0, 20, 0.95)
    assert high == 1.0
    assert low == pytest.approx(20 / (20 + 1.959964**2))  # n / (n + z^2)
    assert wilson(0.0, 20, 0.95)[0] == 0.0


def test_a_proportion_has_wilsons_interval_and_a_repeated_prompt_the_bootstraps():
    values = [1, 1, 0, 1, 0.5, 1, 1, 0]
    alone = drawn(Examples.of(values))
    assert alone.value == 5.5 / 8
    assert alone.interval(0.95) == wilson(5.5 / 8, 8, 0.95)
    clustered = drawn(Examples.of(values, ["a", "a", "b", "b", "c", "c", "d", "d"]))
    assert clustered.value == alone.value
    assert clustered.interval(0.95) != alone.interval(0.95)


def test_draws_are_those_of_all_resamples_of_the_clusters():
    """Three clusters of 1, 2 and 3 examples: all 27 resamples, enumerated."""
    values, clusters = [1, 0, 0, 1, 1, 0], [0, 1, 1, 2, 2, 2]
    sums, sizes = [1, 0, 2], [1, 2, 3]
    every = [
        sum(sums[c] for c in chosen) / sum(sizes[c] for c in chosen) for chosen in itertools.product(range(3), repeat=3)
    ]
    found = drawn(Examples.of(values, clusters), draws=50_000).draw_D
    assert set(found.round(9)) == set(np.round(every, 9))
    assert found.mean() == pytest.approx(np.mean(every), abs=0.005)
    assert found.std() == pytest.approx(np.std(every), abs=0.005)


def test_two_models_are_drawn_alike():
    """One is better by 1/10 on every example: the difference has no noise, whatever the examples' own spread."""
    generator = np.random.default_rng(0)
    base = generator.random(40) * 0.5
    delta = drawn(Examples.of(base + 0.1)) - drawn(Examples.of(base))
    assert delta.interval(0.95) == pytest.approx((0.1, 0.1))
    unpaired = drawn(Examples.of(base + 0.1), name="other") - drawn(Examples.of(base))
    low, high = unpaired.interval(0.95)
    assert high - low > 0.05


def test_a_delta_agrees_with_the_bootstrap_of_the_differences():
    generator = np.random.default_rng(1)
    one, other = generator.integers(0, 2, 60), generator.integers(0, 2, 60)
    delta = drawn(Examples.of(one)) - drawn(Examples.of(other))
    low, high = delta.interval(0.95)
    differences = one - other
    rows = generator.integers(0, 60, (20_000, 60))
    expected = np.quantile(differences[rows].mean(axis=1), [0.025, 0.975])
    assert delta.value == pytest.approx(differences.mean())
    assert (low, high) == pytest.approx(tuple(expected), abs=0.02)


def test_a_ratio_and_a_function_of_it():
    # 6 nats over 3 bytes and 2 over 5: 1 nat a byte, not the mean of 2 and 0.4.
    examples = Examples.of_ratio([6.0, 2.0], [3.0, 5.0])
    found = drawn(examples)
    assert found.value == 1.0
    assert set(found.draw_D.round(9)) == {2.0, 1.0, 0.4}
    assert found.proportions == ()
    assert found.map(np.exp).value == pytest.approx(math.e)
    assert set(found.map(np.exp).draw_D.round(6)) == set(np.exp([2.0, 1.0, 0.4]).round(6))


def test_a_mean_over_languages_weighs_them_alike():
    large, small = Examples.of([1.0] * 90 + [0.0] * 10), Examples.of([0.0, 1.0])
    figures = [drawn(large, name="en"), drawn(small, name="sw")]
    both = mean(figures, 4000)
    assert both.value == pytest.approx((0.9 + 0.5) / 2)
    # Independent: variances of the means add, 0.09 / 100 and 0.25 / 2, over 4.
    assert both.draw_D.std() == pytest.approx(math.sqrt((0.09 / 100 + 0.25 / 2) / 4), rel=0.05)
    missing = drawn(Examples.of([]), name="et")
    assert mean([figures[0], missing], 4000) is figures[0]
    assert math.isnan(mean([missing], 4000).value)
    assert all(math.isnan(bound) for bound in missing.interval(0.95))


def test_seeds_and_names_decide_the_draws():
    examples = Examples.of([1, 0, 1, 1, 0, 0, 1])
    assert (drawn(examples).draw_D == drawn(examples).draw_D).all()
    assert (drawn(examples).draw_D != drawn(examples, seed=1).draw_D).any()
    assert (drawn(examples).draw_D != drawn(examples, name="en").draw_D).any()


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    generator, truth, held, rounds = np.random.default_rng(2), 0.7, 0, 300
    for number in range(rounds):
        # Three examples a prompt that are all alike: taken for independent, the interval would be far too short.
        right = generator.random(50) < truth
        values = np.repeat(right, 3)
        low, high = figure(
            Examples.of(values, np.repeat(np.arange(50), 3).tolist()), seed=number, name="x", draws=400
        ).interval(0.9)
        held += low <= truth <= high
    assert 0.84 < held / rounds < 0.95


def test_a_normal_figure_and_a_constant():
    found = normal(0.5, 0.1, 40, seed=0, name="x", draws=20_000)
    assert found.interval(0.95) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=0.01)
    assert constant(0.5, 3, 10).interval(0.95) == (0.5, 0.5)


def test_five_of_five_is_no_certainty():
    """A difference from an exact value, and a mean over languages, are as uncertain as the few examples are."""
    five = drawn(Examples.of([1.0] * 5))
    low, high = wilson(1.0, 5, 0.95)
    assert set(five.draw_D) == {1.0}
    assert (five - constant(0.5, 5, 4000)).interval(0.95) == pytest.approx((low - 0.5, high - 0.5))
    # Two languages: sqrt(2) times the reach of one, over 2.
    both = mean([five, drawn(Examples.of([1.0] * 5), name="en")], 4000)
    assert both.interval(0.95) == pytest.approx((1 - (1 - low) / math.sqrt(2), 1.0))
    half = mean([constant(0.5, 5, 4000)] * 2, 4000)
    assert (both - half).interval(0.95) == pytest.approx((0.5 - (1 - low) / math.sqrt(2), 0.5))


def test_a_mean_of_many_examples_has_the_same_interval_either_way():
    generator = np.random.default_rng(3)
    figures = [drawn(Examples.of(generator.random(400) < 0.6), name=name) for name in ("de", "en", "sw")]
    both = mean(figures, 4000)
    low, high = np.quantile(both.draw_D, [0.025, 0.975])
    assert both.interval(0.95) == pytest.approx((low, high), abs=0.005)
