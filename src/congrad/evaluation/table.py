"""The evaluation's table: figures with intervals and deltas to M0, as JSON and as Markdown.

Names of languages, models and tasks come from data sets and are escaped.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from congrad.evaluation.intervals import Figure, mean

Unit = Literal["percent", "bits", "plain"]
PART_TITLES = {"preference": "Held-out preferences", "win-rate": "Win rates", "task": "Local tasks"}
MEANS = ("seen", "unseen", "mean")
WIDTH = 80
BIDI = range(0x202A, 0x202F), range(0x2066, 0x206A)


@dataclass(frozen=True)
class Metric:
    """One measure of all models.

    Attributes:
        key: in the JSON.
        title: for a person.
        part: of the evaluation that it belongs to.
        figures: by model and language.
    """

    key: str
    title: str
    part: str
    unit: Unit
    higher_is_better: bool
    figures: Mapping[str, Mapping[str, Figure]]

    @property
    def languages(self) -> list[str]:
        return sorted({language for own in self.figures.values() for language in own})


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
    ordered = languages.ordered(metric.languages)
    means = {
        name: {kind: mean([own[each] for each in languages.of(kind, ordered) if each in own], draws) for kind in MEANS}
        for name, own in metric.figures.items()
    }
    rows = {}
    for name, own in metric.figures.items():
        is_initial, first = name == initial, metric.figures.get(initial, {})
        rows[name] = {
            "languages": {
                each: figure_content(own[each], None if is_initial else first.get(each), confidence)
                for each in ordered
                if each in own
            }
        } | {
            kind: figure_content(
                means[name][kind], None if is_initial or initial not in means else means[initial][kind], confidence
            )
            for kind in MEANS
        }
    return {
        "key": metric.key,
        "title": metric.title,
        "part": metric.part,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "languages": ordered,
        "rows": rows,
    }


# Markdown


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line and in one cell."""
    kept = "".join(c if unicodedata.category(c) != "Cc" else " " for c in text if not any(ord(c) in r for r in BIDI))
    kept = " ".join(kept.split())
    kept = kept if len(kept) <= WIDTH else f"{kept[: WIDTH - 1]}…"
    kept = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    kept = re.sub(r"([\\`*_{}\[\]()#+!|~:@$])", r"\\\1", kept)
    return re.sub(r"\bwww\.", r"www\\.", kept, flags=re.IGNORECASE)


def cell(content: Mapping[str, Any] | None, unit: Unit, *, intervals: bool = True) -> str:
    """A figure over its delta: `61.2 [55.1, 67.0]<br>+11.2 [+5.1, +17.0]`, the delta bold where it is clear of zero.

    Without `intervals` it is `61.2<br>+11.2`, bold all the same.
    """
    if content is None or content["value"] is None:
        return "–"
    text = number(content["value"], unit)
    if intervals and content["low"] is not None and content["low"] != content["high"]:
        text += f" [{number(content['low'], unit)}, {number(content['high'], unit)}]"
    if content.get("delta") is None:
        return text
    delta = number(content["delta"], unit, signed=True)
    low, high = content["delta_low"], content["delta_high"]
    if intervals and low is not None:
        delta += f" [{number(low, unit, signed=True)}, {number(high, unit, signed=True)}]"
    if low is not None and (low > 0 or high < 0):
        delta = f"**{delta}**"
    return f"{text}<br>{delta}"


def number(value: float, unit: Unit, *, signed: bool = False) -> str:
    digits = {"percent": 1, "bits": 3, "plain": 2}[unit]
    text = f"{100 * value if unit == 'percent' else value:{'+' if signed else ''}.{digits}f}"
    return re.sub(r"^[-+](0\.?0*)$", r"\1", text)  # no -0.0


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; cells are escaped already."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def metric_lines(
    content: Mapping[str, Any], models: Sequence[str], extra: Mapping[str, Callable[[str], str]] | None = None
) -> list[str]:
    """A metric's table: rows are models, columns languages, their means, and what `extra` adds."""
    unit, shown = content["unit"], [kind for kind in ("seen", "unseen") if has_mean(content, kind)]
    shown = shown or ["mean"] * (len(content["languages"]) > 1)
    header = [
        "model",
        *map(escape, content["languages"]),
        *(f"{kind} mean" if kind != "mean" else kind for kind in shown),
    ]
    rows = []
    for name in models:
        if name in content["rows"]:
            row = content["rows"][name]
            cells = [cell(row["languages"].get(language), unit) for language in content["languages"]]
            cells += [cell(row[kind], unit) for kind in shown]
            rows.append([escape(name), *cells, *(column(name) for column in (extra or {}).values())])
    return grid([*header, *(extra or {})], rows)


