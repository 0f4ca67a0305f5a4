"""Pair weights of a mean and of the paper's moving average."""

import pytest
import torch

from congrad.consensus.accumulate import ema_weights, mean_weights


def test_a_mean_shares_equally_among_usable_pairs():
    share_P = mean_weights(torch.tensor([0, 1, 0, 0, 1]), torch.tensor([True, True, True, False, True]))
    assert share_P.tolist() == [0.5, 0.5, 0.5, 0.0, 0.5]


def test_ema_by_hand():
    # batches (a b) (c): c has 0.1 * 1, a and b share 0.1 * 0.9
    share_P = ema_weights(torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), decay=0.9, batch=2)
    assert share_P.tolist() == pytest.approx([0.045, 0.045, 0.1])


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_ema_is_the_loop_over_minibatches(batch):
    generator = torch.Generator().manual_seed(0)
    language_P = torch.randint(3, (50,), generator=generator)
    usable_P = torch.rand(50, generator=generator) > 0.1
    gradient_PD = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    share_P = ema_weights(language_P, usable_P, decay=0.8, batch=batch)
    for language in range(3):
        ema_D = torch.zeros(7, dtype=torch.float64)
        for batch_BD in gradient_PD[(language_P == language) & usable_P].split(batch):
            ema_D = 0.8 * ema_D + 0.2 * batch_BD.mean(0)
        torch.testing.assert_close(share_P[language_P == language] @ gradient_PD[language_P == language], ema_D)
    assert (share_P[~usable_P] == 0).all()
