"""The page on a loop: its rounds side by side, the judge's hygiene, and the evaluation's tables."""

import html
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from congrad.evaluation.table import number
from congrad.report import charts
from congrad.report.html import render, visible
from congrad.report.rounds import Loop, Round, is_congrad, mean_cosine
from congrad.report.summary import counted, percent
from congrad.report.themes import THEMES
from congrad.selfreward.hygiene import ALL, COLUMNS

NONE, MINUS = "–", "−"
SECTIONS = {"rounds": "Rounds", "judge": "Judge", "evaluation": "Evaluation"}
UNITS = {"percent": "in percent", "bits": "in bits", "plain": ""}
TAXES = {
    "accuracy": ("tasks, in percent", "percent"),
    "bits_per_byte": ("texts, bits per byte, lower is better", "bits"),
}
KINDS = {"seen": "seen languages", "unseen": "unseen languages", "mean": "all languages"}


def loop_page(loop: Loop, place: Path) -> bytes:
    """The page.

    Args:
        place: the directory that the page will lie in; links to the filters' reports start there.
    """
    evaluation = loop.evaluation
    rows = [] if evaluation is None else interval_rows(evaluation)
    data = {
        "charts": {"intervals": charts.intervals(width=400)},
        "intervals": rows,
        "themes": THEMES,
    }
    return render(
        "loop.html",
        data,
        ["data.js", "theme.js", "loop.js"],
        title=loop.directory.name or str(loop.directory),
        directory=visible(loop.directory),
        sections=SECTIONS.items(),
        headline=headline(loop),
        warnings=[
            (f"{each.name}, {stage}", text)
            for each in loop.rounds
            for stage, manifest in each.manifests.items()
            for text in manifest.get("warnings", [])
        ],
        measures=measures(loop),
        names=[each.name for each in loop.rounds],
        reports=[
            quote(os.path.relpath(each.directory / "filter" / "report.html", place))
            if is_congrad(each.directory / "filter")
            else None
            for each in loop.rounds
        ],
        hygiene=[(each.name, hygiene_rows(each)) for each in loop.rounds if each.hygiene],
        hygiene_titles=[title for _, title, _ in COLUMNS] + ["other language"],
        evaluation=evaluation,
        metrics=[] if evaluation is None else [metric_table(metric, evaluation) for metric in evaluation["metrics"]],
        tax=[] if evaluation is None else tax_rows(evaluation),
        notes=[] if evaluation is None else evaluation["notes"],
        chart_title=chart_title(evaluation) if rows else "",
    )


def headline(loop: Loop) -> str:
    last = max(each.number for each in loop.rounds)
    arms = sorted({each.arm for each in loop.rounds} - {""})
    text = f"{counted(last, 'round')}" + (f" of {len(arms)} filters: {', '.join(arms)}" if arms else "")
    return text + (", evaluated." if loop.evaluation else ", not evaluated yet.")


# Rounds side by side


def measures(loop: Loop) -> list[tuple[str, list[str]]]:
    """Rows of the table: what is measured, and its value in each round. What no round has is left out."""
    table: list[tuple[str, Callable[[Round], str]]] = [
        ("prompts", lambda each: _count(each, "generate", "prompts")),
        ("answers", lambda each: _count(each, "generate", "responses")),
        ("judgements that parse", lambda each: _judge(each, "parse_rate")),
        ("prompts whose best answers tie", lambda each: _judge(each, "tie_rate")),
        ("answers in another language", _off_target),
        ("pairs", lambda each: _count(each, "pair", "pairs")),
        ("filter", _method),
        ("kept", _kept),
        ("mean cosine of the languages", _cosine),
        ("conflicts beyond noise", _conflicts),
        ("pairs trained on", lambda each: _count(each, "train", "pairs")),
        ("steps", lambda each: _count(each, "train", "steps")),
        ("loss, first and last", _loss),
    ]
    rows = [(title, [cell(each) for each in loop.rounds]) for title, cell in table]
    return [(title, cells) for title, cells in rows if set(cells) != {NONE}]


def _count(each: Round, stage: str, key: str) -> str:
    value = each.manifests.get(stage, {}).get(key)
    return f"{value:,}" if isinstance(value, int) else NONE


def _judge(each: Round, key: str) -> str:
    value = None if each.hygiene is None else each.hygiene[ALL][key]
    return NONE if value is None else percent(value)


def _off_target(each: Round) -> str:
    told = [rate for rate in each.off_target.values() if rate is not None]
    return percent(sum(told) / len(told)) if told else NONE


def _method(each: Round) -> str:
    manifest = each.manifests.get("filter")
    if manifest is None:
        return NONE
    return "congrad" if "config" in manifest else str(manifest.get("settings", {}).get("method") or each.arm or NONE)


