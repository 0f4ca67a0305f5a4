"""What a tired person reads first: what stays, who conflicts, whether to trust it, and what to do next."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from congrad.report.agreement import Couple
from congrad.report.read import Run
from congrad.report.screen import LOW_FIDELITY
from congrad.selection.guards import MIN_PAIRS


@dataclass(frozen=True)
class Step:
    """Something to do next, with the command for it where there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Summary:
    """Attributes:
    headline: one sentence.
    facts: (name, number, explanation) of each.
    steps: in the order in which they should be thought about.
    conflicts: the couples that conflict clear of noise, the strongest first.
    """

    headline: str
    facts: list[tuple[str, str, str]]
    steps: list[Step]
    conflicts: list[Couple]


def percent(share: float) -> str:
    """A share between 0 and 1; nothing that is there is 0%, and nothing that is not whole is 100%."""
    value = 100 * share
    if 0 < value < 1 or 99 < value < 100:
        return f"{value:.1f}%" if 0.05 < value < 99.95 else ("below 0.1%" if value < 1 else "over 99.9%")
    return f"{value:.0f}%"


def exact_percent(share: float) -> str:
    """A share as the percentage that was given, all digits."""
    return format((Decimal(str(share)) * 100).normalize(), "f")


def counted(count: int, name: str) -> str:
    return f"{count:,} {name}" + ("" if count == 1 else "s")


def listed(names: Sequence[str], most: int = 6) -> str:
    """The names in a row; the number of those that are left out."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def rule_in_words(selection: dict[str, Any]) -> str:
    if selection["min_score"] is not None:
        return f"every pair with a score of {selection['min_score']} or more"
    scope = "all pairs together" if selection["scope"] == "global" else "every language"
    return f"the best-aligned {exact_percent(selection['keep'])}% of {scope}"


def summarise(run: Run, couples: Sequence[Couple]) -> Summary:
    """The summary of a run.

    Args:
        couples: of its languages, lowest cosine first.
    """
    manifest = run.manifest
    total, kept = len(run), int(run.keep_N.sum())
    conflicts = [couple for couple in couples if couple.conflict]
    few = [name for name, count in zip(run.languages, run.num_pairs_L, strict=True) if count < MIN_PAIRS]
    scored_N = ~np.isnan(run.score_N)
    negative = int((run.score_N[scored_N] < 0).sum())
    fidelity = manifest["fidelity"]["estimated_spearman"]
    rule = rule_in_words(manifest["config"]["selection"])
    headline = f"{kept:,} of {counted(total, 'pair')} stay: {rule}."
    facts = [
        ("Pairs kept", f"{kept:,} of {total:,}", f"{percent(kept / total)}; the rule: {rule}"),
        ("Conflicts beyond noise", *_conflict_fact(run, conflicts, few)),
        (
            "Pull away",
            percent(negative / max(1, int(scored_N.sum()))),
            f"{counted(negative, 'pair')} with a score below zero: they pull away from where the languages agree",
        ),
        ("Fidelity", *_fidelity_fact(fidelity)),
    ]
    return Summary(headline, facts, _steps(run, conflicts, few, fidelity), conflicts)


def unscored(run: Run) -> list[tuple[str, int]]:
    """Why pairs have no score, with their numbers, the most frequent first."""
    return Counter(run.reason_N[np.isnan(run.score_N)].tolist()).most_common()


def _conflict_fact(run: Run, conflicts: Sequence[Couple], few: Sequence[str]) -> tuple[str, str]:
    if len(run.languages) == 1:
        return "–", "one language only: there is nothing to conflict with"
    if conflicts:
        first = conflicts[0]
        figures = f"{first.cosine:+.2f} [{first.low:+.2f}, {first.high:+.2f}]".replace("-", "−")
        return counted(len(conflicts), "couple"), f"strongest: {first.first} and {first.second}, cosine {figures}"
    if len(few) >= len(run.languages) - 1:
        return "can’t tell", f"fewer than {MIN_PAIRS} pairs in {listed(few)}: too few to tell a conflict from noise"
    return "none", "no two languages pull apart by more than sampling noise explains"


def _fidelity_fact(fidelity: float | None) -> tuple[str, str]:
    if fidelity is None:
        return "unknown", "too few pairs to estimate how much compression blurs the ranking"
    quality = "the ranking can be trusted" if fidelity >= LOW_FIDELITY else "compression blurs this ranking"
    return f"{fidelity:.2f}", f"estimated rank correlation with uncompressed gradients: {quality}"


def _steps(run: Run, conflicts: Sequence[Couple], few: Sequence[str], fidelity: float | None) -> list[Step]:
    directory = shlex.quote(str(run.directory))
    refilter = f"congrad filter {directory}"
    steps = [Step(f"Train on {run.directory / 'kept.jsonl'}: your rows with all their columns, for any trainer.")]
    if few:
        steps.append(
            Step(
                f"Add pairs in {listed(few)}: below {MIN_PAIRS} pairs a language’s direction is mostly sampling noise, "
                "and so are its scores."
            )
        )
    if fidelity is not None and fidelity < LOW_FIDELITY:
        steps.append(
            Step(
                "Make the ranking sharper: add pairs, or filter the data again with wider sketches "
                "(index.projection_size=512 and a new output directory)."
            )
        )
    if conflicts:
        names = Counter(name for couple in conflicts for name in (couple.first, couple.second))
        steps.append(
            Step(
                f"Read some dropped pairs of {listed([name for name, _ in names.most_common()], 3)} below: what pulls "
                "against the others is either mislabelled or right in that language alone. Only you can tell."
            )
        )
    elif len(run.languages) > 1 and len(few) < len(run.languages) - 1:
        steps.append(
            Step(
                "The languages do not conflict beyond noise, so the filter works as a noise filter here. A larger "
                "share is the careful choice:",
                f"{refilter} --keep 0.8",
            )
        )
    agreeing = int((~run.keep_N & (run.score_N > 0)).sum())
    if agreeing and run.manifest["config"]["selection"]["min_score"] is None:
        steps.append(
            Step(
                f"{counted(agreeing, 'dropped pair')} still point{'s' if agreeing == 1 else ''} where the languages "
                "agree. To drop only what pulls away:",
                f"{refilter} --min-score 0",
            )
        )
    return steps
