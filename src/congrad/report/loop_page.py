"""The page on a loop: its rounds side by side, the judge's hygiene, and the evaluation's tables."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from congrad.consensus.findings import CANNOT_TELL
from congrad.evaluation.table import headline_of, means_of, metric_table, tax_cells
from congrad.report import charts
from congrad.report.html import render
from congrad.report.rounds import Loop, Round, is_congrad, mean_cosine
from congrad.report.summary import chosen_in_words, counted, percent
from congrad.report.themes import THEMES
from congrad.selfreward.hygiene import ALL, hygiene_table
from congrad.tables import MISSING, Cell, Column, Link, Number, Table, columns, to_html, visible

SECTIONS = {"rounds": "Rounds", "judge": "Judge", "evaluation": "Evaluation"}
TAXES = {"tasks": "tasks, in percent", "bits per byte ↓": "texts, bits per byte, lower is better"}
VERDICTS = {
    "filter": "filtering helps",
    "groups": "groups of languages help",
    "no-difference": "no difference",
    "keep-all": "filtering does harm",
    "too-few": "too few pairs to tell",
}
KINDS = {"seen": "seen languages", "unseen": "unseen languages", "mean": "all languages"}


def loop_page(loop: Loop, place: Path) -> bytes:
    """The page, to be put into the directory `place`: links to the filters' reports start there."""
    evaluation = loop.evaluation
    rows = [] if evaluation is None else interval_rows(evaluation)
    main = None if evaluation is None else headline_of(evaluation)
    data = {"charts": {"intervals": charts.intervals(width=400)}, "intervals": rows, "themes": THEMES}
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
        measures=to_html(measures(loop, place), identity="round-table"),
        hygiene=[(each.name, to_html(judge_table(each))) for each in loop.rounds if each.hygiene],
        evaluation=evaluation,
        metrics=[] if evaluation is None else [metric_section(each, evaluation) for each in evaluation["metrics"]],
        tax=None if evaluation is None else tax_section(evaluation),
        notes=[] if evaluation is None else evaluation["notes"],
        chart_title="" if main is None else main["title"],
    )


def headline(loop: Loop) -> str:
    last = max(each.number for each in loop.rounds)
    arms = sorted({each.arm for each in loop.rounds} - {""})
    text = f"{counted(last, 'round')}" + (f" of {len(arms)} filters: {', '.join(arms)}" if arms else "")
    return text + (", evaluated." if loop.evaluation else ", not evaluated yet.")


# Rounds side by side


def measures(loop: Loop, place: Path) -> Table:
    """What is measured, and its value in each round; what no round has is left out."""
    measured: list[tuple[str, Callable[[Round], Cell]]] = [
        ("prompts", lambda each: _count(each, "generate", "prompts")),
        ("answers", lambda each: _count(each, "generate", "responses")),
        ("judgements that can be read", lambda each: _judge(each, "parse_rate")),
        ("prompts with tied best answers", lambda each: _judge(each, "tie_rate")),
        ("answers in another language", _off_target),
        ("pairs", lambda each: _count(each, "pair", "pairs")),
        ("filter", _method),
        ("kept", _kept),
        ("predicted", lambda each: None if each.advice is None else VERDICTS[each.advice["verdict"]["kind"]]),
        ("better way of pairing", _better_pairing),
        ("mean cosine of the languages", _cosine),
        ("conflicts beyond noise", _conflicts),
        ("pairs trained on", lambda each: _count(each, "train", "pairs")),
        ("steps", lambda each: _count(each, "train", "steps")),
        ("loss, first and last", _loss),
        ("report of the filter", lambda each: _report(each, place)),
    ]
    rows = [[title, *(cell(each) for each in loop.rounds)] for title, cell in measured]
    shown = [row for row in rows if any(cell is not None for cell in row[1:])]
    return Table(columns("", *(each.name for each in loop.rounds)), shown)


def _count(each: Round, stage: str, key: str) -> Number | None:
    value = each.manifests.get(stage, {}).get(key)
    return Number(value, ",d") if isinstance(value, int) else None


def _judge(each: Round, key: str) -> str | None:
    value = None if each.hygiene is None else each.hygiene[ALL][key]
    return None if value is None else percent(value)


def _off_target(each: Round) -> str | None:
    known = [rate for rate in each.off_target.values() if rate is not None]
    return percent(sum(known) / len(known)) if known else None


def _method(each: Round) -> str | None:
    manifest = each.manifests.get("filter")
    if manifest is None:
        return None
    return "congrad" if "config" in manifest else str(manifest.get("settings", {}).get("method") or each.arm or MISSING)


def _kept(each: Round) -> str | None:
    manifest = each.manifests.get("filter")
    if manifest is None:
        return None
    return f"{manifest['kept']:,} of {manifest['rows']:,}{chosen_in_words(manifest)}"


def _better_pairing(each: Round) -> str | None:
    return None if each.pairings is None else ", ".join(each.pairings["better"]) or "none shown"


def _cosine(each: Round) -> Number | None:
    value = mean_cosine(each.language_pairs)
    return None if value is None else Number(value, "+.3f")


def _conflicts(each: Round) -> str | None:
    if not each.language_pairs:
        return None
    if all(pair.verdict == CANNOT_TELL for pair in each.language_pairs):
        return "can’t tell"
    return str(sum(pair.conflict for pair in each.language_pairs))


def _loss(each: Round) -> str | None:
    manifest = each.manifests.get("train", {})
    first, last = manifest.get("first_loss"), manifest.get("last_loss")
    return None if first is None or last is None else f"{first:.3f} → {last:.3f}"


def _report(each: Round, place: Path) -> Link | None:
    if not is_congrad(each.directory / "filter"):
        return None
    return Link("open", quote(os.path.relpath(each.directory / "filter" / "report.html", place)))


def judge_table(each: Round) -> Table:
    """The judge's hygiene, and how many answers are in another language."""
    assert each.hygiene is not None
    table = hygiene_table(each.hygiene)
    rates = [each.off_target.get(str(row[0])) for row in table.rows]
    rows = [[*row, None if rate is None else percent(rate)] for row, rate in zip(table.rows, rates, strict=True)]
    return replace(table, columns=[*table.columns, Column("other language")], rows=rows)


# Evaluation


def metric_section(metric: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """A metric for the template."""
    unit = metric["unit"]
    return {
        "title": metric["title"],
        "note": ("in percent" if unit == "percent" else unit)
        + ("" if metric["higher_is_better"] else "; lower is better"),
        "open": metric["key"] == evaluation["headline"],
        "table": to_html(metric_table(metric, evaluation["models"]), kind="evaluation"),
    }


def tax_section(evaluation: Mapping[str, Any]) -> str | None:
    """The alignment tax: by measure, each model's mean over the tasks."""
    rows = [[TAXES[title], *cells.values()] for title, cells in tax_cells(evaluation).items()]
    return to_html(Table(columns("", *evaluation["models"]), rows), kind="evaluation") if rows else None


def interval_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of `charts.intervals`: the headline's means of every model."""
    metric = headline_of(evaluation)
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
