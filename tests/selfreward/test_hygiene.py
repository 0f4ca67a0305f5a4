"""The judge's figures, each against a value worked by hand or published."""

import io
import math
from typing import Any

import pytest
from rich.console import Console

from congrad.selfreward.hygiene import (
    entropy_bits,
    hygiene_table,
    hygiene_warnings,
    krippendorff_alpha,
    measure_hygiene,
    nearest,
    sample_difference,
    spearman,
    tie_rate,
)
from congrad.tables import to_markdown, to_terminal


def test_alpha_is_that_of_the_published_example() -> None:
    # Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section E: four observers, twelve units, 0.849.
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[float(score) for score in unit if score is not None] for unit in zip(*observers, strict=True)]
    alpha = krippendorff_alpha(units)
    assert alpha is not None
    assert round(alpha, 3) == 0.849


def test_alpha_by_hand() -> None:
    # Values 1 1 3 4: D_o = (0 + 0 + 1 + 1) / 4 = 1/2. D_e: of 12 ordered pairs 2 of 0, 4 of 2^2, 4 of 3^2, 2 of 1^2.
    assert krippendorff_alpha([[1, 1], [3, 4], [5]]) == pytest.approx(1 - (1 / 2) / (54 / 12))
    assert krippendorff_alpha([[2, 2], [4, 4, 4]]) == 1
    assert krippendorff_alpha([[3, 3], [3, 3]]) is None
    assert krippendorff_alpha([[3], [4], []]) is None


def test_two_samples_of_one_response_lie_so_far_apart() -> None:
    # [1, 2, 4]: 1, 3 and 2, on average 2; [5, 5]: 0; a single score has no partner.
    assert sample_difference([[1, 2, 4], [5, 5], [0]]) == 1
    assert sample_difference([[1], []]) is None


def test_entropy_is_in_bits() -> None:
    assert entropy_bits([3, 3, 3]) == 0
    assert math.copysign(1, entropy_bits([3, 3, 3]) or 0.0) == 1
    assert entropy_bits([0, 1, 2, 3]) == 2
    assert entropy_bits([1, 1, 2, 2, 3, 3, 4, 5]) == pytest.approx(3 * 0.5 + 2 * 3 / 8)
    assert entropy_bits([]) is None
    assert [nearest(score) for score in (0, 0.5, 1.49, 2.5, 5)] == [0, 1, 1, 3, 5]


def test_a_tie_is_between_the_two_best_of_a_prompt() -> None:
    keys = ["a", "a", "a", "b", "b", "b", "c", "d", "d"]
    scores = [4, 4, 1, 5, 2, 2, 3, None, 3]
    assert tie_rate(keys, scores) == 1 / 2  # a ties, b does not, c and d have one score each
    assert tie_rate(["a"], [1]) is None


def test_spearman_with_ties_by_hand() -> None:
    # Ranks 1 2.5 2.5 4 and 1 3 2 4: both centred, the product is 4.5, the squares 4.5 and 5.
    assert spearman([10, 20, 20, 30], [1, 3, 2, 9]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert spearman([1, 2, 3], [9, 8, 7]) == pytest.approx(-1)
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([1], [2]) is None


def rows() -> tuple[list[dict[str, Any]], list[list[float | None]]]:
    responses = [
        {"language": "de", "prompt_key": "p", "response": "a" * 10},
        {"language": "de", "prompt_key": "p", "response": "a" * 20},
        {"language": "de", "prompt_key": "q", "response": "a" * 30},
        {"language": "de", "prompt_key": "q", "response": "a" * 40},
        {"language": "|[red]ja", "prompt_key": "r", "response": "ab"},
    ]
    return responses, [[1, 2], [2, None], [4, 4], [4, 4], [None, None]]


def test_figures_of_a_language_by_hand() -> None:
    hygiene = measure_hygiene(*rows())
    assert hygiene["languages"]["de"] == {
        "responses": 4,
        "judgements": 8,
        "scored": 4,
        "parse_rate": 0.875,
        "tie_rate": 0.5,  # 1.5 < 2, 4 = 4
        "entropy_bits": 1.0,  # 1.5 and 2 are two points, 4 and 4 four
        "sample_difference": 0.3333,  # of [1, 2], [4, 4], [4, 4]
        # D_o = 2 / 6; values 1 2 4 4 4 4: 30 ordered pairs, 2 of 1, 8 of 9, 8 of 4.
        "alpha": round(1 - (2 / 6) / ((2 + 72 + 32) / 30), 4),
        "mean_score": 2.875,
        "mean_length": 25.0,
        # Ranks 1 2 3 4 and 1 2 3.5 3.5.
        "length_correlation": round(4.5 / math.sqrt(5 * 4.5), 4),
        "mean_length_by_score": {"2": 15.0, "4": 35.0},
    }
    other = hygiene["languages"]["|[red]ja"]
    assert (other["responses"], other["scored"], other["parse_rate"]) == (1, 0, 0)
    assert other["tie_rate"] is other["entropy_bits"] is other["alpha"] is other["mean_score"] is None
    assert hygiene["all"]["parse_rate"] == 0.7
    assert hygiene["all"]["mean_length"] == 20.4


def test_real_numbers_have_no_entropy() -> None:
    hygiene = measure_hygiene(rows()[0], [[0.1], [-7.3], [2.0], [2.5], [None]], rubric=False)
    assert hygiene["all"]["entropy_bits"] is None
    assert hygiene["all"]["mean_length_by_score"] == {}
    assert hygiene["all"]["length_correlation"] == pytest.approx(0.8)


def test_tables_show_every_language_and_escape_its_name() -> None:
    hygiene = measure_hygiene(*rows())
    markdown = to_markdown(hygiene_table(hygiene)).splitlines()
    assert markdown[0].startswith("| language | answers | parsed | tied | entropy, bits |")
    assert markdown[2] == "| de | 4 | 88% | 50% | 1.00 | 0.33 | 0.91 | 2.88 | 25 | +0.95 |"
    assert markdown[3] == r"| \|\[red\]ja | 1 | 0% | – | – | – | – | – | 2 | – |"
    assert markdown[4].startswith("| all | 5 | 70% |")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(to_terminal(hygiene_table(hygiene)))
    text = console.export_text()
    assert "|[red]ja" in text
    assert "length ~ score" in text
    assert [line.split()[0] for line in text.splitlines()] == ["language", "de", "|[red]ja", "all"]


def test_warnings_name_the_languages() -> None:
    responses = [
        {"language": language, "prompt_key": language, "response": "x" * length}
        for language in ("de", "fr", "ja", "th")
        for length in (3, 4)
    ]
    scores: list[list[float | None]] = [[1], [4], [3, None, None], [3, None, None], [None], [None], [3, 3], [3, 3]]
    assert hygiene_warnings(measure_hygiene(responses, scores)) == [
        "the judge never gives a score that can be read in ja: they get no pairs",
        "the judge gives a score that can be read in less than half of its judgements in fr (33%)",
        "the judge gives all answers the same score in fr, th, to the nearest point",
    ]
    assert hygiene_warnings(measure_hygiene(responses[:2], scores[:2])) == []
