"""The terminal of the loop: which stage is at work, and a table when it is done."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from congrad.evaluation.table import cell, has_mean, tax_columns
from congrad.loop.dry_run import Cost
from congrad.loop.plan import Step
from congrad.loop.run import RunListener
from congrad.report.display import Display, console
from congrad.selfreward.hygiene import hygiene_table
from congrad.stage import MANIFEST, read_json
from congrad.words import human_bytes

BOLD = re.compile(r"\*\*(.*?)\*\*")


def loop_listener(showing: Display, *, quiet: bool) -> RunListener:
    """Stages on the display, tables on standard output; the evaluation alone when quiet."""
    out = Console(highlight=False, soft_wrap=True)

    def on_step(step: Step) -> None:
        showing.rest()
        if not step.finished:
            showing.stage(step.title)

    def on_finished(step: Step) -> None:
        showing.rest()
        if step.stage == "evaluate":  # which ends a run, and is worth what the judge is
            for judged in last_judged(step.directory.parent):
                show_stage("judge", judged, f"judge, {judged.parent.relative_to(step.directory.parent)}", out)
        if not quiet or step.stage == "evaluate":
            show_stage(step.stage, step.directory, step.title, out)

    return RunListener(showing.listener, on_step, on_finished)


def last_judged(output: Path) -> list[Path]:
    """The directories of a run's last round of judging; several where filters have gone their own ways."""
    rounds = [
        (int(path.parent.name.removeprefix("round-")), path)
        for path in sorted(output.glob("**/round-*/judge"))
        if (path / MANIFEST).is_file()
    ]
    return [path for number, path in rounds if number == max(number for number, _ in rounds)]


def show_stage(stage: str, directory: Path, title: str, out: Console) -> None:
    """What a finished stage has to say: a table on standard output, its warnings on standard error."""
    manifest = read_json(directory / MANIFEST)
    shown = TABLES[stage](directory, manifest)
    if isinstance(shown, str):
        out.print(escape(f"{title}: {shown}"))
    else:
        out.print(Group(f"[bold]{escape(title)}[/bold]", shown))
    for warning in manifest.get("warnings", []):
        console.print(f"[yellow]warning:[/yellow] {escape(str(warning))}", soft_wrap=True)


def counts_table(columns: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Counts by language.

    Args:
        columns: titles by key.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("language")
    for title in columns.values():
        table.add_column(title, justify="right")
    for language, row in rows.items():
        table.add_row(escape(language), *("-" if row.get(key) is None else str(row[key]) for key in columns))
    return table


def generate_table(directory: Path, manifest: Mapping[str, Any]) -> Table:
    columns = ("prompts", "samples", "empty", "repeated", "cut", "responses")
    return counts_table(dict(zip(columns, (*columns[:-1], "answers"), strict=True)), manifest["languages"])


def judge_table(directory: Path, manifest: Mapping[str, Any]) -> Table:
    return hygiene_table(read_json(directory / "hygiene.json"))


def pair_table(directory: Path, manifest: Mapping[str, Any]) -> Table | str:
    """Pairs and what became of the other prompts, with how many answers are in another language."""
    if not (directory / "language.json").is_file():  # a dataset that was taken in
        return f"{manifest['pairs']} pairs in {', '.join(manifest['languages'])}"
    rates = read_json(directory / "language.json")["languages"]
    columns = {
        "prompts": "prompts",
        "pairs": "pairs",
        "ties": "ties",
        "missing_scores": "no scores",
        "below_min_margin": "small margin",
        "single_response": "one answer",
        "off_target": "other language",
    }
    rows = {}
    for language, row in manifest["languages"].items():
        rate = rates.get(language, {}).get("off_target_rate")
        rows[language] = row | {"off_target": None if rate is None else f"{rate:.0%}"}
    return counts_table(columns, rows)


def filter_line(directory: Path, manifest: Mapping[str, Any]) -> str:
    return f"kept {manifest['kept']} of {manifest['rows']} pairs"


def train_line(directory: Path, manifest: Mapping[str, Any]) -> str:
    line = f"{manifest['pairs']} pairs, {manifest['steps']} steps"
    if manifest["first_loss"] is not None:
        line += f", loss {manifest['first_loss']:.4g} at first, {manifest['last_loss']:.4g} at last"
    return line


def evaluation_tables(directory: Path, manifest: Mapping[str, Any]) -> Group:
    """What evaluation.md begins with, cut to fit a screen: means with their intervals, a row per model; then single
    languages without them, a column per model."""
    report = read_json(directory / "evaluation.json")
    names = report["models"]
    metric = next((each for each in report["metrics"] if each["key"] == report["headline"]), None)
    tax = tax_columns(report)
    tables: list[Table | str] = []
    titles, rows = list(tax), {name: [column(name) for column in tax.values()] for name in names}
    if metric is not None:
        unit, own = metric["unit"], metric["rows"]
        kinds = [kind for kind in ("seen", "unseen") if has_mean(metric, kind)]
        titles = [*(f"{kind} mean" for kind in kinds), *titles]
        rows = {name: [*(cell(own[name][kind], unit) for kind in kinds), *cells] for name, cells in rows.items()}
        by_language = {
            language: [
                cell(own[name]["languages"].get(language), unit, intervals=False).replace("<br>", " ") for name in names
            ]
            for language in metric["languages"]
        }
        tables = ["", cells_table("language", names, by_language)]
    return Group(
        cells_table("model", titles, rows),
        *tables,
        "",
        escape(f"{metric['title'] if metric else 'Alignment tax'}. Beside or below a figure its difference from ")
        + escape(f"{report['initial']}, bold where its {report['confidence']:.0%} interval leaves zero out."),
        escape(f"All figures with their intervals: {directory / 'evaluation.md'}"),
    )


def cells_table(corner: str, titles: Iterable[str], rows: Mapping[str, Iterable[str]]) -> Table:
    """A table of cells as Markdown has them."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column(corner, overflow="fold")
    for title in titles:
        table.add_column(escape(title), justify="right", overflow="fold")
    for name, cells in rows.items():
        table.add_row(escape(name), *map(as_terminal, cells))
    return table


def as_terminal(markdown: str) -> str:
    """A cell of a Markdown table for the terminal."""
    return BOLD.sub(r"[bold]\1[/bold]", escape(markdown.replace("<br>", "\n")))


def costs_table(costs: Iterable[Cost]) -> Table:
    """A dry run's table; what is finished already is marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("stage", "makes at most", "takes at most"):
        table.add_column(title)
    table.add_column("disk", justify="right")
    for cost in costs:
        disk = "?" if cost.disk_bytes is None else human_bytes(cost.disk_bytes) if cost.disk_bytes else "text"
        state = "done, " if cost.step.finished else ""
        table.add_row(escape(cost.step.title), escape(cost.makes), escape(state + cost.work), disk)
    return table


TABLES: dict[str, Callable[[Path, Mapping[str, Any]], Table | Group | str]] = {
    "generate": generate_table,
    "judge": judge_table,
    "pair": pair_table,
    "filter": filter_line,
    "train": train_line,
    "evaluate": evaluation_tables,
}
