"""Figures for a paper, and the library that the page carries."""

import re
import sys

import numpy as np
import pytest

from congrad.errors import UserError
from congrad.filtering.finished import read_run
from congrad.report.figures import bin_rows, bundled_vega, figures, heatmap_rows, length_rows, write_figures
from congrad.report.html import LIBRARY, asset
from congrad.report.themes import THEMES


def test_every_chart_is_saved_as_svg_and_png(run_directory, tmp_path):
    pytest.importorskip("vl_convert")
    directory = run_directory(tmp_path / "run", each=25, conflict=(1, 4))
    paths = write_figures(directory, tmp_path / "figures")
    names = ["conflicts-as-measured", "conflicts-noise-taken-out", "conflicts-after-surgery", "scores", "lengths"]
    assert [path.name for path in paths] == [f"{name}.{suffix}" for name in names for suffix in ("svg", "png")]
    heatmap = paths[0].read_text()
    assert {"ar", "de", "zh"} <= set(re.findall(r">([^<>]+)</text>", heatmap))
    assert heatmap.count("−0.40") == 2, "the conflict, twice"
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", heatmap)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[1::2])
    assert all(path.stat().st_size > 10_000 for path in paths[1::2])


def test_the_bars_hold_every_scored_pair(run_directory, tmp_path):
    run = read_run(run_directory(tmp_path / "run"))
    rows = bin_rows(run)
    assert sum(row["count"] for row in rows) == 643
    assert sum(row["count"] for row in rows if row["side"] == "kept") == run.keep_N.sum()
    own = run.language_N == run.languages.index("he")
    assert {row["cut"] for row in rows if row["language"] == "he"} == {float(run.score_N[own & run.keep_N].min())}
    means = {(row["language"], row["answer"], row["set"]): row["tokens"] for row in length_rows(run)}
    assert means["he", "rejected", "kept"] == run.rejected_N[own & run.keep_N].mean()


def test_the_diagonal_is_empty_and_the_scale_symmetric(run_directory, tmp_path):
    run = read_run(run_directory(tmp_path / "run", conflict=(0, 2)))
    rows, limit = heatmap_rows(run, run.compared.cosine_LL, np.arange(13))
    assert limit == pytest.approx(0.4)
    assert [row["value"] for row in rows if row["row"] == row["column"]] == [None] * 13
    assert [(row["row"], row["column"]) for row in rows if row["conflict"]] == [("ar", "el"), ("el", "ar")]


def test_no_text_of_the_data_is_in_a_specification(run_directory, tmp_path):
    """Vega makes expressions of what is in there."""
    run = read_run(run_directory(tmp_path / "run", languages=("a'+evil()+'", "b"), each=30))
    for _, spec in figures(run):
        assert "evil" in str(spec.pop("datasets"))
        assert "evil" not in str(spec)


def test_a_colour_is_seen_on_its_paper():
    """Orange, blue and text against the paper: WCAG's contrast, 3 for what is large, 4.5 for text."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    def contrast(first, second):
        light, dark = sorted([luminance(first), luminance(second)], reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for name, paper in (("light", "#ffffff"), ("dark", "#1b1f24")):
        theme = THEMES[name]
        assert contrast(theme["text"]["color"], paper) > 7
        assert contrast(theme["axis"]["labelColor"], paper) > 4.5
        kept, dropped, _ = theme["range"]["category"]
        assert contrast(kept, paper) > 4.5
        assert contrast(kept, dropped) > 1.9, "told apart by brightness alone"
        low, *_, high = theme["range"]["diverging"]
        assert contrast(low, paper) > 3
        assert contrast(high, paper) > 3


def test_without_vl_convert_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(UserError, match=r"pip install 'congrad\[figures\]'"):
        write_figures(tmp_path, tmp_path)


@pytest.mark.slow
def test_the_page_s_library_is_what_vl_convert_bundles():
    pytest.importorskip("vl_convert")
    assert asset(LIBRARY) == bundled_vega()
