"""The tables: figures by hand, and means over the right languages."""

import numpy as np
import pytest

from congrad.evaluation.intervals import Examples, constant, figure
from congrad.evaluation.table import Languages, Metric, evaluation_markdown, metric_content, metric_table, number
from congrad.tables import markdown_cell, to_markdown

DRAWS = 500


def drawn(values, name="de"):
    return figure(Examples.of(values), seed=0, name=name, draws=DRAWS)


@pytest.fixture
def metric() -> Metric:
    half = {language: constant(0.5, 5, DRAWS) for language in ("de", "en", "sw", "th")}
    own = {
        "de": drawn([1.0] * 8 + [0.0] * 2, "de"),
        "en": drawn([1.0] * 6 + [0.0] * 4, "en"),
        "sw": drawn([1.0] * 5, "sw"),
        "th": drawn([0.0] * 5, "th"),
    }
    return Metric("m", "Accuracy", "preference", "percent", True, {"M0": half, "ConGrad": own})


def content(metric, seen=("en", "de"), unseen=("sw",)):
    return metric_content(metric, Languages(seen, unseen), "M0", confidence=0.95, draws=DRAWS)


def test_figures_and_means(metric):
    found = content(metric)
    assert found["languages"] == ["en", "de", "sw", "th"], "as the settings have them, the rest by name"
    row = found["rows"]["ConGrad"]
    assert row["languages"]["de"]["value"] == 0.8
    assert (row["languages"]["de"]["low"], row["languages"]["de"]["high"]) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert row["languages"]["de"]["delta"] == pytest.approx(0.3)
    assert row["languages"]["de"]["count"] == 10
    assert row["seen"]["value"] == pytest.approx(0.7)
    assert row["seen"]["count"] == 20
    assert row["seen"]["delta_low"] == pytest.approx(row["seen"]["low"] - 0.5)
    assert row["unseen"]["value"] == 1.0
    assert row["mean"]["value"] == pytest.approx((0.8 + 0.6 + 1 + 0) / 4)
    assert "delta" not in found["rows"]["M0"]["seen"], "it is what the others are measured by"


def test_without_lists_every_language_is_seen(metric):
    row = content(metric, (), ())["rows"]["ConGrad"]
    assert row["seen"] == row["mean"]
    assert row["unseen"]["value"] is None


def test_cells():
    def cell(content, unit):
        return markdown_cell(number(content, unit))

    figures = {"value": 0.612, "low": 0.551, "high": 0.67, "delta": 0.112, "delta_low": 0.05, "delta_high": 0.17}
    assert cell(figures, "percent") == "61.2 [55.1, 67.0]<br>**+11.2 [+5.0, +17.0]**"
    assert cell(figures | {"delta_low": -0.01}, "percent") == "61.2 [55.1, 67.0]<br>+11.2 [-1.0, +17.0]"
    assert cell(figures | {"delta": -1e-9}, "percent").split("<br>")[1].startswith("**0.0")
    assert cell({"value": 1.23456, "low": 1.2, "high": 1.3}, "bits") == "1.235 [1.200, 1.300]"
    assert cell({"value": 0.5, "low": 0.5, "high": 0.5}, "percent") == "50.0"
    assert cell({"value": 0.5, "low": None, "high": None}, "percent") == "50.0"
    assert cell(None, "percent") == cell({"value": None}, "plain") == "–"


def test_a_metrics_table(metric):
    extra = {"tasks": {"M0": "M0", "ConGrad": "CONGRAD"}}
    lines = to_markdown(metric_table(content(metric), ["M0", "ConGrad"], extra)).splitlines()
    assert lines[0] == "| model | en | de | sw | th | seen mean | unseen mean | tasks |"
    assert lines[2] == "| M0 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | M0 |"
    cells = [each.strip() for each in lines[3].strip("|").split("|")]
    assert cells[0] == "ConGrad"
    assert cells[2] == "80.0 [49.0, 94.3]<br>+30.0 [-1.0, +44.3]"
    assert cells[3] == "100.0 [56.6, 100.0]<br>**+50.0 [+6.6, +50.0]**"
    assert cells[-1] == "CONGRAD"


def test_bits_are_lower_where_they_are_better():
    figures = {
        name: {"de": figure(Examples.of_ratio(nats, [10.0, 20.0, 30.0]), seed=0, name="de", draws=DRAWS)}
        for name, nats in (("M0", [9.0, 21.0, 30.0]), ("M1", [10.0, 23.0, 33.0]))
    }
    found = metric_content(
        Metric("t", "Text", "task", "bits", False, figures), Languages((), ()), "M0", confidence=0.9, draws=DRAWS
    )
    delta = found["rows"]["M1"]["languages"]["de"]
    assert delta["delta"] == pytest.approx(6 / 60)
    assert delta["delta_low"] > 0, "paired: every text got worse"


def report(metric, **changes):
    found = content(metric)
    return {
        "models": ["M0", "ConGrad"],
        "initial": "M0",
        "confidence": 0.95,
        "headline": "m",
        "metrics": [found],
        "tax": {"accuracy": {}, "bits_per_byte": {}},
        "contests": [],
        "notes": [],
    } | changes


def test_the_page(metric):
    tax = {"accuracy": {"M0": {"value": 0.5, "low": 0.4, "high": 0.6}}, "bits_per_byte": {}}
    page = evaluation_markdown(report(metric, tax=tax, notes=["<b> and *x*"]))
    assert page.startswith("# Evaluation\n\n## Accuracy, and the alignment tax\n\n| model | en |")
    assert "| seen mean | unseen mean | tasks |" in page
    assert "| 50.0 [40.0, 60.0] |" in page
    assert r"- &lt;b&gt; and \*x\*" in page
    alone = evaluation_markdown(report(metric, headline=None, metrics=[], tax=tax))
    assert "## Alignment tax\n\n| model | tasks |" in alone
    assert np.isfinite(content(metric)["rows"]["ConGrad"]["mean"]["value"])
