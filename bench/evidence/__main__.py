"""Predicted gains beside real trainings, on the demo's pairs with a share of their labels swapped.

    python -m bench.evidence                what is not done yet; an interrupted call goes on where it stopped
    python -m bench.evidence --only predictions
    python -m bench.evidence --only groups  the trainings by groups of languages
    python -m bench.evidence --only paper   the paper's table
    python -m bench.evidence --markdown     the page of all that is done, docs/evidence.md

A line of JSON in OUTPUT for every finished prediction and training. The sketches lie beside it.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # before any import

import argparse
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus
from transformers import PreTrainedModel

from bench.evidence.cases import Bank, Case, open_bank
from bench.evidence.page import page
from bench.evidence.plan import (
    AUTO,
    GROUPS,
    MORE_SEEDS,
    NOISES,
    NUM_GROUPS,
    OPTIONS,
    RECIPE,
    SIX,
    Training,
    groups_key,
    groups_plan,
    paper_plan,
    plan,
    prediction_key,
    resolved,
    training_key,
)
from bench.evidence.training import Recipe, adapter, all_logps, fit, margins
from bench.log import Log, Row
from congrad.advice.budget import Budget
from congrad.gradients.build import triples
from congrad.gradients.packing import Triple
from congrad.models.load import load_model, load_tokenizer
from congrad.models.packaged import resolve
from congrad.preferences import load_preferences, sample, tokenise

GENERAL = 100  # pairs of the general set
ALONE = {"groups": groups_plan, "paper": paper_plan}
PAIRS = Path(__file__).parents[2] / "demo" / "pairs"


class Bench:
    """What all cases share, opened when it is first needed."""

    def __init__(
        self, name: str, pairs: Path, languages: tuple[str, ...], directory: Path, general: Path | None = None
    ) -> None:
        self.name, self.pairs, self.languages, self.directory = resolve(name), pairs, languages, directory
        self.general = general

    @cached_property
    def bank(self) -> Bank:
        return open_bank(self.name, self.pairs, self.directory)

    @cached_property
    def model(self) -> PreTrainedModel:
        return load_model(self.name, dtype="float32", device="cpu")

    @cached_property
    def reference_N2(self) -> Tensor:
        """Log-probabilities before any training; NaN of the pairs of other languages."""
        own_N = torch.tensor([self.bank.names[code] in self.languages for code in self.bank.language_N.tolist()])
        return self._before(own_N)

    @cached_property
    def unseen_N2(self) -> Tensor:
        """The same of the pairs of the other languages."""
        return self._before(self.reference_N2.isnan().all(1))

    def _before(self, own_N: Tensor) -> Tensor:
        reference_N2 = torch.full((len(own_N), 2), torch.nan)
        rows = torch.nonzero(own_N).flatten()
        reference_N2[rows] = all_logps(self.model, self.triples(rows))
        return reference_N2

    def triples(self, rows: Tensor) -> list[Triple]:
        return [self.bank.triples[row] for row in rows.tolist()]

    @cached_property
    def general_set(self) -> tuple[list[Triple], Tensor]:
        """Pairs of a general set, and their log-probabilities before any training (G x 2)."""
        assert self.general is not None
        pairs = tokenise(sample(load_preferences(self.general), limit=GENERAL), load_tokenizer(self.name))
        found = triples(pairs, [row for row, reason in enumerate(pairs.reasons) if not reason])
        return list(found), all_logps(self.model, found)

    def case(self, noise: float, seed: int, recipe: Recipe = RECIPE, *, every: bool = False) -> Case:
        languages = tuple(self.bank.names) if every else self.languages
        return Case(self.bank, languages, noise, seed, Budget(recipe.epochs, recipe.batch_size))

    def train(self, training: Training, groups: Sequence[Sequence[str]] = ()) -> Row:
        """What a training did to the held-out pairs: means over the languages.

        Args:
            groups: languages that have an adapter each, which their own held-out pairs are measured with; none for one
                adapter.
        """
        since, recipe = time.monotonic(), training.recipe
        case = self.case(training.noise, training.seed, recipe)
        kept_T, language_H = case.kept((training.ranking, training.share)), self.bank.language_N[case.held_H]
        margin_H, steps, outside = torch.empty(len(language_H), dtype=torch.float64), 0, {}
        for group in groups or [case.names]:
            codes = torch.tensor([self.bank.names.index(name) for name in group])
            row_S = torch.nonzero(kept_T & torch.isin(self.bank.language_N[case.train_T], codes)).flatten()
            own_H = torch.isin(language_H, codes)
            reference_S2 = self.reference_N2[case.train_T[row_S]]
            reference_S2 = torch.where(case.swapped_T[row_S][:, None], reference_S2.flip(1), reference_S2)
            with adapter(self.model, recipe.rank, training.seed) as model:
                steps += fit(model, case.pairs(row_S), reference_S2, recipe, training.seed)
                margin_H[own_H] = self.margin(model, case.held_H[own_H], self.reference_N2, recipe)
                if training.outside:
                    outside = self.outside(model, case, recipe)
        falls = self.falls(margin_H, language_H)
        return {
            "pairs": int(kept_T.sum()),
            "swapped": int((kept_T & case.swapped_T).sum()),
            "steps": steps,
            "loss_decrease": statistics.fmean(falls.values()),
            "accuracy": float((margin_H > 0).double().mean()),
            "languages": falls,
            **outside,
            "seconds": round(time.monotonic() - since, 1),
        }

    def margin(self, model: PreTrainedModel, rows: Tensor, before_N2: Tensor, recipe: Recipe) -> Tensor:
        return margins(all_logps(model, self.triples(rows)), before_N2[rows], recipe.beta).double()

    def falls(self, margin_H: Tensor, language_H: Tensor) -> dict[str, float]:
        """By language, how far the mean loss has fallen."""
        fall_H = math.log(2) - softplus(-margin_H)
        return {
            self.bank.names[code]: float(fall_H[language_H == code].mean()) for code in language_H.unique().tolist()
        }

    def outside(self, model: PreTrainedModel, case: Case, recipe: Recipe) -> Row:
        """The same of the held-out prompts in the languages that are not trained, and of the general set."""
        margin_U = self.margin(model, case.unseen_U, self.unseen_N2, recipe)
        found: Row = {"unseen": self.falls(margin_U, self.bank.language_N[case.unseen_U])}
        if self.general is not None:
            pairs, before_G2 = self.general_set
            margin_G = margins(all_logps(model, pairs), before_G2, recipe.beta).double()
            found["general"] = float((math.log(2) - softplus(-margin_G)).mean())
        return found


def prediction(log: Log, bench: Bench, noise: float, seed: int, recipe: Recipe, *, every: bool, again: bool) -> Row:
    key = prediction_key(noise, seed, recipe, every=every)
    if not again and (row := log.get(key)) is not None:
        return row
    row = log.add(key, bench.case(noise, seed, recipe, every=every).predict(OPTIONS))
    print(f"predicted: noise {noise:.0%}, seed {seed}: keep {row['auto']:.0%}, {row['verdict']}", flush=True)
    return row


def division(log: Log, bench: Bench, training: Training, *, again: bool) -> Row:
    """The groups of the languages, and what they are predicted to gain."""
    key = groups_key(training.noise, training.seed, training.recipe)
    if not again and (row := log.get(key)) is not None:
        return row
    row = log.add(key, bench.case(training.noise, training.seed, training.recipe).predict_groups(NUM_GROUPS))
    groups = "; ".join(" ".join(group) for group in row["groups"])
    print(f"predicted: seed {training.seed}, groups {groups}, recommended: {row['recommended']}", flush=True)
    return row


def trained_cases(log: Log, bench: Bench, *, again: bool) -> None:
    wanted = {(each.noise, each.seed, each.recipe) for each in plan()}
    for noise, seed, recipe in sorted(wanted, key=lambda each: (each[2].epochs, each[0], each[1])):
        prediction(log, bench, noise, seed, recipe, every=False, again=again)
    for training in plan():
        if training.division == GROUPS:
            division(log, bench, training, again=again)


def more_cases(log: Log, bench: Bench, *, again: bool) -> None:
    """All languages, where a prediction costs seconds and a training would cost an hour."""
    for seed in MORE_SEEDS:
        for noise in NOISES:
            prediction(log, bench, noise, seed, RECIPE, every=True, again=again)


def trainings(log: Log, bench: Bench, planned: Iterable[Training]) -> None:
    for training in planned:
        if training.share == AUTO:
            found = prediction(log, bench, training.noise, training.seed, training.recipe, every=False, again=False)
            training = resolved(training, found["auto"])
        groups = division(log, bench, training, again=False)[training.division] if training.division else ()
        key = training_key(training)
        if log.get(key) is None:
            row = log.add(key, bench.train(training, groups))
            option = f"{training.ranking} {training.share:.0%} {training.division}".strip()
            print(
                f"trained: noise {training.noise:.0%}, seed {training.seed}, {option}: "
                f"loss {-row['loss_decrease']:+.3f}, accuracy {row['accuracy']:.3f}, {row['seconds']} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument(
        "--pairs", type=Path, default=PAIRS, help="a folder of LANGUAGE.jsonl, parallel by number of id"
    )
    parser.add_argument("--languages", nargs="+", default=SIX, help="that are trained")
    parser.add_argument("--general", type=Path, help="pairs of another kind, for the paper's table")
    parser.add_argument("--only", choices=("predictions", "trainings", "groups", "paper"))
    parser.add_argument("--again", action="store_true", help="predict again what was predicted, as with a new engine")
    parser.add_argument("--markdown", action="store_true", help="run nothing; print the page of what is done")
    parser.add_argument("--output", type=Path, default=Path("runs/evidence.jsonl"))
    options = parser.parse_args()
    log = Log(options.output)
    if options.markdown:
        known_truth = Log(options.output.with_name("known_truth.jsonl"))
        print(page(list(log.rows.values()), list(known_truth.rows.values())), end="")
        return
    directory = options.output.with_suffix(".index")
    bench = Bench(options.model, options.pairs, tuple(options.languages), directory, options.general)
    if options.only in ALONE:
        trainings(log, bench, ALONE[options.only]())
        return
    if options.only != "trainings":
        trained_cases(log, bench, again=options.again)
    if options.only != "predictions":
        trainings(log, bench, plan())
    if options.only != "trainings":
        more_cases(log, bench, again=options.again)
    if options.only is None:
        trainings(log, bench, paper_plan())


if __name__ == "__main__":
    main()