def has_mean(content: Mapping[str, Any], kind: str) -> bool:
    return any(row[kind]["value"] is not None for row in content["rows"].values())


def to_markdown(report: Mapping[str, Any]) -> str:
    """evaluation.md from what evaluation.json holds: the table, then one of every metric, then what stands beside."""
    models, metrics = report["models"], report["metrics"]
    percent = f"{report['confidence']:.0%}"
    lines = ["# Evaluation", ""]
    tax = tax_columns(report)
    main = next((each for each in metrics if each["key"] == report["headline"]), None)
    if main is not None:
        lines += [f"## {escape(main['title'])}{', and the alignment tax' if tax else ''}", ""]
        lines += metric_lines(main, models, tax)
    elif tax:
        lines += ["## Alignment tax", ""]
        rows = [[escape(name), *(column(name) for column in tax.values())] for name in models]
        lines += grid(["model", *tax], rows)
    lines += [
        f"Shares are in percent, with {percent} intervals; below each, its difference from "
        f"{escape(report['initial'])} on the same examples, in points. Bold: the interval of the difference leaves "
        "zero out. Means weigh languages alike.",
        "",
    ]
    lines += [f"- {escape_line(note)}" for note in report["notes"]] + [""] * bool(report["notes"])
    for part, title in PART_TITLES.items():
        own = [each for each in metrics if each["part"] == part and each is not main]
        if own:
            lines += [f"## {title}", ""]
            for each in own:
                lines += [f"### {escape(each['title'])}{'' if each['higher_is_better'] else ' (lower is better)'}", ""]
                lines += metric_lines(each, models)
            if part == "win-rate":
                lines += contest_lines(report["contests"])
    if not any(each["part"] == "win-rate" and each is not main for each in metrics) and report["contests"]:
        lines += ["## Beside the win rates", "", *contest_lines(report["contests"])]
    harness = [each for each in metrics if each["part"] == "lm-eval"]
    if harness:
        lines += ["## lm-evaluation-harness", "", *harness_lines(harness, models)]
    return "\n".join(lines).rstrip() + "\n"


def tax_columns(report: Mapping[str, Any]) -> dict[str, Callable[[str], str]]:
    """The columns of the tax that there are: tasks by accuracy, texts by bits per byte."""
    found: dict[str, Callable[[str], str]] = {}
    for key, title, unit in (("accuracy", "tasks", "percent"), ("bits_per_byte", "bits per byte ↓", "bits")):
        figures = report["tax"][key]
        if figures:
            found[title] = lambda name, figures=figures, unit=unit: cell(figures.get(name), unit)  # type: ignore[misc]
    return found


def harness_lines(metrics: Sequence[Mapping[str, Any]], models: Sequence[str]) -> list[str]:
    """One table of all: rows are models, columns tasks and metrics."""
    header = ["model", *(escape(each["title"]) + ("" if each["higher_is_better"] else " ↓") for each in metrics)]
    rows = [
        [escape(name), *(cell(each["rows"].get(name, {}).get("mean"), each["unit"]) for each in metrics)]
        for name in models
    ]
    return grid(header, rows)


def contest_lines(contests: Sequence[Mapping[str, Any]]) -> list[str]:
    """What belongs beside win rates: how far the judge can be trusted, and how long the answers are."""
    header = ["contest", "prompts", "same answer", "missing", "unparsable", "ties", "verdict follows place"]
    header += ["first place wins", "mean length in characters"]
    rows = []
    for each in contests:
        total = each["total"]
        lengths = " : ".join("–" if length is None else f"{length:.0f}" for length in total["mean_characters"])
        rows.append(
            [
                f"{escape(each['model'])} : {escape(each['opponent'])}",
                *(str(total[key]) for key in ("prompts", "same_answer", "missing")),
                f"{total['unparsable']} of {total['judgements']}",
                *(percent_or_dash(total[key]) for key in ("ties", "follows_place", "first_place_wins")),
                lengths,
            ]
        )
    return grid(header, rows)


def percent_or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def escape_line(text: str) -> str:
    """A note of ours, which may quote a name from a data set."""
    kept = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(
        r"([\\`*_{}\[\]#|~@$])", r"\\\1", kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
