"""The two budgets, worked by hand."""

import numpy as np
import pytest

from congrad.advice.budget import Budget, step_factor

TWO_EPOCHS = Budget(2, 4)


def factor(measure, budget=TWO_EPOCHS, squared_norm=4.0, mean_square=20.0, num_pairs=100):
    return step_factor(measure, budget, squared_norm=squared_norm, mean_square=mean_square, num_pairs=num_pairs)


def test_at_equal_step_length_by_hand():
    assert factor("equal_length") == 0.5  # 1 / sqrt(4), whatever the budget


def test_for_a_budget_by_hand():
    # 2 epochs of 100 pairs in batches of 4 are 50 steps; a batch's squared length is 4 + (20 - 4) / 4 = 8.
    assert factor("budget") == pytest.approx(50 / np.sqrt(8))


def test_in_one_batch_of_everything_a_step_is_as_long_as_the_mean():
    assert factor("budget", Budget(1, 10**12), num_pairs=10**12) == pytest.approx(1 / 2, rel=1e-6)


def test_single_pairs_are_as_long_as_they_are():
    assert factor("budget", Budget(1, 1)) == pytest.approx(100 / np.sqrt(20))


def test_no_direction_is_worth_nothing():
    assert factor("equal_length", squared_norm=np.array([0.0, 4.0])).tolist() == [0, 0.5]


def test_steps_that_are_given_are_there_for_few_pairs_too():
    # A batch's squared length is 4 + (20 - 4) / 4 = 8 as above, and every option has the 30 steps.
    given = factor("budget", Budget(2, 4, steps=30), num_pairs=np.array([10, 100]), squared_norm=np.array([4.0, 4.0]))
    assert given == pytest.approx(np.full(2, 30 / np.sqrt(8)))


def test_parts_share_the_steps_that_are_given():
    shared = Budget(2, 4, steps=50).in_epochs(100)
    assert shared == Budget(2, 4)  # 50 steps of 4 pairs are two epochs of 100
    assert TWO_EPOCHS.in_epochs(100) == TWO_EPOCHS


def test_a_budget_in_words():
    assert TWO_EPOCHS.in_words == "2 epochs in batches of 4"
    assert Budget(1, 4).in_words == "1 epoch in batches of 4"
    assert Budget(1, 4, 30).in_words == "30 steps in batches of 4"
