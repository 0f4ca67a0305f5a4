"""The whole advice on languages, called as a stage calls it."""

import numpy as np
import pytest
import torch
from tests.advice.planted import draw

from congrad.advice.budget import MEASURES
from congrad.advice.language_words import language_notes
from congrad.advice.languages import advise_on_languages
from congrad.settings.advice import Advice


def advise(pairs, factor_P, sketches=None, **options):
    return advise_on_languages(
        pairs.gradient_PD.float() if sketches is None else sketches,
        factor_N=factor_P,
        language_N=pairs.language_P,
        group_N=pairs.group_P,
        settings=Advice(**options),
    )


def test_all_parts_speak_of_the_same_gains():
    """Together is together in each of them, and alone is a division into single languages."""
    pairs = draw((15, 20, 25))
    found = advise(pairs, torch.ones(60, dtype=torch.float64), batch_size=8)
    together_E = np.nanmean(found.transfer.together_EL.value, axis=-1)
    alone_E = np.nanmean(found.transfer.alone_EL.value, axis=-1)
    for measure in MEASURES:
        np.testing.assert_allclose(found.groups[measure].cuts[0].gain.value, together_E)
        np.testing.assert_allclose(found.groups[measure].cuts[-1].gain.value, alone_E)
        assert found.groups[measure].measure == measure
    np.testing.assert_allclose(found.weights[0].gain.value, together_E)
    now = found.how_many.times_X.tolist().index(1)
    np.testing.assert_allclose(found.how_many.together.gain_EX.value[:, now], found.weights[0].promised)


def test_neither_the_sign_nor_the_scale_of_sketches_matters():
    """Sketches of other lengths, made up for by their factors; and all signs turned at once."""
    pairs = draw((15, 20, 25))
    scale_P = torch.from_numpy(np.random.default_rng(0).uniform(1e-3, 1e3, 60))
    plain = advise(pairs, torch.ones(60, dtype=torch.float64))
    scaled = advise(pairs, -scale_P, (pairs.gradient_PD / scale_P[:, None]).float())
    np.testing.assert_allclose(scaled.transfer.gain_ELL.value, plain.transfer.gain_ELL.value, rtol=1e-4)
    np.testing.assert_allclose(scaled.transfer.gain_ELL.error, plain.transfer.gain_ELL.error, rtol=1e-3)
    for measure in MEASURES:
        assert scaled.groups[measure].tree.merges == plain.groups[measure].tree.merges


def test_the_same_input_and_seed_give_the_same_numbers():
    pairs = draw((15, 20, 25))
    first, second = (advise(pairs, torch.ones(60, dtype=torch.float64), seed=3) for _ in range(2))
    assert np.array_equal(first.transfer.gain_ELL.error, second.transfer.gain_ELL.error)
    assert first.groups["budget"].chosen_over_together.value.tolist() == (
        second.groups["budget"].chosen_over_together.value.tolist()
    )


def test_a_sample_stands_for_all_pairs():
    """Half of the prompts, and of as many steps."""
    pairs = draw((60, 80), parallel=False)
    whole = advise(pairs, torch.ones(140, dtype=torch.float64), batch_size=8)
    half = advise(pairs, torch.ones(140, dtype=torch.float64), batch_size=8, max_pairs=70)
    now = whole.how_many.times_X.tolist().index(1)
    assert whole.how_many.together.num_pairs_X[now] == 140
    assert half.how_many.together.num_pairs_X[now] == pytest.approx(140)
    gains = [each.transfer.together_EL.value.mean(-1) for each in (whole, half)]
    np.testing.assert_allclose(gains[1], gains[0], rtol=0.25)


def test_pairs_without_a_gradient_and_their_language_take_no_part():
    pairs = draw((15, 20, 25))
    factor_P = torch.where(pairs.language_P == 1, 0.0, 1.0).double()
    found = advise(pairs, factor_P)
    assert found.language_L == (0, 2)
    assert found.transfer.alone_EL.value.shape == (2, 2)


@pytest.mark.parametrize("sizes", [(40,), (1, 30), (2, 2)])
def test_any_sizes_have_words(sizes):
    found = advise(draw(sizes), torch.ones(sum(sizes), dtype=torch.float64))
    notes = language_notes(found, ["de", "en"][: len(sizes)])
    assert any(note.startswith("Twice as many pairs like these") for note in notes)
    assert any("train them together" in note for note in notes) == (len(sizes) > 1)
    assert "nan" not in " ".join(notes)
