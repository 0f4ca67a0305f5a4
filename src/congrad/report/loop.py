"""The terminal of the loop: which stage is at work, and a table when it is done."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import rich.table
from rich.console import Group, RenderableType
from rich.text import Text

from congrad.advice.budget import MEASURES
from congrad.evaluation.table import headline_of, metric_table, number, tax_cells, tax_table
from congrad.filtering.advised import read_advice
from congrad.loop.dry_run import Cost
from congrad.loop.plan import Step
from congrad.loop.run import RunListener
from congrad.report.display import Display, say, show
from congrad.report.rounds import read_pairings
from congrad.report.stage_files import MANIFESTS, Evaluation, Hygiene, Rates
from congrad.report.summary import chosen_in_words
from congrad.selfreward.hygiene import hygiene_table
from congrad.stage import MANIFEST, read_json
from congrad.tables import Cell, Column, Number, Table, columns, to_terminal
from congrad.words import human_bytes


def loop_listener(showing: Display, *, quiet: bool) -> RunListener:
    """Stages on the display, tables on standard output; the evaluation alone when quiet."""

    def on_step(step: Step) -> None:
        showing.rest()
        if not step.finished:
            showing.stage(step.title)

    def on_finished(step: Step) -> None:
        showing.rest()
        if step.stage == "evaluate":  # which ends a run, and depends on the judge
            for judged in last_judged(step.directory.parent):
                show_stage("judge", judged, f"judge, {judged.parent.relative_to(step.directory.parent)}")
        if not quiet or step.stage == "evaluate":
            show_stage(step.stage, step.directory, step.title)

    return RunListener(showing.listener, on_step, on_finished)


def last_judged(output: Path) -> list[Path]:
    """The directories of a run's last round of judging; several where there are several filters."""
    rounds = [
        (int(path.parent.name.removeprefix("round-")), path)
        for path in sorted(output.glob("**/round-*/judge"))
        if (path / MANIFEST).is_file()
    ]
    return [path for number, path in rounds if number == max(number for number, _ in rounds)]


def show_stage(stage: str, directory: Path, title: str) -> None:
    """What a finished stage shows: a table on standard output, its warnings on standard error."""
    manifest = read_json(directory / MANIFEST, MANIFESTS[stage])
    shown = TABLES[stage](directory, manifest)
    if isinstance(shown, str):
        show(f"{title}: {shown}")
    else:
        show(Text(title, "bold"), shown)
    for warning in manifest.get("warnings", []):
        say(warning, warning=True)


def counts_table(titles: Mapping[str, str], counts: Mapping[str, Mapping[str, int | None]]) -> Table:
    """Counts by language; the titles of the columns are by key."""
    rows = [
        [language, *(None if (count := row.get(key)) is None else Number(count, "d") for key in titles)]
        for language, row in counts.items()
    ]
    return Table(columns("language", *titles.values()), rows)


def generate_table(directory: Path, manifest: Mapping[str, Any]) -> RenderableType:
    keys = ("prompts", "samples", "empty", "repeated", "cut", "responses")
    titles = dict(zip(keys, (*keys[:-1], "answers"), strict=True))
    return to_terminal(counts_table(titles, manifest["languages"]))


def judge_table(directory: Path, manifest: Mapping[str, Any]) -> RenderableType:
    return to_terminal(hygiene_table(read_json(directory / "hygiene.json", Hygiene)), dense=True)


def pair_table(directory: Path, manifest: Mapping[str, Any]) -> RenderableType:
    """Pairs and what became of the other prompts, with how many answers are in another language."""
    if isinstance(manifest["languages"], list):  # a dataset that was taken in
        return f"{manifest['pairs']} pairs in {', '.join(manifest['languages'])}"
    rates = read_json(directory / "language.json", Rates)["languages"]
    titles = {
        "prompts": "prompts",
        "pairs": "pairs",
        "ties": "ties",
        "missing_scores": "no scores",
        "below_min_margin": "small margin",
        "single_response": "one answer",
    }
    table = counts_table(titles, manifest["languages"])
    other = [rates.get(language, {}).get("off_target_rate") for language in manifest["languages"]]
    rows = [[*row, None if rate is None else Number(rate, ".0%")] for row, rate in zip(table.rows, other, strict=True)]
    return to_terminal(Table([*table.columns, Column("other language")], rows))


