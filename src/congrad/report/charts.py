"""The report's charts as Vega-Lite specifications, the same for the page and for `--figures`.

Vega (vega.github.io) was chosen because it is one library for both: the page holds its bundle (0.9 MB; Plotly's is
4.5 MB) and runs it under a policy that forbids eval, and vl-convert draws the same charts to SVG and PNG without a
browser. Colours are named by their role; `themes` says which they are.

No text of the dataset is part of a specification, where Vega would make expressions of it: it is in the rows alone, and
their order is that of the axes.
"""

from typing import Any

Spec = dict[str, Any]

NUM_BINS = 48
ALL, KEPT, DROPPED = "all pairs", "kept", "dropped"
HEATMAPS = {"cosine": "as measured", "corrected": "noise taken out", "after": "after surgery"}

SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+.2~f')"


def heatmap(*, limit: float, step: float, numbers: bool) -> Spec:
    """Cosines of the language gradients; an outline where two conflict clear of noise.

    Rows: `row`, `column`, `value` (null on the diagonal and where unknown), `strong` (its colour is near the end of the
    scale), `conflict`, and for the tooltip `languages`, `interval`, `pairs`, `verdict`.

    Args:
        limit: the cosine of the strongest colour.
        step: pixels of a cell.
        numbers: whether they stand in the cells.
    """
    axis = {"title": None, "labelLimit": 110, "ticks": False, "domain": False, "labelPadding": 6}
    position = {
        "x": {"field": "column", "type": "ordinal", "sort": None, "axis": {**axis, "labelAngle": -50}},
        "y": {"field": "row", "type": "ordinal", "sort": None, "axis": axis},
    }
    tooltip = [
        {"field": "languages", "title": "title"},
        {"field": "value", "type": "quantitative", "format": "+.3f", "title": "cosine"},
        {"field": "interval", "title": "95% interval, as measured"},
        {"field": "pairs", "title": "pairs"},
        {"field": "verdict", "title": "verdict"},
    ]
    known = [{"filter": "isValid(datum.value)"}]
    layer: list[Spec] = [
        {"mark": {"type": "rect", "style": "empty", "cornerRadius": 2}, "encoding": {}},
        {
            "transform": known,
            "mark": {"type": "rect", "cornerRadius": 2},
            "encoding": {
                "color": {
                    "field": "value",
                    "type": "quantitative",
                    "scale": {"domain": [-limit, limit], "range": "diverging", "clamp": True, "interpolate": "lab"},
                    "legend": {
                        "title": "cosine: orange conflicts, blue agrees",
                        "orient": "bottom",
                        "direction": "horizontal",
                        "gradientLength": 240,
                        "gradientThickness": 10,
                        "labelExpr": SIGNED,
                        "titleLimit": 320,
                        "tickCount": 5,
                    },
                },
                "tooltip": tooltip,
            },
        },
        {
            "transform": [{"filter": "datum.conflict"}],
            "mark": {"type": "rect", "style": "flag", "filled": False, "strokeWidth": 2.5, "cornerRadius": 2},
            "encoding": {"tooltip": tooltip},
        },
    ]
    if numbers:
        layer += [
            {
                "transform": [*known, {"filter": f"datum.strong == {strong}"}],
                "mark": {"type": "text", "style": style, "fontSize": 10, "tooltip": None},
                "encoding": {"text": {"field": "value", "type": "quantitative", "format": "+.2f"}},
            }
            for strong, style in (("true", "on-strong"), ("false", "on-weak"))
        ]
    return {
        "data": {"name": "cells"},
        "width": {"step": step},
        "height": {"step": step},
        "encoding": position,
        "layer": layer,
        "config": {"scale": {"bandPaddingInner": 0.06}},
    }


def distributions(*, width: float, height: float = 34) -> Spec:
    """Histograms of the scores, a row for each language, kept above dropped by colour.

    Rows: `language`, `from`, `to`, `side` (kept or dropped), `count`, `cut` (lowest kept score of the language).
    """
    return {
        "data": {"name": "bins"},
        "facet": {
            "row": {
                "field": "language",
                "type": "ordinal",
                "sort": None,
                "header": {
                    "title": None,
                    "labelAngle": 0,
                    "labelAlign": "left",
                    "labelPadding": 8,
                    "labelLimit": 90,
                    "labelOrient": "left",
                },
            }
        },
        "spacing": 4,
        "resolve": {"scale": {"y": "independent"}},
        "spec": {
            "width": width,
            "height": height,
            "layer": [
                {
                    "mark": {"type": "bar", "binSpacing": 0.5},
                    "encoding": {
                        "x": {
                            "field": "from",
                            "type": "quantitative",
                            "bin": "binned",
                            "scale": {"nice": False},
                            "axis": {
                                "title": "score: cosine with the consensus",
                                "grid": False,
                                "labelExpr": SIGNED,
                                "labelOverlap": True,
                                "tickCount": max(4, int(width / 80)),
                            },
                        },
                        "x2": {"field": "to"},
                        "y": {"field": "count", "type": "quantitative", "stack": True, "axis": None},
                        "color": {
                            "field": "side",
                            "type": "nominal",
                            "scale": {"domain": [KEPT, DROPPED], "range": "category"},
                            "legend": {"title": None, "orient": "top", "symbolType": "square"},
                        },
                        "order": {"field": "side", "type": "nominal", "sort": "descending"},
                        "tooltip": [
                            {"field": "language", "title": "title"},
                            {"field": "span", "title": "score"},
                            {"field": "side", "title": "these are"},
                            {"field": "count", "type": "quantitative", "title": "pairs", "format": ","},
                        ],
                    },
                },
                {
                    "mark": {"type": "rule", "strokeDash": [2, 3], "opacity": 0.5},
                    "encoding": {"x": {"datum": 0, "type": "quantitative"}},
                },
                {
                    "mark": {"type": "rule", "strokeWidth": 1.5},
                    "encoding": {"x": {"field": "cut", "aggregate": "min", "type": "quantitative"}},
                },
            ],
        },
    }


