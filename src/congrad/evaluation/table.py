"""The evaluation's tables: figures with intervals and deltas to M0, as JSON, and what is printed of that."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from congrad.evaluation.intervals import Figure, mean
from congrad.tables import Cell, Number, Table, columns, escape, to_markdown

Unit = Literal["percent", "bits", "plain"]
PART_TITLES = {"preference": "Held-out preferences", "win-rate": "Win rates", "task": "Local tasks"}
MEANS = ("seen", "unseen", "mean")
FORMS = {"percent": (".1f", 100), "bits": (".3f", 1), "plain": (".2f", 1)}
TAXES: tuple[tuple[str, str, Unit], ...] = (
    ("accuracy", "tasks", "percent"),
    ("bits_per_byte", "bits per byte ↓", "bits"),
)


@dataclass(frozen=True)
class Metric:
    """One measure of all models."""

    key: str  # in the JSON
    title: str  # for a person
    part: str  # of the evaluation that it belongs to
    unit: Unit
    higher_is_better: bool
    figures: Mapping[str, Mapping[str, Figure]]  # by model and language


@dataclass(frozen=True)
class Languages:
    """Which languages were trained on; with neither list, all of them are taken as seen."""

    seen: Sequence[str]
    unseen: Sequence[str]

    def ordered(self, languages: Iterable[str]) -> list[str]:
        """Seen ones first, then unseen ones, in the order of the settings; then those in neither list, by name."""
        there = set(languages)
        named = [language for language in (*self.seen, *self.unseen) if language in there]
        return named + sorted(there - set(named))

    def of(self, kind: str, languages: Iterable[str]) -> list[str]:
        if kind == "mean" or (kind == "seen" and not self.seen and not self.unseen):
            return list(languages)
        return [language for language in languages if language in (self.seen if kind == "seen" else self.unseen)]


def figure_content(figure: Figure, initial: Figure | None, confidence: float) -> dict[str, Any]:
    """A figure for the JSON: value, interval, number of examples, and the same of its delta to M0's."""
    low, high = figure.interval(confidence)
    content = {"value": figure.value, "low": low, "high": high, "count": figure.count}
    if initial is not None:
        delta = figure - initial
        low, high = delta.interval(confidence)
        content |= {"delta": delta.value, "delta_low": low, "delta_high": high}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in content.items()}


def metric_content(
    metric: Metric, languages: Languages, initial: str, *, confidence: float, draws: int
) -> dict[str, Any]:
    """A metric for the JSON: every model's figures by language, and their means."""
    ordered = languages.ordered(language for own in metric.figures.values() for language in own)
    means = {
        name: {kind: mean([own[each] for each in languages.of(kind, ordered) if each in own], draws) for kind in MEANS}
        for name, own in metric.figures.items()
    }
    rows = {}
    for name, own in metric.figures.items():
        first, first_means = ({}, {}) if name == initial else (metric.figures.get(initial, {}), means.get(initial, {}))
        there = [each for each in ordered if each in own]
        rows[name] = {
            "languages": {each: figure_content(own[each], first.get(each), confidence) for each in there},
            **{kind: figure_content(means[name][kind], first_means.get(kind), confidence) for kind in MEANS},
        }
    named = {key: getattr(metric, key) for key in ("key", "title", "part", "unit", "higher_is_better")}
    return {**named, "languages": ordered, "rows": rows}


# What is printed


def number(content: Mapping[str, Any] | None, unit: Unit) -> Number | None:
    """A figure of the JSON as a cell."""
    if content is None or content["value"] is None:
        return None
    form, scale = FORMS[unit]
    bounds = {field: content.get(field) for field in ("low", "high", "delta", "delta_low", "delta_high")}
    return Number(content["value"], form, scale, **bounds)


def means_of(content: Mapping[str, Any]) -> list[str]:
    """The means that are worth showing: of seen and of unseen languages, else of all where there are several."""
    rows = content["rows"].values()
    kinds = [kind for kind in ("seen", "unseen") if any(row[kind]["value"] is not None for row in rows)]
    return kinds or ["mean"] * (len(content["languages"]) > 1)


def tax_cells(report: Mapping[str, Any]) -> dict[str, dict[str, Cell]]:
    """The alignment tax that there is, by title and model: tasks by accuracy, texts by bits per byte."""
    return {
        title: {name: number(figures.get(name), unit) for name in report["models"]}
        for key, title, unit in TAXES
        if (figures := report["tax"][key])
    }


