"""From what was measured to the figures of the table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from congrad.evaluation.harness import harness_figures, is_accuracy
from congrad.evaluation.intervals import Examples, Figure, constant, figure, mean
from congrad.evaluation.likelihood import likelihood_examples
from congrad.evaluation.measure import Found, Inputs
from congrad.evaluation.preference import IMPLICIT, METRICS, accuracies, scored_by_all
from congrad.evaluation.table import Languages, Metric, Unit, figure_content, metric_content
from congrad.evaluation.winrate import by_language, describe_contest, win_examples
from congrad.languages.tags import tag_of
from congrad.settings.evaluation import Evaluate
from congrad.settings.model import Model

MIN_EXAMPLES = 20  # with fewer, a bootstrap has seen too little of how different examples can be
MEANS_OF = {"preference": "held-out pairs", "win-rate": "judged prompts"}

Drawn = Callable[[Mapping[str, Mapping[str, Examples]]], dict[str, dict[str, Figure]]]
"""Examples by model and language into figures."""


def tagged(names: Sequence[str]) -> list[str]:
    """Languages of the settings as they are written and as those of the data are called: tasks keep their own names."""
    return list(dict.fromkeys(called for name in names for called in (name, tag_of(name) or name)))


def make_report(models: Mapping[str, Model], settings: Evaluate, inputs: Inputs, found: Found) -> dict[str, Any]:
    """What evaluation.json holds."""
    initial, languages = next(iter(models)), Languages(tagged(settings.seen), tagged(settings.unseen))
    draws, confidence = settings.draws, settings.confidence

    def drawn(examples: Mapping[str, Mapping[str, Examples]]) -> dict[str, dict[str, Figure]]:
        return {
            name: {
                language: figure(each, seed=settings.seed, name=language, draws=draws) for language, each in own.items()
            }
            for name, own in examples.items()
        }

    metrics: list[Metric] = []
    if inputs.pairs is not None:
        for key, examples in accuracies(found.pairs, initial, inputs.pairs).items():
            figures = drawn(examples)
            if key == IMPLICIT:  # by definition, and not as it happened to come out
                figures[initial] = half(figures[initial], draws)
            metrics.append(Metric(key, METRICS[key], "preference", "percent", True, figures))
    metrics += win_metrics(found, initial, settings, drawn)
    taxes: dict[str, dict[str, list[Figure]]]
    taxes = {kind: {name: [] for name in models} for kind in ("accuracy", "bits_per_byte")}
    for metric, tax in task_metrics(inputs, found, drawn) + harness_metrics(found, settings):
        metrics.append(metric)
        if tax is not None:
            for name, own in metric.figures.items():
                taxes[tax][name].append(mean(list(own.values()), draws))
    keys = [metric.key for metric in metrics]
    contents = [metric_content(each, languages, initial, confidence=confidence, draws=draws) for each in metrics]
    return {
        "congrad": 1,
        "models": list(models),
        "initial": initial,
        "seen": list(settings.seen),
        "unseen": list(settings.unseen),
        "confidence": confidence,
        "draws": draws,
        "headline": next((key for key in (IMPLICIT, f"win-rate/{initial}") if key in keys), None),  # the first table
        "metrics": contents,
        "tax": {kind: tax_content(own, initial, confidence, draws) for kind, own in taxes.items()},
        "contests": contest_content(found),
        "notes": notes(settings, inputs, found, contents),
    }


def half(figures: Mapping[str, Figure], draws: int) -> dict[str, Figure]:
    """What M0 has against itself, in the same languages."""
    return {language: constant(0.5, each.count, draws) for language, each in figures.items()}


def win_metrics(found: Found, initial: str, settings: Evaluate, drawn: Drawn) -> list[Metric]:
    """A win rate for every opponent. M0's own row is 1/2 against itself, and what is left of the other's against M0."""
    metrics = []
    for opponent in dict.fromkeys(other for _, other in found.judged):
        examples = {name: win_examples(judged) for (name, other), judged in found.judged.items() if other == opponent}
        figures = drawn(examples)
        if opponent == initial:
            there = {language: each for own in figures.values() for language, each in own.items()}
            figures = {initial: half(there, settings.draws), **figures}
        elif (opponent, initial) in found.judged:
            reverse = win_examples(found.judged[(opponent, initial)], reverse=True)
            figures = {**drawn({initial: reverse}), **figures}
        title = f"Win rate against {opponent}"
        metrics.append(Metric(f"win-rate/{opponent}", title, "win-rate", "percent", True, figures))
    return metrics


def task_metrics(inputs: Inputs, found: Found, drawn: Drawn) -> list[tuple[Metric, str | None]]:
    """Metrics of the local tasks, each with the tax that it enters."""
    result: list[tuple[Metric, str | None]] = []
    for title, (task, items) in inputs.tasks.items():
        key = f"task/{title}"
        if task.kind == "exact-match":
            examples: dict[str, dict[str, Examples]] = {name: {} for name in found.matches}
            for language in sorted({item.language for item in items}):
                numbers = [number for number, item in enumerate(items) if item.language == language]
                for name, matches in found.matches.items():
                    examples[name][language] = Examples.of([float(matches[title][number]) for number in numbers])
            metric = Metric(f"{key}/exact-match", f"{title}, exact match", "task", "percent", True, drawn(examples))
            result.append((metric, "accuracy"))
            continue
        measures = likelihood_examples(task, items, {name: own[title] for name, own in found.items.items()})
        figures = {measure: drawn(examples) for measure, examples in measures.items()}
        kinds: list[tuple[str, str, Unit, bool, str | None]] = [
            ("bits-per-byte", "bits per byte", "bits", False, "bits_per_byte"),
            ("per-token", "perplexity per token", "plain", False, None),
            ("accuracy", "accuracy", "percent", True, "accuracy"),
            ("accuracy-normalised", "accuracy per character", "percent", True, None),
        ]
        for measure, words, unit, higher, tax in kinds:
            if measure in figures:
                own = figures[measure]
                if measure == "per-token":
                    own = {name: {lang: each.map(np.exp) for lang, each in by.items()} for name, by in own.items()}
                result.append((Metric(f"{key}/{measure}", f"{title}, {words}", "task", unit, higher, own), tax))
    return result


def harness_metrics(found: Found, settings: Evaluate) -> list[tuple[Metric, str | None]]:
    """Metrics of the harness; of every task the first accuracy enters the tax."""
    result: list[tuple[Metric, str | None]] = []
    for task in settings.lm_eval.tasks if settings.lm_eval is not None else ():
        figures = {
            name: harness_figures(name, own[task], seed=settings.seed, draws=settings.draws)
            for name, own in found.harness.items()
        }
        first = next(iter(found.harness.values()))[task]
        tax: str | None = "accuracy"
        for metric in dict.fromkeys(each["metric"] for each in first):
            share = all(is_accuracy(own[task], metric) for own in found.harness.values())
            higher = next(each["higher_is_better"] for each in first if each["metric"] == metric)
            own = {name: {task: by[metric]} for name, by in figures.items() if metric in by}
            unit: Unit = "percent" if share else "plain"
            shown = Metric(f"lm-eval/{task}/{metric}", f"{task}, {metric}", "lm-eval", unit, higher, own)
            result.append((shown, tax if share else None))
            tax = None if share else tax
    return result


def tax_content(
    figures: Mapping[str, Sequence[Figure]], initial: str, confidence: float, draws: int
) -> dict[str, dict[str, Any]]:
    """The mean over tasks of every model; its delta is the tax."""
    means = {name: mean(own, draws) for name, own in figures.items() if own}
    others = {name: None if name == initial else means.get(initial) for name in means}
    return {name: figure_content(own, others[name], confidence) for name, own in means.items()}


def contest_content(found: Found) -> list[dict[str, Any]]:
    contents = []
    for (model, opponent), judged in found.judged.items():
        languages = {language: describe_contest(own) for language, own in by_language(judged).items()}
        total = describe_contest(judged)
        contents.append({"model": model, "opponent": opponent, "total": total, "languages": languages})
    return contents


def notes(settings: Evaluate, inputs: Inputs, found: Found, contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a person should know before believing a figure."""
    said = []
    there = {language for each in contents if each["part"] != "lm-eval" for language in each["languages"]}
    in_means = {language for each in contents if each["part"] in MEANS_OF for language in each["languages"]}
    for key in ("seen", "unseen"):
        if missing := [language for language in getattr(settings, key) if there.isdisjoint(tagged([language]))]:
            said.append(f"evaluate.{key} names {', '.join(missing)}, for which there is nothing to measure")
    if (settings.seen or settings.unseen) and (
        rest := sorted(in_means - {*tagged(settings.seen), *tagged(settings.unseen)})
    ):
        said.append(f"{', '.join(rest)}: not in any mean, because neither evaluate.seen nor evaluate.unseen names them")
    for (name, what, total), count in found.empty.items():
        if count:
            said.append(f"{name}: {count} of {total} answers to {what} are empty")
    if inputs.pairs is not None:
        total = len(inputs.pairs)
        if lost := total - int(scored_by_all(found.pairs).sum()):
            said.append(f"{lost} of {total} held-out pairs cannot be scored by every model and are left out")
    for part, words in MEANS_OF.items():
        if few := few_examples([each for each in contents if each["part"] == part]):
            where = f"fewer than {MIN_EXAMPLES} {words} in {', '.join(few)}"
            said.append(f"{where}: their intervals of differences are too narrow")
    for (model, opponent), judged in found.judged.items():
        contest = describe_contest(judged)
        if contest["missing"]:
            what = f"{model} against {opponent}: {contest['missing']} of {contest['prompts']} prompts are missing"
            said.append(f"{what}, because the judge gave no readable verdict in one of the two orders")
    return said


def few_examples(contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Languages with fewer than `MIN_EXAMPLES` examples for some model."""
    rows = [row["languages"] for each in contents for row in each["rows"].values()]
    return sorted({language for row in rows for language, own in row.items() if own["count"] < MIN_EXAMPLES})
