"""The terminal after a filter: a table per language, warnings, and the next command."""

import shlex
import traceback
from math import comb
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from congrad.errors import UserError
from congrad.filtering.conclude import FilterResult
from congrad.report.agreement import by_chance
from congrad.report.display import console
from congrad.selection.guards import MIN_PAIRS

LOW_FIDELITY = 0.9  # below it, about one pair in seven changes sides of a keep share of one half


def strongest_conflict(result: FilterResult, language: int) -> str:
    """The language whose gradient this one's points away from most, with the interval of the cosine."""
    agreement = result.scored.detail.agreement
    cosines = agreement.cosine_LL[language].clone()
    cosines[language] = torch.nan
    if not cosines.isfinite().any():
        return "-"
    other = int(torch.where(cosines.isfinite(), cosines, torch.inf).argmin())
    low, high = agreement.interval_LL2[language, other].tolist()
    text = f"{result.scored.languages[other]} {cosines[other]:+.2f} [{low:+.2f}, {high:+.2f}]"
    enough = result.scored.detail.num_pairs_L[[language, other]].min() >= MIN_PAIRS
    return text + (" conflict" if high < 0 and enough else "")


def language_table(result: FilterResult) -> Table:
    """Pairs, kept pairs, mean score and strongest conflict of every language."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("language")
    for title in ("pairs", "kept", "mean score", "kept mean"):
        table.add_column(title, justify="right")
    table.add_column("lowest cosine [95%]")
    scored, keep_N = result.scored, result.keep_N
    score_N, language_N = scored.score_N.numpy(), scored.language_N
    for code, name in enumerate(scored.languages):
        own = (language_N == code).numpy()
        kept = own & keep_N.numpy()
        means = [f"{np.nanmean(score_N[m]):+.3f}" if np.isfinite(score_N[m]).any() else "-" for m in (own, kept)]
        conflict = strongest_conflict(result, code)
        style = "red" if conflict.endswith("conflict") else ""
        table.add_row(escape(name), str(own.sum()), str(kept.sum()), *means, escape(conflict), style=style)
    return table


def show_result(result: FilterResult, *, quiet: bool) -> None:
    """The table on standard output; warnings and the next command on standard error."""
    out = Console(highlight=False, soft_wrap=True)
    table = language_table(result)
    out.print(table)
    num_couples = comb(len(result.scored.languages), 2)
    if (expected := by_chance(num_couples)) and any(row.style for row in table.rows):
        out.print(
            f"conflict: the interval lies below zero; of {num_couples} couples of languages about {expected} would "
            "have such a one by chance"
        )
    total, kept = len(result.keep_N), int(result.keep_N.sum())
    unscored = sum(1 for reason in result.scored.reason_N if reason)
    out.print(
        f"kept {kept} of {total} pairs" + (f"; {unscored} could not be scored (see scores.parquet)" if unscored else "")
    )
    fidelity = result.manifest["fidelity"]["estimated_spearman"]
    if fidelity is not None:
        out.print(f"fidelity: Spearman of about {fidelity:.3f} with the scores of uncompressed gradients (estimated)")
        if fidelity < LOW_FIDELITY:
            console.print(
                "[yellow]warning:[/yellow] compression blurs these scores; more pairs help, and so does "
                "index.projection_size=512 with a new output directory",
                soft_wrap=True,
            )
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    if not quiet:
        directory = shlex.quote(str(result.output))
        kept_file = Path(result.output) / "kept.jsonl"
        console.print(f"next: train on {escape(str(kept_file))}, or try another share in seconds:", soft_wrap=True)
        console.print(f"  congrad filter {escape(directory)} --keep 0.3", soft_wrap=True)


def show_report(directory: Path, *, quiet: bool) -> None:
    """Writes the page on a finished run and names it on standard error; the run is whole if that fails."""
    from congrad.report.write import write_report

    try:
        path = write_report(directory)
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        console.print(
            f"[yellow]warning:[/yellow] no report ({escape(str(error))}); the run itself is whole", soft_wrap=True
        )
        return
    if not quiet:
        console.print(f"report: {escape(str(path))}", soft_wrap=True)
