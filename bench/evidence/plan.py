"""What is predicted and trained, in the order of what should be known first."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.evidence.cases import Option
from bench.evidence.training import Recipe
from congrad.advice.gain import SHARES
from congrad.advice.options import ALL, OWN

SIX = ("de", "en", "es", "fr", "ja", "ru")
FIVE: tuple[Option, ...] = ((ALL, 1.0), (OWN, 0.5), ("mean", 0.5), ("random", 0.5), ("loss", 0.5))
LARGER: tuple[Option, ...] = ((OWN, 0.7), (OWN, 0.8))
OPTIONS = (*FIVE, *((OWN, share) for share in SHARES if share != 0.5))
QUARTER, NOISES = 0.25, (0.0, 0.1, 0.25, 0.4)
SEEDS, MORE_SEEDS = range(3), range(10)
AUTO, RECIPE = "auto", Recipe()
TOGETHER, GROUPS, RANDOM_GROUPS = "", "groups", "random groups"
NUM_GROUPS = 2
ROBUST = Recipe(label_smoothing=QUARTER)
PAPER: tuple[tuple[str, Option, Recipe], ...] = (
    ("unfiltered", (ALL, 1.0), RECIPE),
    ("random draw", ("random", 0.5), RECIPE),
    ("reward margin", ("reward-margin", 0.5), RECIPE),
    ("lowest loss", ("loss", 0.5), RECIPE),
    ("difficulty", ("difficulty", 0.5), RECIPE),
    ("robust DPO, unfiltered", (ALL, 1.0), ROBUST),
    ("ConGrad, plain mean", ("mean", 0.5), RECIPE),
    ("ConGrad", (OWN, 0.5), RECIPE),
)
OTHER_RECIPES = ((Recipe(epochs=3), "three epochs"), (Recipe(learning_rate=1e-3), "a learning rate of 0.001"))


@dataclass(frozen=True)
class Training:
    """One to be done; the share `auto` stands for what `keep auto` chooses.

    Attributes:
        outside: whether it is also measured on the languages that are not trained, and on a general set.
        division: GROUPS: an adapter for each of the groups of languages that the advice finds; RANDOM_GROUPS: for each
            of random groups of the same sizes; TOGETHER: one adapter.
    """

    noise: float
    seed: int
    ranking: str
    share: float | str
    recipe: Recipe = RECIPE
    division: str = TOGETHER
    outside: bool = False


def plan() -> Iterator[Training]:
    """Every training but those of the paper's table, some of them more than once."""
    for noise in (QUARTER, 0.0):
        yield from (Training(noise, seed, *option) for seed in SEEDS for option in FIVE)
    yield from (Training(QUARTER, seed, *option) for seed in SEEDS for option in LARGER)
    for noise in NOISES:
        yield from (Training(noise, 0, OWN, share) for share in (AUTO, 0.5, 1.0))
    yield from groups_plan()
    for recipe, _ in OTHER_RECIPES:
        yield from (Training(QUARTER, 0, *option, recipe) for option in FIVE)


def groups_plan() -> Iterator[Training]:
    """Right labels, all pairs: a division takes as many steps as all languages together, but for a group's last."""
    for seed in SEEDS:
        yield from (Training(0.0, seed, ALL, 1.0, division=each) for each in (TOGETHER, GROUPS, RANDOM_GROUPS))


def paper_plan() -> Iterator[Training]:
    """The paper's table, on noisy labels: what is compared with ConGrad, and how each does outside."""
    for seed in SEEDS:
        yield from (Training(QUARTER, seed, *option, recipe, outside=True) for _, option, recipe in PAPER)


def resolved(training: Training, auto: float) -> Training:
    """With what `keep auto` chose in the place of `auto`."""
    return replace(training, share=auto) if training.share == AUTO else training


def training_key(training: Training) -> dict[str, Any]:
    key = asdict(replace(training, ranking=ALL) if training.share == 1 else training)
    for of, name in ((key, "division"), (key, "outside"), (key["recipe"], "label_smoothing")):
        if not of[name]:  # so that what had no such thing keeps its key
            del of[name]
    return key


def prediction_key(noise: float, seed: int, recipe: Recipe, *, every: bool) -> dict[str, Any]:
    """Of the six languages that are trained, or of every language."""
    return _predicted("every" if every else "six", noise, seed, recipe)


def groups_key(noise: float, seed: int, recipe: Recipe) -> dict[str, Any]:
    """Of the divisions of the six languages."""
    return _predicted("groups", noise, seed, recipe)


def _predicted(what: str, noise: float, seed: int, recipe: Recipe) -> dict[str, Any]:
    key = {"predicted": what, "noise": noise, "seed": seed}
    return key | {"epochs": recipe.epochs, "batch_size": recipe.batch_size}