def _kept(each: Round) -> str:
    manifest = each.manifests.get("filter")
    return NONE if manifest is None else f"{manifest['kept']:,} of {manifest['rows']:,}"


def _cosine(each: Round) -> str:
    value = mean_cosine(each.couples)
    return NONE if value is None else f"{value:+.3f}".replace("-", MINUS)


def _conflicts(each: Round) -> str:
    return str(sum(couple.conflict for couple in each.couples)) if each.couples else NONE


def _loss(each: Round) -> str:
    manifest = each.manifests.get("train", {})
    first, last = manifest.get("first_loss"), manifest.get("last_loss")
    return NONE if first is None or last is None else f"{first:.3f} → {last:.3f}"


# Judge


def hygiene_rows(each: Round) -> list[tuple[str, list[str]]]:
    """A row for every language and one for all."""
    assert each.hygiene is not None
    rows = []
    for name, figures in [*each.hygiene["languages"].items(), (ALL, each.hygiene[ALL])]:
        cells = [
            NONE if figures.get(key) is None else format(figures[key], form).replace("-", MINUS)
            for key, _, form in COLUMNS
        ]
        rate = each.off_target.get(name)
        rows.append((name, [*cells, NONE if rate is None else percent(rate)]))
    return rows


# Evaluation


def plain(markdown: str) -> str:
    """A title of evaluation.json, which is escaped for Markdown, as text."""
    return html.unescape(re.sub(r"\\([\\`*_{}\[\]()#+!|~:@$.])", r"\1", markdown))


def figure_cell(content: Mapping[str, Any] | None, unit: Any) -> dict[str, Any] | None:
    """A figure for the template: value and interval, and how it differs from M0; `is_clear` if that leaves zero out."""
    if content is None or content["value"] is None:
        return None

    def told(key: str, *, signed: bool = False) -> str:
        return number(content[key], unit, signed=signed).replace("-", MINUS)

    shown: dict[str, Any] = {"value": told("value"), "interval": "", "delta": "", "is_clear": False}
    if content["low"] is not None and content["low"] != content["high"]:
        shown["interval"] = f"[{told('low')}, {told('high')}]"
    if content.get("delta") is not None:
        shown["delta"] = told("delta", signed=True)
        low, high = content["delta_low"], content["delta_high"]
        if low is not None:
            shown["delta"] += f" [{told('delta_low', signed=True)}, {told('delta_high', signed=True)}]"
            shown["is_clear"] = low > 0 or high < 0
    return shown


def metric_table(metric: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """A metric for the template: rows are models, columns languages and their means."""
    kinds = means_of(metric)
    unit = metric["unit"]
    return {
        "title": plain(metric["title"]),
        "note": ("in percent" if unit == "percent" else unit)
        + ("" if metric["higher_is_better"] else "; lower is better"),
        "open": metric["key"] == evaluation["headline"],
        "columns": [*metric["languages"], *(f"{kind} mean" if kind != "mean" else "mean" for kind in kinds)],
        "rows": [
            (
                name,
                [figure_cell(row["languages"].get(language), unit) for language in metric["languages"]]
                + [figure_cell(row[kind], unit) for kind in kinds],
            )
            for name in evaluation["models"]
            if (row := metric["rows"].get(name)) is not None
        ],
    }


def means_of(metric: Mapping[str, Any]) -> list[str]:
    """The means that say something: of seen and of unseen languages, else of all where there are several."""
    kinds = [
        kind for kind in ("seen", "unseen") if any(row[kind]["value"] is not None for row in metric["rows"].values())
    ]
    return kinds or ["mean"] * (len(metric["languages"]) > 1)


def tax_rows(evaluation: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, dict[str, Any] | None]]]]:
    """The alignment tax: by measure, each model's mean over the tasks."""
    return [
        (title, [(name, figure_cell(figures.get(name), unit)) for name in evaluation["models"]])
        for key, (title, unit) in TAXES.items()
        if (figures := evaluation["tax"].get(key))
    ]


def chart_title(evaluation: Mapping[str, Any] | None) -> str:
    assert evaluation is not None
    return next(plain(metric["title"]) for metric in evaluation["metrics"] if metric["key"] == evaluation["headline"])


def interval_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of `charts.intervals`: the headline's means of every model."""
    metric = next((each for each in evaluation["metrics"] if each["key"] == evaluation["headline"]), None)
    if metric is None:
        return []
    scale = 100 if metric["unit"] == "percent" else 1
    return [
        {
            "model": visible(name),
            "kind": KINDS[kind],
            **{key: None if row[kind][key] is None else scale * row[kind][key] for key in ("value", "low", "high")},
        }
        for name in evaluation["models"]
        if (row := metric["rows"].get(name)) is not None
        for kind in means_of(metric) or ["mean"]
        if row[kind]["value"] is not None
    ]