def filter_line(directory: Path, manifest: Mapping[str, Any]) -> RenderableType:
    """What was kept, the share that was chosen where nobody said it, and the verdict of the advice."""
    said = [f"kept {manifest['kept']} of {manifest['rows']} pairs{chosen_in_words(manifest)}"]
    if (advice := read_advice(directory)) is not None:
        said.append(f"{advice['verdict']['sentence']} {advice['verdict']['basis']}".strip())
    compared = read_pairings(directory.parent)
    if compared is None:
        return "\n".join(said)
    for warning in compared["warnings"]:
        say(warning, warning=True)
    return Group(*map(Text, said), "", to_terminal(pairings_table(compared), dense=True), Text(PAIRINGS_LEGEND))


PAIRINGS_LEGEND = (
    "Predicted gain beside the way that is trained, on the held-out pairs of each way: for the budget of the training, "
    "then at equal step length. A way that makes more pairs also takes more steps in an epoch."
)


def pairings_table(compared: Mapping[str, Any]) -> Table:
    """Ways of pairing; differences from the first, which is trained, in the unit of the gain."""
    ways, rows = compared["ways"], []
    for way, (name, num_pairs) in enumerate(zip(ways, compared["num_pairs"], strict=True)):
        gains = [each["mean"] for by in MEASURES if compared["gains"] for each in compared["gains"][by][way]]
        deltas = [difference(each, is_trained=way == 0) for each in gains]
        rows.append([name, Number(num_pairs, ",d"), *deltas])
    titles = [f"{by.replace('_', ' ')}, on {on}" for by in MEASURES if compared["gains"] for on in ways]
    return Table(columns("way", "pairs", *titles), rows)


def difference(gain: Mapping[str, float], *, is_trained: bool) -> str:
    """`+12% [+3%, +20%]` of what the trained way gains on the same pairs, whose gain is shown itself."""
    if is_trained:
        return f"{gain['value']:.3g}"
    base = gain["value"] - gain["delta"]
    ends = (gain["delta"], gain["delta_low"], gain["delta_high"])
    delta, low, high = (f"{end / base:+.0%}" if base > 0 else f"{end:+.3g}" for end in ends)
    return f"{delta} [{low}, {high}]"


def train_line(directory: Path, manifest: Mapping[str, Any]) -> str:
    line = f"{manifest['pairs']} pairs, {manifest['steps']} steps"
    if None not in (manifest["first_loss"], manifest["last_loss"]):
        line += f", loss {manifest['first_loss']:.4g} at first, {manifest['last_loss']:.4g} at last"
    return line


def evaluation_tables(directory: Path, manifest: Mapping[str, Any]) -> RenderableType:
    """What evaluation.md begins with, cut to fit a screen: means with their intervals, a row per model; then single
    languages without them, a column per model."""
    report = read_json(directory / "evaluation.json", Evaluation)
    names, metric = report["models"], headline_of(report)
    means = tax_table(report) if metric is None else metric_table(metric, names, tax_cells(report), by_language=False)
    shown: list[RenderableType] = [to_terminal(means, dense=True)]
    if metric is not None:
        languages = {name: metric["rows"].get(name, {"languages": {}})["languages"] for name in names}
        by_language: list[list[Cell]] = [
            [language, *(number(languages[name].get(language), metric["unit"]) for name in names)]
            for language in metric["languages"]
        ]
        shown += ["", to_terminal(Table(columns("language", *names), by_language), dense=True, brief=True)]
    legend = (
        f"{metric['title'] if metric else 'Alignment tax'}. Beside or below each figure: its difference from "
        f"{report['initial']}, bold where its {report['confidence']:.0%} interval excludes zero."
    )
    place = f"All figures with their intervals: {directory / 'evaluation.md'}"
    return Group(*shown, "", Text(legend), Text(place))


def costs_table(costs: Iterable[Cost]) -> rich.table.Table:
    """A dry run's table; what is finished already is marked."""
    rows = [
        [
            cost.step.title,
            cost.makes,
            ("done, " if cost.step.finished else "") + cost.work,
            "?" if cost.disk_bytes is None else human_bytes(cost.disk_bytes) if cost.disk_bytes else "text",
        ]
        for cost in costs
    ]
    titles = ("stage", "makes at most", "takes at most")
    return to_terminal(Table([*(Column(title, right=False) for title in titles), Column("disk")], rows))


TABLES: dict[str, Callable[[Path, Mapping[str, Any]], RenderableType]] = {
    "generate": generate_table,
    "judge": judge_table,
    "pair": pair_table,
    "filter": filter_line,
    "train": train_line,
    "evaluate": evaluation_tables,
}
