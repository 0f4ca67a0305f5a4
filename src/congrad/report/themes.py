"""The charts' colours and type, light and dark, as Vega-Lite configurations."""

from dataclasses import dataclass
from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Colours:
    """By what they are for.

    Attributes:
        ink, quiet, line: of text, of text that stands back, of grids and axes.
        empty: of a cell without a value.
        on_strong: of text on a strong colour.
        kept, dropped: of pairs.
        diverging: from languages that pull apart to languages that pull together.
    """

    ink: str
    quiet: str
    line: str
    empty: str
    on_strong: str
    kept: str
    dropped: str
    diverging: tuple[str, ...]


def configuration(colours: Colours, *, font: str, background: str = "transparent") -> dict[str, Any]:
    """Vega-Lite's `config`."""
    quiet, line = colours.quiet, colours.line
    text = {"labelColor": quiet, "titleColor": quiet, "labelFont": font, "titleFont": font}
    return {
        "background": background,
        "font": font,
        "aria": False,  # the page describes its charts, and shows their numbers in tables
        "view": {"stroke": None},
        "axis": {
            **text,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "domainColor": line,
            "tickColor": line,
            "gridColor": line,
            "gridOpacity": 0.6,
        },
        "legend": {**text, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        "header": {**text, "labelFontSize": 12, "titleFontSize": 12},
        "text": {"color": colours.ink, "font": font},
        "rule": {"color": colours.ink},
        "style": {
            "empty": {"color": colours.empty},
            "flag": {"color": colours.ink},
            "span": {"color": quiet},
            "on-weak": {"color": colours.ink},
            "on-strong": {"color": colours.on_strong},
        },
        "range": {"category": [colours.kept, colours.dropped, quiet], "diverging": list(colours.diverging)},
    }


# Blue and orange stay apart for every kind of colour blindness, and differ in the same way from the middle.
LIGHT = Colours(
    ink="#1b1f24",
    quiet="#57606a",
    line="#d8dce1",
    empty="#eceef1",
    on_strong="#ffffff",
    kept="#2166ac",
    dropped="#f0a35e",
    diverging=("#a64b00", "#e08b3e", "#f8d8b4", "#f6f6f4", "#b9d5ec", "#5197cf", "#12569b"),
)
DARK = Colours(
    ink="#e8eaed",
    quiet="#a2abb5",
    line="#3a4048",
    empty="#262b31",
    on_strong="#14171a",
    kept="#6cb0f0",
    dropped="#a85f24",
    diverging=("#ffb066", "#cc7427", "#6a4220", "#2c3036", "#21486b", "#3580bd", "#83c4ff"),
)

THEMES = {"light": configuration(LIGHT, font=FONT), "dark": configuration(DARK, font=FONT)}
PAPER = configuration(LIGHT, font="sans-serif", background="white")  # vl-convert's own font has every sign