def tax_table(report: Mapping[str, Any]) -> Table:
    """The tax in a table of its own, where there is no other: rows are models."""
    tax = tax_cells(report)
    rows = [[name, *(cells[name] for cells in tax.values())] for name in report["models"]]
    return Table(columns("model", *tax), rows)


def metric_table(
    content: Mapping[str, Any],
    models: Sequence[str],
    extra: Mapping[str, Mapping[str, Cell]] | None = None,
    *,
    by_language: bool = True,
) -> Table:
    """A metric's table: rows are models, columns languages, their means, and what `extra` adds by title and model."""
    unit, kinds, extra = content["unit"], means_of(content), extra or {}
    languages = content["languages"] if by_language else []
    rows = [
        [
            name,
            *(number(row["languages"].get(language), unit) for language in languages),
            *(number(row[kind], unit) for kind in kinds),
            *(cells[name] for cells in extra.values()),
        ]
        for name in models
        if (row := content["rows"].get(name)) is not None
    ]
    means = (kind if kind == "mean" else f"{kind} mean" for kind in kinds)
    return Table(columns("model", *languages, *means, *extra), rows)


def harness_table(metrics: Sequence[Mapping[str, Any]], models: Sequence[str]) -> Table:
    """One table of all: rows are models, columns tasks and metrics."""
    rows = [
        [name, *(number(each["rows"].get(name, {}).get("mean"), each["unit"]) for each in metrics)] for name in models
    ]
    titles = (each["title"] + ("" if each["higher_is_better"] else " ↓") for each in metrics)
    return Table(columns("model", *titles), rows)


def contest_table(contests: Sequence[Mapping[str, Any]]) -> Table:
    """What to read with win rates: how far the judge can be trusted, and how long the answers are."""
    titles = ["prompts", "same answer", "missing", "unparsable", "ties", "position bias", "first place wins"]
    rows: list[list[Cell]] = []
    for each in contests:
        total = each["total"]
        shares = (total[key] for key in ("ties", "follows_place", "first_place_wins"))
        rows.append(
            [
                f"{each['model']} : {each['opponent']}",
                *(Number(total[key], "d") for key in ("prompts", "same_answer", "missing")),
                f"{total['unparsable']} of {total['judgements']}",
                *(None if share is None else Number(share, ".0%") for share in shares),
                " : ".join("–" if length is None else f"{length:.0f}" for length in total["mean_characters"]),
            ]
        )
    return Table(columns("contest", *titles, "mean length in characters"), rows)


def headline_of(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The metric that comes first."""
    return next((each for each in report["metrics"] if each["key"] == report["headline"]), None)


def evaluation_markdown(report: Mapping[str, Any]) -> str:
    """evaluation.md from what evaluation.json holds: one table for all, one per metric, and the win rates."""
    models, metrics, lines = report["models"], report["metrics"], ["# Evaluation", ""]
    tax, main = tax_cells(report), headline_of(report)
    if main is not None:
        lines += [f"## {escape(main['title'])}{', and the alignment tax' if tax else ''}", ""]
        lines += [to_markdown(metric_table(main, models, tax))]
    elif tax:
        lines += ["## Alignment tax", "", to_markdown(tax_table(report))]
    lines += [
        f"Shares are in percent, with {report['confidence']:.0%} intervals; below each, its difference from "
        f"{escape(report['initial'])} on the same examples, in points. Bold: the interval of the difference "
        "excludes zero. Means weigh all languages equally.",
        "",
    ]
    lines += [f"- {escape(note, width=None)}" for note in report["notes"]] + [""] * bool(report["notes"])
    for part, title in PART_TITLES.items():
        own = [each for each in metrics if each["part"] == part and each is not main]
        if own:
            lines += [f"## {title}", ""]
            for each in own:
                lines += [f"### {escape(each['title'])}{'' if each['higher_is_better'] else ' (lower is better)'}", ""]
                lines += [to_markdown(metric_table(each, models))]
            if part == "win-rate":
                lines += [to_markdown(contest_table(report["contests"]))]
    if not any(each["part"] == "win-rate" and each is not main for each in metrics) and report["contests"]:
        lines += ["## Details of the win rates", "", to_markdown(contest_table(report["contests"]))]
    harness = [each for each in metrics if each["part"] == "lm-eval"]
    if harness:
        lines += ["## lm-evaluation-harness", "", to_markdown(harness_table(harness, models))]
    return "\n".join(lines).rstrip() + "\n"
