"""What the rows say, as a page: tables of options by case, and how far the predictions carried."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import numpy as np

from bench.evidence.cases import Option
from bench.evidence.plan import (
    AUTO,
    FIVE,
    GROUPS,
    LARGER,
    MORE_SEEDS,
    NOISES,
    OTHER_RECIPES,
    PAPER,
    QUARTER,
    RANDOM_GROUPS,
    RECIPE,
    SEEDS,
    SIX,
    TOGETHER,
    Training,
    groups_key,
    groups_plan,
    paper_plan,
    plan,
    prediction_key,
    resolved,
    training_key,
)
from bench.evidence.training import Recipe
from bench.known_truth.page import tables
from bench.log import Row
from bench.markdown import markdown
from bench.ranking import spearman
from bench.where import origin
from congrad.advice.budget import Floats
from congrad.advice.options import ALL, OWN, TITLES

PREDICTED = (("advice", "equal_length"), ("advice", "budget"), ("outside", "budget"))
HEAD = ("option", "pairs", "swapped", "steps", "equal length", "for the budget", "true labels")
MEASURED = ("loss decrease", "accuracy", "seeds")
DIVISIONS: dict[str, tuple[str, Callable[[Row], Row]]] = {  # a title, and the predicted gain by measure
    TOGETHER: ("together", lambda case: case["together"]),
    GROUPS: ("two groups", lambda case: {measure: each["value"] for measure, each in case["gain"].items()}),
    RANDOM_GROUPS: ("two random groups", lambda case: case["random_gain"]),
}
TEXT = """# Evidence

The advice of `congrad filter` is a prediction: to first order, at the start of training. This page sets it beside real
trainings. A row of a table is an option; its figures are means over seeds, in brackets the smallest and the largest.

- **Data**: the demo's pairs in {languages}. A quarter of the 48 prompts is held out, in all languages at
  once, and {pairs} pairs are left to train on. Of these a share has its labels swapped. Held-out pairs keep their true
  labels. A seed draws the prompts, the swapped labels, the adapter and the order.
- **Training**: Gemma 3 270M (`gemma3-270m`) in float32, a LoRA adapter of rank {rank} on its linear layers, DPO with
  beta {beta}, AdamW, a learning rate of {learning_rate:g} that falls to 0 on a line, batches of {batch_size}, one
  epoch. It is a plain loop in PyTorch that gives what `congrad train` gives (a test on a tiny model) and has the head
  run on response tokens alone.
- **Predicted**: by the advice, which knows the training pairs alone, with the labels that they carry; at equal step
  length, and for the budget, which is the training's own. *True labels* is the same figure for the budget, but of the
  held-out pairs with their true labels. Where it ranks the options as the trainings do and the advice does not, the
  labels and the number of pairs are to blame; where it does not either, first order is. The unit is the same in a
  column, and has no meaning of its own.
- **Measured**: by how much the loss of the held-out pairs falls from log 2, mean over languages, and the share of the
  held-out pairs whose margin the training widened.

{where} Written by the program that did it, which goes on where it stopped:

<!-- not run: it takes hours -->
```sh
python -m bench.evidence
python -m bench.evidence --markdown > docs/evidence.md
```

{sections}

## What is missing

{missing}
"""


class Found:
    """The rows by their keys."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = {json.dumps(row["key"]): row for row in rows}

    def prediction(self, noise: float, seed: int, recipe: Recipe = RECIPE, *, every: bool = False) -> Row | None:
        return self.rows.get(json.dumps(prediction_key(noise, seed, recipe, every=every)))

    def training(self, training: Training) -> Row | None:
        """With `auto` as the prediction has it."""
        if training.share == AUTO:
            case = self.prediction(training.noise, training.seed, training.recipe)
            if case is None:
                return None
            training = resolved(training, case["auto"])
        return self.rows.get(json.dumps(training_key(training)))


def predicted(case: Row, option: Option) -> Row:
    found: Row = next(each for each in case["options"] if (each["ranking"], each["share"]) == option)
    return found


def page(rows: Sequence[Row], known_truth: Sequence[Row] = ()) -> str:
    """The whole page, of whatever has been done.

    Args:
        known_truth: the rows of `python -m bench.known_truth`.
    """
    found = Found(rows)
    sections = [
        section(found, "A quarter of the labels swapped", QUARTER, SEEDS, RECIPE, (*FIVE, *LARGER)),
        section(found, "Right labels", 0.0, SEEDS, RECIPE, FIVE),
        *(section(found, f"A quarter swapped, {name}", QUARTER, [0], each, FIVE) for each, name in OTHER_RECIPES),
        keep_auto(found),
        groups(found),
        paper(found),
        tables(known_truth),
    ]
    return TEXT.format(
        languages=", ".join(SIX),
        pairs=next(iter(row["pairs"] for row in rows if row["key"].get("predicted") == "six"), "the other"),
        **asdict(RECIPE),
        where=origin(rows),
        sections="\n\n".join(each for each in sections if each),
        missing=missing(found, known_truth),
    )