def lengths(*, width: float, columns: int = 2, step: float = 20) -> Spec:
    """Mean tokens of the responses in each language: all pairs, and the kept ones.

    Rows: `language`, `answer` (chosen or rejected), `set` (all pairs or kept), `tokens`.
    """
    position = {
        "y": {
            "field": "language",
            "type": "ordinal",
            "sort": None,
            "axis": {"title": None, "ticks": False, "domain": False, "grid": True, "labelLimit": 90},
        },
        "x": {
            "field": "tokens",
            "type": "quantitative",
            "scale": {"zero": False, "nice": True},
            "axis": {"title": "mean tokens", "grid": False, "tickCount": 5},
        },
    }
    return {
        "data": {"name": "lengths"},
        "facet": {
            "field": "answer",
            "type": "nominal",
            "header": {"title": None, "labelFontWeight": "bold", "labelFontSize": 13, "labelAnchor": "start"},
        },
        "columns": columns,
        "resolve": {"axis": {"x": "independent", "y": "independent"}},
        "spec": {
            "width": width,
            "height": {"step": step},
            "encoding": position,
            "layer": [
                {
                    "mark": {"type": "line", "style": "span", "strokeWidth": 2, "opacity": 0.6},
                    "encoding": {"detail": {"field": "language", "type": "nominal"}},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {
                        "color": {
                            "field": "set",
                            "type": "nominal",
                            "scale": {"domain": [KEPT, DROPPED, ALL], "range": "category"},
                            "legend": {"title": None, "orient": "top", "values": [KEPT, ALL]},
                        },
                        "shape": {
                            "field": "set",
                            "type": "nominal",
                            "scale": {"domain": [KEPT, DROPPED, ALL], "range": ["circle", "square", "diamond"]},
                        },
                        "tooltip": [
                            {"field": "language", "title": "title"},
                            {"field": "set", "title": "pairs"},
                            {"field": "answer", "title": "answer"},
                            {"field": "tokens", "type": "quantitative", "format": ".1f", "title": "mean tokens"},
                        ],
                    },
                },
            ],
        },
    }


def intervals(*, width: float, step: float = 26) -> Spec:
    """A point with its interval for every model, side by side for seen and unseen languages.

    Rows: `model`, `kind` (of the languages), `value`, `low`, `high`.
    """
    return {
        "data": {"name": "figures"},
        "facet": {
            "field": "kind",
            "type": "nominal",
            "sort": None,
            "header": {"title": None, "labelFontWeight": "bold", "labelFontSize": 13, "labelAnchor": "start"},
        },
        "columns": 2,
        "resolve": {"axis": {"x": "independent", "y": "independent"}},
        "spec": {
            "width": width,
            "height": {"step": step},
            "encoding": {
                "y": {
                    "field": "model",
                    "type": "ordinal",
                    "sort": None,
                    "axis": {"title": None, "ticks": False, "domain": False, "grid": True, "labelLimit": 140},
                },
                "tooltip": [
                    {"field": "model", "title": "title"},
                    {"field": "kind", "title": "mean of"},
                    {"field": "value", "type": "quantitative", "format": ".2f"},
                    {"field": "low", "type": "quantitative", "format": ".2f"},
                    {"field": "high", "type": "quantitative", "format": ".2f"},
                ],
            },
            "layer": [
                {
                    "mark": {"type": "rule", "style": "span", "strokeWidth": 2},
                    "encoding": {
                        "x": {
                            "field": "low",
                            "type": "quantitative",
                            "scale": {"zero": False},
                            "axis": {"title": None, "tickCount": 5, "grid": False},
                        },
                        "x2": {"field": "high"},
                    },
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                    "encoding": {
                        "x": {"field": "value", "type": "quantitative"},
                        "color": {"datum": KEPT, "scale": {"domain": [KEPT], "range": "category"}, "legend": None},
                    },
                },
            ],
        },
    }
