"""The report's charts as SVG and PNG, drawn by vl-convert without a browser, and the page's bundle of Vega.

`python -m congrad.report.figures` bundles Vega again, from the vl-convert that is installed.

Shapes: N input rows, L languages.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from congrad.consensus.findings import CONFLICT
from congrad.errors import UserError
from congrad.files import write_atomically
from congrad.filtering.comparison import Array
from congrad.filtering.finished import ScoredRun, read_run
from congrad.report import charts
from congrad.report.filter_page import bin_edges
from congrad.report.html import LIBRARY
from congrad.report.loop_page import interval_rows
from congrad.report.order import similarity_order
from congrad.report.rounds import is_loop, read_loop
from congrad.report.themes import PAPER
from congrad.tables import visible

SCALE = 3  # of the PNGs: 216 points an inch


def write_figures(run: str | Path, directory: Path) -> list[Path]:
    """Saves every chart of a finished run as NAME.svg and NAME.png and returns the paths."""
    try:
        import vl_convert
    except ImportError as error:
        raise UserError("--figures needs the figures extra", "pip install 'congrad[figures]'") from error
    paths = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--figures {directory} cannot be made ({error.strerror})", "name another directory") from error
    for name, spec in loop_figures(Path(run)) if is_loop(Path(run)) else figures(read_run(Path(run))):
        svg = vl_convert.vegalite_to_svg(spec, config=PAPER)
        png = vl_convert.vegalite_to_png(spec, config=PAPER, scale=SCALE)
        for suffix, content in (("svg", svg.encode()), ("png", png)):
            path = directory / f"{name}.{suffix}"
            write_atomically(path, content)
            paths.append(path)
    return paths


def figures(run: ScoredRun) -> Iterator[tuple[str, dict[str, Any]]]:
    """The charts with their data, by name."""
    compared = run.compared
    order = similarity_order(compared.cosine_LL)
    matrices = {"cosine": compared.cosine_LL, "corrected": compared.corrected_LL, "after": compared.after_surgery_LL}
    if len(run.languages) > 1:
        for key, title in charts.HEATMAPS.items():
            if np.isfinite(matrices[key]).any():
                rows, limit = heatmap_rows(run, matrices[key], order)
                spec = charts.heatmap(limit=limit, step=34)
                yield f"conflicts-{title.replace(' ', '-')}", spec | {"datasets": {"cells": rows}}
    yield "scores", charts.distributions(width=620) | {"datasets": {"bins": bin_rows(run)}}
    yield "lengths", charts.lengths(width=300) | {"datasets": {"lengths": length_rows(run)}}


def loop_figures(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The evaluation's chart; none before there is one."""
    evaluation = read_loop(directory).evaluation
    rows = [] if evaluation is None else interval_rows(evaluation)
    if rows:
        yield "evaluation", charts.intervals(width=300) | {"datasets": {"figures": rows}}


def heatmap_rows(run: ScoredRun, matrix_LL: Array, order: Array) -> tuple[list[dict[str, Any]], float]:
    """The cells of `charts.heatmap`, and the largest cosine off the diagonal."""
    off_LL = np.where(np.eye(len(order), dtype=bool), np.nan, matrix_LL)
    limit = float(min(1.0, np.nanmax(np.abs(off_LL), initial=0.05)))
    rows = [
        {
            "row": visible(run.languages[i]),
            "column": visible(run.languages[j]),
            "value": None if np.isnan(off_LL[i, j]) else float(off_LL[i, j]),
            "strong": bool(abs(off_LL[i, j]) > 0.6 * limit),
            "conflict": run.compared.verdict_LL[i, j] == CONFLICT,
        }
        for i in order
        for j in order
    ]
    return rows, limit


def bin_rows(run: ScoredRun) -> list[dict[str, Any]]:
    """The bars of `charts.distributions`."""
    low, width = bin_edges(run.score_N)
    edges = low + width * np.arange(charts.NUM_BINS + 1)
    edges[-1] = max(edges[-1], np.nanmax(run.score_N, initial=low))  # whatever rounding did
    rows = []
    for language, name in enumerate(run.languages):
        own = (run.language_N == language) & ~np.isnan(run.score_N)
        cut = float(run.score_N[own & run.keep_N].min()) if (own & run.keep_N).any() else None
        for side, mask in ((charts.KEPT, own & run.keep_N), (charts.DROPPED, own & ~run.keep_N)):
            for start, count in zip(edges, np.histogram(run.score_N[mask], edges)[0].tolist(), strict=False):
                if count:
                    span = {"from": float(start), "to": float(start + width)}
                    rows.append({"language": visible(name), **span, "side": side, "count": count, "cut": cut})
    return rows


def length_rows(run: ScoredRun) -> list[dict[str, Any]]:
    """The points of `charts.lengths`."""
    rows = []
    for language, name in enumerate(run.languages):
        own = run.language_N == language
        for answer, tokens_N in (("chosen", run.chosen_N), ("rejected", run.rejected_N)):
            for kind, mask in ((charts.ALL, own), (charts.KEPT, own & run.keep_N)):
                if mask.any():
                    mean = float(tokens_N[mask].mean())
                    rows.append({"language": visible(name), "answer": answer, "set": kind, "tokens": mean})
    return rows


def bundled_vega() -> str:
    """Vega, Vega-Lite and Vega-Embed with all that they need, as a script that defines `vegaEmbed` (some seconds)."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("globalThis.vegaEmbed = vegaEmbed;")
    assert "</script" not in bundle.lower()
    assert "<!--" not in bundle
    return bundle


if __name__ == "__main__":
    content = gzip.compress(bundled_vega().encode(), mtime=0)
    (Path(__file__).parent / "page" / LIBRARY).write_bytes(content)