def section(
    found: Found, title: str, noise: float, seeds: Iterable[int], recipe: Recipe, options: Sequence[Option]
) -> str:
    """A table of options, of those seeds of which every one of FIVE is trained, and what it comes to."""
    of_five = {seed: [found.training(Training(noise, seed, *option, recipe)) for option in FIVE] for seed in seeds}
    whole = {seed: case for seed in seeds if all(of_five[seed]) and (case := found.prediction(noise, seed, recipe))}
    if not whole:
        return ""
    lines, means = [], []
    for option in options:
        trained = {seed: found.training(Training(noise, seed, *option, recipe)) for seed in whole}
        done = [(predicted(whole[seed], option), row) for seed, row in trained.items() if row is not None]
        if not done:
            continue
        figures = [[before[who][measure] for before, _ in done] for who, measure in PREDICTED]
        falls, accuracies = ([row[name] for _, row in done] for name in ("loss_decrease", "accuracy"))
        counts = [statistics.fmean(row[name] for _, row in done) for name in ("pairs", "swapped", "steps")]
        cells = [f"{count:.0f}" for count in counts] + [f"{statistics.fmean(each):.3g}" for each in figures]
        lines.append([named(option), *cells, ranged(falls), ranged(accuracies), str(len(done))])
        if option in FIVE:
            means.append([*map(statistics.fmean, figures), statistics.fmean(falls), statistics.fmean(accuracies)])
    return f"## {title}\n\n{markdown((*HEAD, *MEASURED), lines)}\n\n{carried(found, noise, whole, recipe, means)}"


def carried(found: Found, noise: float, whole: dict[int, Row], recipe: Recipe, means: Sequence[Sequence[float]]) -> str:
    """Spearman's correlation and the calibration of what was predicted, over FIVE."""
    mean_OF = np.array(means)
    before_SOF = np.array(
        [
            [[predicted(case, option)[who][measure] for who, measure in PREDICTED] for option in FIVE]
            for case in whole.values()
        ]
    )
    trained = [[found.training(Training(noise, seed, *option, recipe)) for option in FIVE] for seed in whole]
    fall_SO = np.array([[row["loss_decrease"] for row in of_seed if row is not None] for of_seed in trained])
    lines = []
    for number, name in enumerate(HEAD[4:]):
        slope, start = np.polyfit(mean_OF[:, number], mean_OF[:, 3], 1)
        by_seed = [
            spearman(before_O, fall_O) for before_O, fall_O in zip(before_SOF[..., number], fall_SO, strict=True)
        ]
        lines.append(
            [
                name,
                f"{spearman(mean_OF[:, number], mean_OF[:, 3]):.2f}",
                ", ".join(f"{each:.2f}" for each in by_seed),
                f"{spearman(mean_OF[:, number], mean_OF[:, 4]):.2f}",
                f"{np.corrcoef(mean_OF[:, number], mean_OF[:, 3])[0, 1]:.2f}",
                f"{start:+.3f} {slope:+.3g} x",
            ]
        )
    head = ("over the five options", "Spearman, loss", "by seed", "Spearman, accuracy", "Pearson, loss", "calibration")
    said = "Calibration is the line of least squares from the predicted figure x to the loss decrease."
    return f"{markdown(head, lines)}\n\n{said}{by_chance(fall_SO)}"


def by_chance(fall_SO: Floats) -> str:
    """How far two options' means lie apart by the draw of order and adapter: what is left of the loss decreases without
    the means of options and of seeds, which share their held-out prompts."""
    num_seeds, num_options = fall_SO.shape
    if num_seeds < 2:
        return ""
    left_SO = fall_SO - fall_SO.mean(0) - fall_SO.mean(1, keepdims=True) + fall_SO.mean()
    variance = (left_SO**2).sum() / ((num_seeds - 1) * (num_options - 1))
    error = float(np.sqrt(2 * variance / num_seeds))
    return (
        f" From seed to seed the options' loss decreases change places: the difference of two of these means has a "
        f"standard error of about {error:.3f}, and what is closer than twice that is not ordered by these trainings."
    )


