"""The rule of a conflict by hand, and what is read of languages.json."""

import json

import numpy as np
import pytest

from congrad.consensus.conflict import by_chance, conflict_matrix
from congrad.filtering.comparison import conflicts_in_words, language_pairs, most_opposed, read_comparison
from congrad.filtering.finished import open_run


def test_a_conflict_has_its_interval_below_zero_and_enough_pairs():
    high_LL = np.array([[1.0, -0.1, 0.2, -0.3], [-0.1, 1.0, np.nan, 0.0], [0.2, np.nan, 1.0, -0.4], [-0.3, 0, -0.4, 1]])
    interval_LL2 = np.stack([high_LL - 0.2, high_LL], axis=-1)
    assert conflict_matrix(interval_LL2, np.array([20, 20, 500, 19])) == [
        [None, True, False, None],
        [True, None, None, None],
        [False, None, None, None],
        [None, None, None, None],
    ]


def test_conflicts_by_chance():
    assert by_chance(78) == "about 2 of 78 language pairs would look like a conflict by chance"
    assert by_chance(28).startswith("about 1 of 28")
    assert by_chance(3) == ""


def test_language_pairs_are_sorted_by_their_cosines(run_directory, tmp_path):
    compared = open_run(run_directory(tmp_path / "run", conflict=(2, 5))).comparison
    first, *others = language_pairs(compared)
    assert (first.first, first.second, first.cosine, first.low, first.high) == ("el", "fr", -0.4, -0.6, -0.2)
    assert first.conflict is True
    assert {pair.conflict for pair in others} == {False}
    assert len(others) == 13 * 12 / 2 - 1
    cosines = [pair.cosine for pair in others]
    assert cosines == sorted(cosines)
    assert most_opposed("fr", [first, *others]) == ("el", first)
    assert most_opposed("xx", others) is None
    assert conflicts_in_words([first, *others]) == "el – fr -0.40 [-0.60, -0.20]"
    assert conflicts_in_words([first] * 5, most=2).endswith("[-0.60, -0.20], and 3 more")
    assert compared.too_few == []


@pytest.mark.parametrize("each", [50, 4])
def test_an_older_run_has_its_conflicts_found_when_it_is_read(run_directory, tmp_path, each):
    path = run_directory(tmp_path / "run", each=each, conflict=(2, 5)) / "languages.json"
    content = json.loads(path.read_text())
    old = {key: value for key, value in content.items() if not key.startswith("conflict")}
    np.testing.assert_array_equal(read_comparison(old).conflict_LL, read_comparison(content).conflict_LL)
    assert read_comparison(old).min_pairs == 20


def test_what_was_written_counts(run_directory, tmp_path):
    path = run_directory(tmp_path / "run", conflict=(2, 5)) / "languages.json"
    content = json.loads(path.read_text()) | {"conflict_min_pairs": 60}
    content["conflict"][2][5] = content["conflict"][5][2] = None
    compared = read_comparison(content)
    assert language_pairs(compared)[0].conflict is None
    assert len(compared.too_few) == 13
