"""The rule of a conflict by hand, and what is read of languages.json."""

import json
from dataclasses import replace

import numpy as np
import pytest

from congrad.filtering.comparison import (
    LanguagesFile,
    conflicts_in_words,
    language_pairs,
    most_opposed,
    read_comparison,
    verdicts_in_words,
)
from congrad.filtering.finished import open_run


def test_language_pairs_are_sorted_by_their_cosines(run_directory, tmp_path):
    compared = open_run(run_directory(tmp_path / "run", conflict=(2, 5))).comparison
    first, *others = language_pairs(compared)
    assert (first.first, first.second, first.cosine, first.low, first.high) == ("el", "fr", -0.4, -0.6, -0.2)
    assert first.conflict is True
    assert {pair.verdict for pair in others} == {"agree", "cannot tell"}
    assert verdicts_in_words([first] * 3 + [replace(first, verdict="agree")]) == (
        "language pairs: 3 conflict, 1 agree, 0 cannot tell; for half of them, this data could show a cosine of 0.25 "
        "or more, noise taken out"
    )
    unknown = [replace(first, verdict="cannot tell", smallest=float("nan"))]
    told = verdicts_in_words([*unknown * 2, first])
    assert told.endswith("; for most of them, this data has too few pairs to show any")
    assert verdicts_in_words([]) == ""
    assert len(others) == 13 * 12 / 2 - 1
    cosines = [pair.cosine for pair in others]
    assert cosines == sorted(cosines)
    assert most_opposed("fr", [first, *others]) == ("el", first)
    assert most_opposed("xx", others) is None
    assert conflicts_in_words([first, *others]) == "el – fr -0.40 [-0.60, -0.20]"
    assert conflicts_in_words([first] * 5, most=2).endswith("[-0.60, -0.20], and 3 more")
    assert compared.too_few == []


@pytest.mark.parametrize("each", [50, 4])
def test_an_older_run_has_the_verdicts_of_its_time(run_directory, tmp_path, each):
    """Before there were verdicts: conflict is true, false or null; before that, intervals and numbers of pairs."""
    content = json.loads((run_directory(tmp_path / "run", each=each, conflict=(2, 5)) / "languages.json").read_text())
    new = {"verdict", "cosine_corrected_interval", "cosine_smallest"}
    oldest = {key: value for key, value in content.items() if key not in new} | {"conflict_min_pairs": 20}
    flags = [[None if each < 20 else word == "conflict" for word in row] for row in content["verdict"]]
    for old in (oldest, oldest | {"conflict": flags}):
        compared = read_comparison(LanguagesFile.model_validate(old).model_dump())
        expected = [["conflict" if word == "conflict" else "cannot tell" for word in row] for row in content["verdict"]]
        assert compared.verdict_LL.tolist() == expected
        assert np.isnan(compared.smallest_LL).all()
        assert language_pairs(compared)[0].effect_figures == "-0.40 [-0.60, -0.20]", "as measured"
    assert verdicts_in_words(language_pairs(compared)).endswith("cannot tell"), "nothing of what could be shown"


def test_what_was_written_counts(run_directory, tmp_path):
    path = run_directory(tmp_path / "run", conflict=(2, 5)) / "languages.json"
    content = json.loads(path.read_text()) | {"conflict_min_pairs": 60}
    content["verdict"][2][5] = content["verdict"][5][2] = "cannot tell"
    content["cosine_corrected"][2][5] = -1.2
    compared = read_comparison(content)
    first = language_pairs(compared)[0]
    assert (first.verdict, first.conflict, first.corrected) == ("cannot tell", False, -1)
    assert len(compared.too_few) == 13