def keep_auto(found: Found) -> str:
    """What `keep auto` loses beside the share that is best to first order with true labels, and in training."""
    lines, mean_NK = [], []
    for noise in NOISES:
        cases = [case for seed in MORE_SEEDS if (case := found.prediction(noise, seed, every=True)) is not None]
        if not cases:
            continue
        shares = sorted({each["share"] for each in cases[0]["options"] if each["ranking"] == OWN})
        gains_CK = np.array(
            [[predicted(case, (OWN, share))["outside"]["budget"] for share in shares] for case in cases]
        )
        losses, means = [], []
        for kept in ([case["auto"] for case in cases], [0.5] * len(cases), [1.0] * len(cases)):
            gain_C = gains_CK[np.arange(len(cases)), [shares.index(share) for share in kept]]
            loss_C = 1 - gain_C / gains_CK.max(1)
            losses.append(f"{loss_C.mean():.1%} [{loss_C.min():.1%}, {loss_C.max():.1%}]")
            means.append(float(loss_C.mean()))
        mean_NK.append(means)
        chosen = ", ".join(f"{case['auto']:.0%}" for case in cases)
        best = ", ".join(f"{shares[number]:.0%}" for number in gains_CK.argmax(1))
        lines.append([f"{noise:.0%}", *losses, chosen, best, str(len(cases))])
    if not lines:
        return ""
    head = ("swapped", "auto", "keep 0.5", "all", "auto chose", "best outside", "seeds")
    text = (
        "## `keep auto`\n\nRegret: the share of the best gain that is lost. The gain is that for the budget, to first "
        "order, of held-out pairs with their true labels, which nothing was chosen by; the best is that of the best of "
        "ten shares. All 13 languages; in brackets the smallest and the largest over seeds.\n\n" + markdown(head, lines)
    )
    most = np.max(mean_NK, axis=0)
    is_better = [f"{noise:.0%}" for noise, (auto, half, _) in zip(NOISES, mean_NK, strict=False) if auto < half]
    text += (
        f"\n\n`auto` loses less than a half at {', '.join(is_better)} swapped labels; at most it loses {most[0]:.0%}, "
        f"a half {most[1]:.0%}, everything {most[2]:.0%}. "
        + (
            "Where so many labels are wrong that these pairs cannot show it, `auto` keeps everything, so the default "
            "stays the paper's half, and the verdict says what the pairs can show."
            if most[0] > most[1]
            else ""
        )
    ).rstrip()
    lines = []
    for noise in NOISES:
        rows = [found.training(Training(noise, 0, OWN, share)) for share in (AUTO, 0.5, 1.0)]
        case = found.prediction(noise, 0)
        if case is None or None in rows:
            continue
        cells = [f"{row['loss_decrease']:.3f} ({row['accuracy']:.3f})" for row in rows if row is not None]
        lines.append([f"{noise:.0%}", f"{case['auto']:.0%}", *cells])
    if not lines:
        return text
    head = ("swapped", "auto chose", "auto", "keep 0.5", "all")
    said = "Trained, six languages, one seed: the loss decrease, and the accuracy in brackets."
    return f"{text}\n\n{said}\n\n{markdown(head, lines)}"


def groups(found: Found) -> str:
    """Two groups of languages, an adapter each, beside random groups and all languages together: of those seeds of
    which each of the three is trained."""
    trained: dict[int, dict[str, Row]] = {}
    for each in groups_plan():
        if (row := found.training(each)) is not None:
            trained.setdefault(each.seed, {})[each.division] = row
    divided = {seed: found.rows.get(json.dumps(groups_key(0.0, seed, RECIPE))) for seed in trained}
    cases = {seed: case for seed, case in divided.items() if case is not None and len(trained[seed]) == len(DIVISIONS)}
    if not cases:
        return ""
    lines = []
    for division, (title, gain) in DIVISIONS.items():
        rows = [trained[seed][division] for seed in cases]
        before = [statistics.fmean(gain(case)[measure] for case in cases.values()) for _, measure in PREDICTED[:2]]
        cells = [f"{statistics.fmean(row[name] for row in rows):.0f}" for name in ("pairs", "steps")]
        cells += [f"{each:.3g}" for each in before]
        cells += [ranged([row[name] for row in rows]) for name in ("loss_decrease", "accuracy")]
        more = [trained[seed][division]["loss_decrease"] - trained[seed][TOGETHER]["loss_decrease"] for seed in cases]
        beside = "" if division == TOGETHER else ", ".join(f"{each:+.3f}" for each in more)
        lines.append([title, *cells, beside, str(len(rows))])
    head = ("languages", *HEAD[1:2], *HEAD[3:6], *MEASURED[:2], "more than together, by seed", "seeds")
    found_by_seed = []
    for seed, case in cases.items():
        names = ["; ".join(", ".join(group) for group in case[division]) for division in (GROUPS, RANDOM_GROUPS)]
        over, verb = case["over_together"], "recommends" if case["recommended"] else "does not recommend"
        figures = [f"{over[measure]['value']:+.2g} (standard error {over[measure]['error']:.2g})" for measure in over]
        found_by_seed.append(
            f"- Seed {seed}: {names[0]}; random: {names[1]}. Predicted difference from together: for the budget "
            f"{figures[0]}, at equal step length {figures[1]}; the advice {verb} a division."
        )
    return (
        "## Groups of languages\n\nRight labels, all pairs, an adapter for each of two groups of languages, as many "
        "steps in all (each group as long as its pairs last). The advice divides the languages by the pairs to train "
        "on, for the budget, and its figures are read outside the folds that chose the groups; those of random groups "
        "are means over 20 draws.\n\n" + markdown(head, lines) + "\n\n" + "\n".join(found_by_seed)
    )


