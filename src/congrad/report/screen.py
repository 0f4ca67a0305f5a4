"""The terminal after a filter: a table per language, conflicts, warnings, and the next command."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from congrad.errors import UserError
from congrad.filtering.comparison import (
    LanguagePair,
    conflicts_in_words,
    language_pairs,
    most_opposed,
    read_comparison,
    verdicts_in_words,
)
from congrad.filtering.conclude import FilterResult
from congrad.filtering.left_out import left_out_in_words
from congrad.filtering.outputs import languages_content
from congrad.filtering.stability import stability_in_words
from congrad.report.advice import option_table, verdict_lines
from congrad.report.display import say, show, show_traceback
from congrad.report.summary import LOW_FIDELITY
from congrad.settings.advice import Advice
from congrad.tables import Cell, Column, Number, Table, columns, to_terminal


def language_table(result: FilterResult, pairs: list[LanguagePair]) -> Table:
    """Pairs, kept pairs, mean score and lowest cosine of every language; those that conflict are flagged."""
    scored, keep_N = result.scored, result.keep_N.numpy()
    score_N, language_N = scored.score_N.numpy(), scored.language_N.numpy()
    rows: list[list[Cell]] = []
    for code, name in enumerate(scored.languages):
        own_N = language_N == code
        kept_N = own_N & keep_N
        opposed = most_opposed(name, pairs)
        lowest = opposed and f"{opposed[0]} {opposed[1].figures}{' conflict' if opposed[1].conflict else ''}"
        counts = Number(int(own_N.sum()), "d"), Number(int(kept_N.sum()), "d")
        rows.append([name, *counts, _mean(score_N[own_N]), _mean(score_N[kept_N]), lowest])
    titles = columns("language", "pairs", "kept", "mean score", "kept mean")
    in_conflict = {name for pair in pairs if pair.conflict for name in (pair.first, pair.second)}
    flagged = {code for code, name in enumerate(scored.languages) if name in in_conflict}
    return Table([*titles, Column("lowest cosine [95%]", right=False)], rows, flagged)


def _mean(score_N: np.ndarray) -> Number | None:
    return Number(float(np.nanmean(score_N)), "+.3f") if np.isfinite(score_N).any() else None


def conflict_lines(pairs: list[LanguagePair]) -> list[str]:
    """Every conflict, and how many language pairs conflict, agree or cannot be told."""
    conflicts = conflicts_in_words(pairs)
    return [*filter(None, [conflicts and f"conflicts (noise taken out): {conflicts}", verdicts_in_words(pairs)])]


def show_result(result: FilterResult, *, quiet: bool) -> None:
    """The tables and the verdict on standard output; warnings and the next command on standard error."""
    pairs = language_pairs(read_comparison(languages_content(result.scored)))
    show(to_terminal(language_table(result, pairs)), *conflict_lines(pairs))
    unscored = sum(1 for reason in result.scored.reason_N if reason)
    left_out = f"; {unscored} could not be scored (see scores.parquet)" if unscored else ""
    show(f"kept {int(result.keep_N.sum())} of {len(result.keep_N)} pairs{left_out}")
    if unused := left_out_in_words(result.manifest["input"], Path(result.output)):
        show(unused)
    fidelity = result.manifest["fidelity"]["estimated_spearman"]
    if fidelity is not None:
        text = f"fidelity: Spearman of about {fidelity:.3f} with the scores of uncompressed gradients"
        show(f"{text} (estimated; of the compression alone)")
        if fidelity < LOW_FIDELITY:
            say(
                "compression blurs these scores; more pairs help, and so does index.projection_size=512 with a new "
                "output directory",
                warning=True,
            )
    if stability := stability_in_words(result.manifest["stability"]):
        show(stability)
    keep = result.manifest["config"]["selection"]["keep"]
    show_advice(result.advice, keep)
    for warning in result.warnings:
        say(warning, warning=True)
    if not quiet:
        kept = Path(result.output) / "kept.jsonl"
        if keep == result.advice["verdict"]["share"]:
            say(f"next: train on {kept}")
        else:
            is_told = bool(result.advice["options"])
            other = "keep what is advised" if is_told else "keep all pairs, since too few are there to tell"
            say(f"next: train on {kept}, or {other}, in seconds:")
            say(f"  {follow_command(Path(result.output), result.advice)}")


def show_advice(advice: Mapping[str, Any], keep: float | None = None) -> None:
    """The verdict and its table on standard output.

    Args:
        keep: the share that was kept, if it was one.
    """
    show(*verdict_lines(advice))
    if advice["options"]:
        show(to_terminal(option_table(advice, keep), dense=True))


def follow_command(run: Path, advice: Mapping[str, Any]) -> str:
    """Filters a run again as is advised, for the training that the advice is for."""
    usual = Advice()
    budget = {name: advice.get(name) for name in ("epochs", "batch_size", "steps")}
    own = [f" advice.{name}={value}" for name, value in budget.items() if value not in (None, getattr(usual, name))]
    return f"congrad filter {shlex.quote(str(run))} --keep auto{''.join(own)}"


def show_report(directory: Path, *, quiet: bool) -> None:
    """Writes the page on a finished run and names it on standard error; the run is complete even if that fails."""
    from congrad.report.write import write_report

    try:
        path = write_report(directory)
    except Exception as error:
        if not isinstance(error, UserError):
            show_traceback()
        say(f"the report was not written ({error}); the run itself is complete", warning=True)
        return
    if not quiet:
        say(f"report: {path}")
