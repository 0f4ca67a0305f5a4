"""Every kind of verdict, from figures by hand; and what its sentences must say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.advice.conftest import made
from tests.advice.planted import draw

from congrad.advice.advise import Advice, Option, advise
from congrad.advice.budget import Budget
from congrad.advice.figures import Chosen, Estimate, Gains
from congrad.advice.gain import SHARES
from congrad.advice.keep_auto import Choice, Point
from congrad.advice.languages import advise_on_languages
from congrad.advice.verdict import SAME_SOURCE, judge, rounded_up
from congrad.advice.watched import WatchedLanguage
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus


def advice(share=1.0, *, delta=0.0, error=0.02, low=0.8, equal=None, procedure=(0.3, 0.1, 0.5), left=0.9, value=1.0):
    """All pairs gain `value`; the best smaller share is 0.7, and its difference from them is `delta`."""

    def gains(mean):
        return Gains(mean, mean, 0, (mean,), left * value, ())

    everything = Estimate(value, low, 2 - low, 0, 0, 0)
    best = Estimate(value + delta, low, 2 - low, delta, delta - 2 * error, delta + 2 * error)
    curve = tuple(Point(each, value + delta - abs(each - 0.7), delta - abs(each - 0.7), error) for each in SHARES[:-1])
    curve = (*curve, Point(1.0, value, 0.0, 0.0))
    options = [Option("all", 1.0, 100, None, dict.fromkeys(("budget", "equal_length"), gains(everything)))]
    options += [Option("congrad", each, 70, None, {"budget": gains(best)}) for each in SHARES]
    chosen = {
        measure: Chosen(Choice(chosen, 0.7, curve), (chosen,) * 5, gains(Estimate(value, low, 2, *procedure)))
        for measure, chosen in (("budget", share), ("equal_length", share if equal is None else equal))
    }
    return Advice(Budget(2, 16), 100, 100, 100, (0,), 5, tuple(options), chosen)


def test_filter():
    found = judge(advice(0.7, delta=0.3), ["de"])
    assert (found.kind, found.share) == ("filter", 0.7)
    assert found.sentence == (
        "Filter: keep 70% of every language. Predicted gain on held-out pairs, compared with all pairs: "
        "+30% [+10%, +50%]."
    )
    assert found.basis == (
        "Predicted, to first order, at the start of training, for 2 epochs in batches of 16; real trainings ranked "
        "five options as it does with a Spearman of 0.7 with wrong labels, 0.9 without (docs/evidence.md)."
    )
    assert found.notes == (SAME_SOURCE, "Between responses of one length, 69% of the predicted gain is left.")


def test_an_interval_that_reaches_zero_is_said():
    found = judge(advice(0.7, delta=0.3, procedure=(0.1, -0.05, 0.3)), ["de"])
    assert found.kind == "filter"
    assert found.sentence == (
        "Filter, perhaps: keep 70% of every language. Predicted gain on held-out pairs, compared with all pairs: "
        "+30% [+26%, +34%] on those that chose this share, but +10% [-5%, +30%] for the whole choosing procedure on "
        "those that had no part in it. That is a hint, and no proof."
    )


def test_no_difference_that_this_data_can_show():
    found = judge(advice(delta=0.01, error=0.02), ["de"])
    assert (found.kind, found.share, found.needed_pairs) == ("no-difference", 1.0, None)
    assert "Predicted gain of the best smaller share, 70%, compared with all pairs: +1% [-3%, +5%]" in found.sentence


def test_do_not_filter():
    found = judge(advice(delta=-0.2, error=0.02), ["de"])
    assert found.kind == "keep-all"
    assert found.sentence.startswith("Do not filter: keep all pairs.")


def test_too_few_pairs_and_how_many_would_do():
    # Two standard errors are 0.2, a tenth of the gain is 0.1: half the error takes four times the pairs.
    found = judge(advice(delta=0.01, error=0.1), ["de"])
    assert (found.kind, found.needed_pairs) == ("too-few", 400)
    assert "About 400 pairs would be enough to see a difference of 10%." in found.sentence


def test_where_all_pairs_gain_nothing_there_is_no_number():
    found = judge(advice(value=-0.1, low=-1.0, delta=0.0, error=0.1), ["de"])
    assert (found.kind, found.needed_pairs) == ("too-few", None)
    assert "What one part of them teaches does not even help the others." in found.sentence


def watching(found, *, value=0.5, low=0.3, high=0.7, procedure=(0.0, -0.1, 0.1), num_prompts=20):
    """The same with a watched language, which gains `value` from all pairs."""

    def with_watched(gains, estimate):
        return replace(gains, watched=(estimate,), watched_mean=estimate)

    of_all = Estimate(value, low, high, 0, 0, 0)
    options = tuple(
        replace(each, gains={name: with_watched(gains, of_all) for name, gains in each.gains.items()})
        for each in found.options
    )
    of_chosen = Estimate(value + procedure[0], low, high, *procedure)
    chosen = {name: replace(each, gains=with_watched(each.gains, of_chosen)) for name, each in found.chosen.items()}
    watched = (WatchedLanguage(0, 20, num_prompts),)
    return judge(replace(found, options=options, chosen=chosen, watched=watched), ["de"], watched=["xx"])


def test_clear_harm_to_watched_pairs_decides_against_filtering():
    found = watching(advice(0.7, delta=0.3), procedure=(-0.2, -0.3, -0.1))
    assert (found.kind, found.share) == ("keep-all", 1.0)
    assert found.sentence == (
        "Do not filter: keep all pairs. To keep 70% of every language is predicted to make the watched pairs worse: "
        "-40% [-60%, -20%], compared with all pairs."
    )
    assert found.notes[0] == "The watched pairs decide. By the pairs' own labels: +30% [+10%, +50%]."
    assert "Watched pairs, predicted gain from all pairs: 0.5 [0.3, 0.7], where held-out pairs gain 1." in found.notes


@pytest.mark.parametrize(("procedure", "num_prompts"), [((-0.2, -0.4, 0.01), 20), ((-0.2, -0.3, -0.1), 7)])
def test_harm_that_is_not_clear_is_said_and_decides_nothing(procedure, num_prompts):
    found = watching(advice(0.7, delta=0.3), procedure=procedure, num_prompts=num_prompts)
    assert (found.kind, found.share) == ("filter", 0.7)
    assert any(note.startswith("Watched pairs, predicted gain compared with all pairs: -40% [") for note in found.notes)
    few = "Watched with fewer than 8 prompts, so that intervals are too narrow: xx."
    assert (few in found.notes) == (num_prompts < 8)


def test_watched_pairs_never_choose_a_share():
    assert watching(advice(), procedure=(0.5, 0.4, 0.6)).share == 1.0


def test_the_tax_of_training_at_all_is_said():
    tax = "Watched, and predicted to get worse from training on all pairs: xx."
    assert tax in watching(advice(), value=-0.5, low=-0.7, high=-0.3).notes
    assert tax not in watching(advice(), value=-0.5, low=-0.7, high=0.1).notes


def test_too_few_prompts_to_hold_any_out():
    found = judge(Advice(Budget(1, 32), 9, 9, 9, (0,), 5, (), {}), ["de"])
    assert (found.kind, found.needed_pairs) == ("too-few", 20)
    assert found.basis == "", "nothing was predicted"
    assert "9 prompts, and at least 20 are needed" in found.sentence


def test_groups_are_recommended_where_they_clearly_gain():
    """Two blocks of languages whose gradients are opposed."""
    block_L = np.array([1.0, -1, -1, 1])
    pairs = draw((30,) * 4, mean_LD=block_L[:, None] * np.eye(12)[0] * 2, noise=0.5)
    inputs = {"factor_N": torch.ones(120), "language_N": pairs.language_P, "group_N": pairs.group_P}
    inputs |= {"settings": Settings(batch_size=8, num_resamples=50)}
    sketches, names = pairs.gradient_PD.float(), ["de", "en", "zh", "fr"]
    lengths = np.arange(120.0)
    found = advise(sketches, **inputs, length_N=lengths, given={}, consensus=Consensus(aggregator="mean"))
    assert judge(found, names).kind != "groups"
    verdict = judge(found, names, advise_on_languages(sketches, **inputs))
    assert (verdict.kind, verdict.groups) == ("groups", (("de", "fr"), ("en", "zh")))
    assert verdict.sentence.startswith("Train in 2 groups, with an adapter for each: de, fr; en, zh. Predicted gain")
    assert not any("train them together" in note for note in verdict.notes)


def test_two_budgets_that_disagree_are_said():
    notes = judge(advice(0.7, delta=0.3, equal=0.5), ["de"]).notes
    assert any("The two budgets disagree" in note and "would be 50%, not 70%" in note for note in notes)
    assert not any("disagree" in note for note in judge(advice(0.7, delta=0.3), ["de"]).notes)


def test_languages_that_get_worse_are_named():
    found = advice(0.7, delta=0.3, low=0.8)
    worse = replace(found.options[7].gains["budget"], languages=(Estimate(-0.5, -0.7, -0.3, 0, 0, 0),))
    options = (*found.options[:7], replace(found.options[7], gains={"budget": worse}), *found.options[8:])
    notes = judge(replace(found, options=options), ["de"]).notes
    assert "Predicted to get worse from it, because the others pull the other way: de." in notes


@pytest.mark.parametrize(("count", "number"), [(3.2, 4), (101, 110), (1234.5, 1300), (99_001, 100_000)])
def test_numbers_of_pairs_are_rounded_up_to_two_digits(count, number):
    assert rounded_up(count) == number


@pytest.mark.parametrize("seed", range(3))
def test_a_judge_of_length_alone_is_never_followed_without_a_word(seed):
    """A careless judge looks at the length alone, and so do the gradients: filtering helps to learn the length."""
    rng = np.random.default_rng(seed)
    pairs = made(seed, num_languages=2, each=400, dims=20)
    length_N = rng.uniform(15, 25, 800)
    careless_N = rng.random(800) < 0.3
    by_length_ND = 0.05 * length_N[:, None] * np.eye(20)[0]
    by_length_ND[careless_N] *= -1
    sketches = torch.from_numpy(by_length_ND).float() + pairs["sketches"]
    length_N[careless_N] *= -1
    pairs |= {"sketches": sketches, "length_N": length_N}
    found = judge(
        advise(**pairs, consensus=Consensus(aggregator="mean"), settings=Settings(num_resamples=50), aggregators=()),
        ["a", "b"],
    )
    assert found.kind == "filter"
    assert SAME_SOURCE in found.notes
    assert any("most of what these labels teach goes with length" in note for note in found.notes)