def paper(found: Found) -> str:
    """The paper's table, of those seeds of which all of it is trained."""
    trained: dict[int, list[Row]] = {}
    for each in paper_plan():
        if (row := found.training(each)) is not None:
            trained.setdefault(each.seed, []).append(row)
    seeds = [seed for seed, rows in trained.items() if len(rows) == len(PAPER)]
    if not seeds:
        return ""
    lines = []
    for number, (title, _, _) in enumerate(PAPER):
        rows, unfiltered = ([trained[seed][at] for seed in seeds] for at in (number, 0))
        figures = [
            [row["loss_decrease"] for row in rows],
            [min(row["languages"].values()) for row in rows],
            [statistics.fmean(row["unseen"].values()) for row in rows],
            [row["general"] for row in rows if "general" in row],
            [row["accuracy"] for row in rows],
        ]
        more = [row["loss_decrease"] - beside["loss_decrease"] for row, beside in zip(rows, unfiltered, strict=True)]
        counts = [f"{statistics.fmean(row[name] for row in rows):.0f}" for name in ("pairs", "swapped", "steps")]
        cells = [ranged(each) if each else "not measured" for each in figures]
        lines.append([title, *counts, *cells, ", ".join(f"{each:+.3f}" for each in more), str(len(rows))])
    head = ("option", *HEAD[1:4], "seen", "worst language", "unseen", "general set", "accuracy")
    return (
        "## The paper's table\n\nA quarter of the labels swapped, half kept but where it says unfiltered: loss "
        "decreases of the held-out prompts in the languages that are trained, of the one of them that gains least, of "
        "the same prompts in the other languages of the demo, and of a general set.\n\n"
        + markdown((*head, "more than unfiltered, by seed", "seeds"), lines)
    )


def missing(found: Found, known_truth: Sequence[Row]) -> str:
    """What of the plan, and of what was asked for, is not there."""
    every = list(plan())
    lacking = [each for each in every if found.training(each) is None]
    lines = []
    if lacking:
        lines.append(f"- {len(lacking)} of the {len(every)} trainings of the plan, which the program goes on with:")
        cases: dict[str, list[str]] = {}
        for each in lacking:
            recipe = "" if each.recipe == RECIPE else f", {dict(OTHER_RECIPES)[each.recipe]}"
            share = "auto" if each.share == AUTO else each.share
            option = f"keep {share}" if each.ranking == OWN else named((each.ranking, float(each.share)))
            cases.setdefault(f"{each.noise:.0%} swapped, seed {each.seed}{recipe}", []).append(each.division or option)
        lines += [f"  - {case}: {', '.join(dict.fromkeys(options))}" for case, options in cases.items()]
    of_paper = [found.training(each) for each in paper_plan()]
    if None in of_paper:
        lines.append(
            f"- The paper's table (`--only paper`), in seen and unseen languages and in a general set: "
            f"{of_paper.count(None)} of its {len(of_paper)} trainings, which are "
            f"{'; '.join(title for title, _, _ in PAPER)}."
        )
    elif any(row is not None and "general" not in row for row in of_paper):
        lines.append("- A general set (`--general`).")
    if not known_truth:
        lines.append("- A larger set with known truth: 40 languages whose conflicts are known by construction.")
    lines.append("- Other models, and a budget of thousands of steps.")
    return "\n".join(lines)


def named(option: Option) -> str:
    ranking, share = option
    return TITLES[ranking] if ranking == ALL else f"{TITLES[ranking]} at {share:g}"


def ranged(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.3f}, {max(values):.3f}]"
