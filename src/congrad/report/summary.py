"""What a tired person reads first: what stays, who conflicts, whether to trust it, and what to do next."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from congrad.consensus.findings import CANNOT_TELL
from congrad.filtering.comparison import LanguagePair, verdicts_in_words
from congrad.filtering.finished import ScoredRun
from congrad.settings.consensus import Consensus, Loss
from congrad.tables import MINUS

LOW_FIDELITY = 0.9  # below it, about one pair in seven changes sides of a keep share of one half


@dataclass(frozen=True)
class Advice:
    """Something to do next, with the command for it where there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Summary:
    """Attributes:
    headline: one sentence.
    facts: (name, number, explanation) of each.
    steps: in the order in which they should be thought about.
    conflicts: the language pairs that conflict, the strongest first.
    """

    headline: str
    facts: list[tuple[str, str, str]]
    steps: list[Advice]
    conflicts: list[LanguagePair]


def percent(share: float) -> str:
    """A share between 0 and 1; nothing that is there is 0%, and nothing that is not whole is 100%."""
    value = 100 * share
    if 0 < value < 1 or 99 < value < 100:
        return f"{value:.1f}%" if 0.05 < value < 99.95 else ("below 0.1%" if value < 1 else "over 99.9%")
    return f"{value:.0f}%"


def exact_percent(share: float) -> str:
    """A share as the percentage that was given, all digits."""
    return format((Decimal(str(share)) * 100).normalize(), "f")


def refilter_command(directory: Path, manifest: dict[str, Any]) -> str:
    """`congrad filter RUN` with the keys of loss and consensus that are not the defaults."""
    words = ["congrad", "filter", str(directory)]
    for part, defaults in (("loss", asdict(Loss())), ("consensus", asdict(Consensus()))):
        for name, value in manifest["config"][part].items():
            if value is not None and value != defaults.get(name, value):  # another version may have had other keys
                words.append(f"{part}.{name}={value}")
    return shlex.join(words)


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


def chosen_in_words(manifest: Mapping[str, Any]) -> str:
    """Which share was chosen where nobody said it; "" where somebody did."""
    auto = manifest.get("auto")
    return "" if auto is None else f" ({auto.get('share', 1.0):.0%} of every language, chosen by selection.keep auto)"


def summarise(run: ScoredRun, pairs: Sequence[LanguagePair]) -> Summary:
    """The summary of a run, with the pairs of its languages, lowest cosine first."""
    manifest = run.manifest
    total, kept = len(run), int(run.keep_N.sum())
    conflicts = [pair for pair in pairs if pair.conflict]
    few = [name for name, _ in run.compared.too_few]
    scored_N = ~np.isnan(run.score_N)
    negative = int((run.score_N[scored_N] < 0).sum())
    fidelity = manifest["fidelity"]["estimated_spearman"]
    rule = rule_in_words(manifest["config"]["selection"])
    rule += "" if manifest.get("auto") is None else ", chosen by selection.keep auto"
    headline = f"{kept:,} of {counted(total, 'pair')} stay: {rule}."
    facts = [
        ("Pairs kept", f"{kept:,} of {total:,}", f"{percent(kept / total)}; the rule: {rule}"),
        ("Conflicts beyond noise", *_conflict_fact(run, pairs, conflicts)),
        (
            "Against consensus",
            percent(negative / max(1, int(scored_N.sum()))),
            f"{counted(negative, 'pair')} with a score below zero: they point away from where the languages agree",
        ),
        ("Fidelity", *_fidelity_fact(fidelity)),
        *_stability_fact(manifest.get("stability", {})),
    ]
    return Summary(headline, facts, list(_steps(run, pairs, conflicts, few, fidelity)), conflicts)


def unscored(run: ScoredRun) -> list[tuple[str, int]]:
    """Why pairs have no score, with their numbers, the most frequent first."""
    return Counter(run.reason_N[np.isnan(run.score_N)].tolist()).most_common()


def _conflict_fact(run: ScoredRun, pairs: Sequence[LanguagePair], conflicts: Sequence[LanguagePair]) -> tuple[str, str]:
    if len(run.languages) == 1:
        return "–", "there is only one language"
    if conflicts:
        first = conflicts[0]
        figures = first.effect_figures.replace("-", MINUS)
        strongest = f"strongest: {first.first} and {first.second}, cosine {figures}"
        return counted(len(conflicts), "language pair"), strongest
    unknown = all(pair.verdict == CANNOT_TELL for pair in pairs)
    return "can’t tell" if unknown else "none", verdicts_in_words(pairs)


def _fidelity_fact(fidelity: float | None) -> tuple[str, str]:
    if fidelity is None:
        return "unknown", "too few pairs to estimate how much compression blurs the ranking"
    quality = "compression changes little" if fidelity >= LOW_FIDELITY else "compression blurs this ranking"
    return f"{fidelity:.2f}", f"estimated rank correlation with uncompressed gradients: {quality}"


def _stability_fact(stability: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Nothing in a run of before it was measured."""
    if stability.get("half_spearman") is None:
        return []
    by_both, by_chance = (percent(stability[name]) for name in ("kept_by_both", "kept_by_chance"))
    text = (
        f"rank correlation of two halves of the prompts, which keep {by_both} of the same pairs ({by_chance} by chance)"
    )
    return [("Stability", f"{stability['half_spearman']:.2f}", text)]


def _steps(
    run: ScoredRun,
    pairs: Sequence[LanguagePair],
    conflicts: Sequence[LanguagePair],
    few: Sequence[str],
    fidelity: float | None,
) -> Iterator[Advice]:
    directory = shlex.quote(str(run.directory))
    refilter = f"congrad filter {directory}"
    advice = run.advice
    if advice is not None:
        yield Advice(f"{advice['verdict']['sentence']} {advice['verdict']['basis']}".strip())
    yield Advice(f"Train on {run.directory / 'kept.jsonl'}: your rows with all their columns, for any trainer.")
    if few:
        yield Advice(
            f"Add pairs in {listed(few)}: below {run.compared.min_pairs} pairs a language’s direction is mostly "
            "sampling noise, and so are its scores."
        )
    if fidelity is not None and fidelity < LOW_FIDELITY:
        yield Advice(
            "Make the ranking sharper: add pairs, or filter the data again with wider sketches "
            "(index.projection_size=512 and a new output directory)."
        )
    if conflicts:
        names = Counter(name for pair in conflicts for name in (pair.first, pair.second))
        yield Advice(
            f"Read some dropped pairs of {listed([name for name, _ in names.most_common()], 3)} below: a pair that "
            "points away is either mislabelled, or right in that language alone. Only a reader can decide."
        )
    elif advice is None and any(pair.verdict != CANNOT_TELL for pair in pairs):
        yield Advice(
            "No conflict of languages is clear of noise, so here the filter only removes noise. To be careful, keep a "
            "larger share:",
            f"{refilter} --keep 0.8",
        )
    agreeing = int((~run.keep_N & (run.score_N > 0)).sum())
    if agreeing and run.manifest["config"]["selection"]["min_score"] is None:
        yield Advice(
            f"{counted(agreeing, 'dropped pair')} still point{'s' if agreeing == 1 else ''} where the languages "
            "agree. To drop only pairs that point away:",
            f"{refilter} --min-score 0",
        )
