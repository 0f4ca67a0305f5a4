"""The rule by hand; on exchangeable pairs it keeps everything, and on noise its advantage is none."""

import numpy as np
import pytest

from congrad.advice.gain import SHARES, Gain
from congrad.advice.keep_auto import choose

NOT_WATCHED = np.empty(0), np.empty((200, 0)), np.empty((0, 0))


def gains(values, spread):
    """Gains of one language whose difference from all pairs has the standard error `spread`."""
    rng = np.random.default_rng(0)
    own_G = rng.normal(size=200)
    own_G *= spread / np.sqrt((own_G**2).sum())
    made = []
    for value in values:
        influence_GL = own_G[:, None] * (1 - (value == values[-1]))
        made.append(Gain(np.array([value]), influence_GL, np.zeros(1), *NOT_WATCHED))
    return made


CURVE = [0.1, 0.3, 0.6, 0.9, 1.2, 1.25, 1.2, 1.1, 1.05, 1.0]


def test_nothing_beats_all_pairs_by_two_standard_errors():
    choice = choose(gains(CURVE, spread=0.13))  # the best leads by 0.25 < 2 x 0.13
    assert (choice.share, choice.best) == (1.0, 0.6)
    assert choice.curve[5].delta == pytest.approx(0.25)
    assert choice.curve[5].standard_error == pytest.approx(0.13)


def test_the_best_share_where_the_others_differ_for_certain():
    choice = choose(gains(CURVE, spread=0.1))  # the shares below 1 move together: their differences have no error
    assert (choice.share, choice.best) == (0.6, 0.6)


def test_the_largest_share_within_one_standard_error_of_the_best():
    made = gains(CURVE, spread=0.1)
    rng = np.random.default_rng(1)
    for number in (6, 7, 8):  # these now differ from the best by an error of 0.16
        own_G = rng.normal(size=200)
        own_G *= 0.16 / np.sqrt((own_G**2).sum())
        made[number] = Gain(made[number].value_L, made[5].influence_GL + own_G[:, None], np.zeros(1), *NOT_WATCHED)
    assert choose(made).share == 0.8  # 1.1 is within 0.16 of 1.25, 1.05 is not


def test_a_share_of_ten_tenths_is_everything():
    assert SHARES[-1] == 1
    assert choose(gains([1.0] * 10, spread=0.1)).share == 1.0


@pytest.mark.slow
def test_on_clean_exchangeable_pairs_everything_is_kept(advised):
    """In 95% of the runs or more; 60 runs, so 54 are two standard errors below."""
    kept_all = [
        advised(seed, num_languages=3, each=30, dims=40, signal=0.7).chosen["budget"].choice.share == 1
        for seed in range(60)
    ]
    assert sum(kept_all) >= 54


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_on_pure_noise_the_choice_has_no_advantage(advised, parallel):
    """What is chosen is read where it was not chosen: within 3 standard errors of nothing."""
    found = [
        advised(seed, num_languages=2, each=30, dims=10, parallel=parallel).chosen[measure]
        for seed in range(60)
        for measure in ("budget",)
    ]
    delta_R = np.array([each.gains.mean.delta for each in found])
    assert abs(delta_R.mean()) <= 3 * delta_R.std(ddof=1) / np.sqrt(len(delta_R))
    assert sum(each.choice.share < 1 for each in found) <= 8  # of 60: 5% and three standard errors
