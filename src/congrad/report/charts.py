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


def _quantity(field: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", **more}


def _names(field: str, **axis: Any) -> Spec:
    """An axis of names in the order of the rows."""
    return {"field": field, "type": "ordinal", "sort": None, "axis": {"title": None, **axis}}


def _side_by_side(data: str, facet: Spec, *, width: float, step: float, encoding: Spec, layer: list[Spec]) -> Spec:
    """A chart for each value of a field, two in a row."""
    header = {"title": None, "labelFontWeight": "bold", "labelFontSize": 13, "labelAnchor": "start"}
    return {
        "data": {"name": data},
        "facet": {**facet, "header": header},
        "columns": 2,
        "resolve": {"axis": {"x": "independent", "y": "independent"}},
        "spec": {"width": width, "height": {"step": step}, "encoding": encoding, "layer": layer},
    }


def heatmap(*, limit: float, step: float) -> Spec:
    """Cosines of the language gradients; an outline where two conflict clear of noise.

    Rows: `row`, `column`, `value` (null on the diagonal and where unknown), `strong` (its colour is near the end of the
    scale), `conflict`, and for the tooltip `languages`, `interval`, `pairs`, `verdict`.

    Args:
        limit: the cosine of the strongest colour.
        step: pixels of a cell.
    """
    axis = {"labelLimit": 110, "ticks": False, "domain": False, "labelPadding": 6}
    tooltip = [
        {"field": "languages", "title": "title"},
        _quantity("value", format="+.3f", title="cosine"),
        {"field": "interval", "title": "95% interval"},
        {"field": "pairs", "title": "pairs"},
        {"field": "verdict", "title": "verdict"},
    ]
    scale = {"domain": [-limit, limit], "range": "diverging", "clamp": True, "interpolate": "lab"}
    legend = {
        "title": "cosine: orange conflicts, blue agrees",
        "orient": "bottom",
        "direction": "horizontal",
        "gradientLength": 240,
        "gradientThickness": 10,
        "labelExpr": SIGNED,
        "titleLimit": 320,
        "tickCount": 5,
    }
    known = {"filter": "isValid(datum.value)"}
    numbers = [
        {
            "transform": [known, {"filter": f"datum.strong == {strong}"}],
            "mark": {"type": "text", "style": style, "fontSize": 10, "tooltip": None},
            "encoding": {"text": _quantity("value", format="+.2f")},
        }
        for strong, style in (("true", "on-strong"), ("false", "on-weak"))
    ]
    return {
        "data": {"name": "cells"},
        "width": {"step": step},
        "height": {"step": step},
        "encoding": {"x": _names("column", **axis, labelAngle=-50), "y": _names("row", **axis)},
        "layer": [
            {"mark": {"type": "rect", "style": "empty", "cornerRadius": 2}, "encoding": {}},
            {
                "transform": [known],
                "mark": {"type": "rect", "cornerRadius": 2},
                "encoding": {"color": _quantity("value", scale=scale, legend=legend), "tooltip": tooltip},
            },
            {
                "transform": [{"filter": "datum.conflict"}],
                "mark": {"type": "rect", "style": "flag", "filled": False, "strokeWidth": 2.5, "cornerRadius": 2},
                "encoding": {"tooltip": tooltip},
            },
            *numbers,
        ],
        "config": {"scale": {"bandPaddingInner": 0.06}},
    }


def distributions(*, width: float) -> Spec:
    """Histograms of the scores, a row for each language, kept above dropped by colour.

    Rows: `language`, `from`, `to`, `side` (kept or dropped), `count`, `cut` (lowest kept score of the language).
    """
    header = {"title": None, "labelAngle": 0, "labelAlign": "left", "labelPadding": 8, "labelLimit": 90}
    axis = {
        "title": "score: cosine with the consensus",
        "grid": False,
        "labelExpr": SIGNED,
        "labelOverlap": True,
        "tickCount": max(4, int(width / 80)),
    }
    bars = {
        "x": _quantity("from", bin="binned", scale={"nice": False}, axis=axis),
        "x2": {"field": "to"},
        "y": _quantity("count", stack=True, axis=None),
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
            _quantity("count", title="pairs", format=","),
        ],
    }
    zero = {"x": {"datum": 0, "type": "quantitative"}}
    cut = {"x": {"field": "cut", "aggregate": "min", "type": "quantitative"}}
    layer = [
        {"mark": {"type": "bar", "binSpacing": 0.5}, "encoding": bars},
        {"mark": {"type": "rule", "strokeDash": [2, 3], "opacity": 0.5}, "encoding": zero},
        {"mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": cut},
    ]
    row = {"field": "language", "type": "ordinal", "sort": None, "header": {**header, "labelOrient": "left"}}
    return {
        "data": {"name": "bins"},
        "facet": {"row": row},
        "spacing": 4,
        "resolve": {"scale": {"y": "independent"}},
        "spec": {"width": width, "height": 34, "layer": layer},
    }


def lengths(*, width: float) -> Spec:
    """Mean tokens of the responses in each language: all pairs, and the kept ones.

    Rows: `language`, `answer` (chosen or rejected), `set` (all pairs or kept), `tokens`.
    """
    axis = {"title": "mean tokens", "grid": False, "tickCount": 5}
    encoding = {
        "y": _names("language", ticks=False, domain=False, grid=True, labelLimit=90),
        "x": _quantity("tokens", scale={"zero": False, "nice": True}, axis=axis),
    }
    point = {
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
            _quantity("tokens", format=".1f", title="mean tokens"),
        ],
    }
    layer = [
        {
            "mark": {"type": "line", "style": "span", "strokeWidth": 2, "opacity": 0.6},
            "encoding": {"detail": {"field": "language", "type": "nominal"}},
        },
        {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1}, "encoding": point},
    ]
    facet = {"field": "answer", "type": "nominal"}
    return _side_by_side("lengths", facet, width=width, step=20, encoding=encoding, layer=layer)


def intervals(*, width: float) -> Spec:
    """A point with its interval for every model, side by side for seen and unseen languages.

    Rows: `model`, `kind` (of the languages), `value`, `low`, `high`.
    """
    encoding = {
        "y": _names("model", ticks=False, domain=False, grid=True, labelLimit=140),
        "tooltip": [
            {"field": "model", "title": "title"},
            {"field": "kind", "title": "mean of"},
            *(_quantity(field, format=".2f") for field in ("value", "low", "high")),
        ],
    }
    axis = {"title": None, "tickCount": 5, "grid": False}
    rule = {"x": _quantity("low", scale={"zero": False}, axis=axis), "x2": {"field": "high"}}
    point = {
        "x": _quantity("value"),
        "color": {"datum": KEPT, "scale": {"domain": [KEPT], "range": "category"}, "legend": None},
    }
    layer = [
        {"mark": {"type": "rule", "style": "span", "strokeWidth": 2}, "encoding": rule},
        {"mark": {"type": "point", "filled": True, "size": 90, "opacity": 1}, "encoding": point},
    ]
    facet = {"field": "kind", "type": "nominal", "sort": None}
    return _side_by_side("figures", facet, width=width, step=26, encoding=encoding, layer=layer)
