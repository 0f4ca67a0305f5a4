"""Cases: some languages of a folder of parallel pairs, a share of whose labels is swapped, with some prompts held out.

A pair's id ends in the number of its prompt, the same in every language. All languages of a prompt are trained on or
held out together, and held-out pairs keep their true labels. All pairs are sketched once: to swap a pair's labels is to
negate its sketch and the difference of its log-probabilities.

Shapes: N pairs of the folder, T of them to train on, H held out, U of other languages, D sketch dims.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from congrad.advice.advise import Advice, advise
from congrad.advice.budget import MEASURES, Budget, step_factor
from congrad.advice.groups import Groups, best_groups
from congrad.advice.languages import sums_of
from congrad.advice.options import ALL, OWN
from congrad.advice.sample import draw
from congrad.advice.verdict import judge
from congrad.consensus import score_pairs
from congrad.filtering.score import language_codes, pair_inputs
from congrad.gradients import build_index, open_index
from congrad.gradients.build import pairs_fingerprint, triples
from congrad.gradients.index import INDEX
from congrad.gradients.packing import Triple
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import load_preferences, tokenise
from congrad.selection import select
from congrad.settings.advice import Advice as AdviceSettings
from congrad.settings.consensus import Consensus, Loss
from congrad.stage import is_finished

Whole = npt.NDArray[np.int64]
HELD_OUT = 0.25  # of the prompts
Option = tuple[str, float]  # a ranking of the advice, and the share of every language that it keeps


@dataclass(frozen=True)
class Bank:
    """Every pair of the folder with its true label.

    Attributes:
        prompt_N: number of the prompt, the same in all languages.
        gradient_ND: of the loss at the start of training, but for the factor; unit sketches (float16).
        factor_N: that factor.
        margin_N: log-probability of the chosen response minus that of the rejected.
        per_token_N: the same of mean log-probabilities of a token.
        length_N: tokens of the chosen response minus those of the rejected.
    """

    names: list[str]
    ids: list[str]
    language_N: Tensor
    prompt_N: Tensor
    triples: Sequence[Triple]
    gradient_ND: Tensor
    factor_N: Tensor
    margin_N: Tensor
    per_token_N: Tensor
    length_N: Tensor


def open_bank(name: str, pairs: Path, directory: Path) -> Bank:
    """Sketches the pairs into `directory`, as the filter does; goes on with what is there."""
    preferences = load_preferences(pairs)
    tokenised = tokenise(preferences, load_tokenizer(name))
    assert not any(tokenised.reasons), "a pair cannot be scored"
    if is_finished(directory, INDEX):
        index = open_index(directory)
    else:
        index = build_index(load_model(name), tokenised, directory)
    assert index.plan["data"] == pairs_fingerprint(tokenised), f"{directory} is an index of other pairs"
    inputs = pair_inputs(index, Loss())
    names, language_N = language_codes(index)
    ids = list(map(str, preferences.dataset["id"]))
    prompts = [int(re.sub(r".*\D", "", key)) for key in ids]
    tokens_N2 = torch.tensor(
        [[len(chosen), len(rejected)] for _, chosen, rejected in triples(tokenised, range(len(index)))]
    )
    logps_N2 = index.policy_logps_P2.double()
    return Bank(
        names=names,
        ids=ids,
        language_N=language_N,
        prompt_N=torch.tensor(prompts),
        triples=triples(tokenised, range(len(index))),
        gradient_ND=index[0 : len(index)],
        factor_N=inputs["weight_P"].double() * inputs["scale_P"].double(),
        margin_N=logps_N2[:, 0] - logps_N2[:, 1],
        per_token_N=logps_N2[:, 0] / tokens_N2[:, 0] - logps_N2[:, 1] / tokens_N2[:, 1],
        length_N=tokens_N2[:, 0] - tokens_N2[:, 1],
    )


@dataclass(frozen=True)
class Case:
    """A data set to train on, as its user would have it, and what it is measured on.

    Attributes:
        noise: share of every language's labels that is swapped.
        seed: of the prompts that are held out, of the swapped labels, and of the random option.
        budget: the training's.
    """

    bank: Bank
    languages: tuple[str, ...]
    noise: float
    seed: int
    budget: Budget

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        codes = torch.tensor([self.bank.names.index(language) for language in self.languages])
        own_N = torch.isin(self.bank.language_N, codes)
        prompt_U = self.bank.prompt_N[own_N].unique()
        drawn_U = np.random.default_rng([self.seed, 1]).permutation(len(prompt_U))
        held_N = torch.isin(self.bank.prompt_N, prompt_U[drawn_U[: round(HELD_OUT * len(prompt_U))]])
        return torch.nonzero(own_N & ~held_N).flatten(), torch.nonzero(own_N & held_N).flatten()

    @property
    def train_T(self) -> Tensor:
        """Rows to train on."""
        return self._rows[0]

    @property
    def held_H(self) -> Tensor:
        """Rows that are held out."""
        return self._rows[1]

    @cached_property
    def unseen_U(self) -> Tensor:
        """Rows of the same prompts in the other languages."""
        held_N = torch.isin(self.bank.prompt_N, self.bank.prompt_N[self.held_H])
        seen_N = torch.isin(self.bank.language_N, self.bank.language_N[self.train_T])
        return torch.nonzero(held_N & ~seen_N).flatten()

    @cached_property
    def swapped_T(self) -> Tensor:
        """Which labels are swapped."""
        language_T = self.bank.language_N[self.train_T]
        swapped_T = torch.zeros(len(language_T), dtype=torch.bool)
        for language in language_T.unique():
            own = torch.nonzero(language_T == language).flatten()
            order = np.random.default_rng([self.seed, 2, int(language)]).permutation(len(own))
            swapped_T[own[order[: round(self.noise * len(own))]]] = True
        return swapped_T

    @cached_property
    def sign_T(self) -> Tensor:
        return torch.where(self.swapped_T, -1.0, 1.0).double()

    @cached_property
    def language_T(self) -> Tensor:
        return torch.unique(self.bank.language_N[self.train_T], return_inverse=True)[1]

    @cached_property
    def given(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Scores of the rankings that no gradient is needed for, as the filter has them (T each)."""
        per_token_T = self.bank.per_token_N[self.train_T]
        return {
            "random": np.random.default_rng([self.seed, 3]).random(len(self.train_T)),
            "loss": (self.sign_T * self.bank.margin_N[self.train_T]).numpy(),
            "reward-margin": (self.sign_T * per_token_T).numpy(),
            "difficulty": -per_token_T.abs().numpy(),
        }

    def pairs(self, row_T: Tensor) -> list[Triple]:
        """The pairs to train on with the labels that they carry."""
        found = []
        for row in row_T.tolist():
            prompt, chosen, rejected = self.bank.triples[int(self.train_T[row])]
            found.append((prompt, rejected, chosen) if self.swapped_T[row] else (prompt, chosen, rejected))
        return found

    def kept(self, option: Option) -> Tensor:
        """Which pairs the filter would keep (T, bool)."""
        ranking, share = option
        if ranking == ALL:
            return torch.ones(len(self.train_T), dtype=torch.bool)
        score_T = torch.from_numpy(self.given[ranking]) if ranking in self.given else self._score(ranking)
        return select(score_T, self.language_T, keep=share)

    def _score(self, ranking: str) -> Tensor:
        consensus = Consensus() if ranking == OWN else Consensus(aggregator=ranking)  # type: ignore[arg-type]
        found = score_pairs(
            self.bank.gradient_ND[self.train_T],
            scale_P=torch.ones(len(self.train_T)),
            weight_P=self.sign_T * self.bank.factor_N[self.train_T],
            language_P=self.language_T,
            num_languages=len(self.languages),
            group_P=self.bank.prompt_N[self.train_T],
            consensus=consensus,
        )
        return found.score_P

    def advise(self) -> Advice:
        """What the advice says of the pairs to train on, labels as they are, held-out pairs unknown."""
        length_T = self.sign_T * self.bank.length_N[self.train_T]
        return advise(
            self.bank.gradient_ND[self.train_T],
            factor_N=self.sign_T * self.bank.factor_N[self.train_T],
            language_N=self.language_T,
            group_N=self.bank.prompt_N[self.train_T],
            length_N=length_T.numpy(),
            given={name: self.given[name] for name in ("random", "loss")},
            consensus=Consensus(),
            settings=AdviceSettings(epochs=self.budget.epochs, batch_size=self.budget.batch_size),
            aggregators=("mean",),
        )

    @cached_property
    def names(self) -> list[str]:
        """The languages by their codes in `language_T`."""
        return [self.bank.names[code] for code in self.bank.language_N[self.train_T].unique().tolist()]

    def divide(self) -> Groups:
        """How the advice divides the languages, by the pairs to train on."""
        settings = AdviceSettings(epochs=self.budget.epochs, batch_size=self.budget.batch_size)
        drawn = draw(
            self.bank.gradient_ND[self.train_T],
            factor_N=self.sign_T * self.bank.factor_N[self.train_T],
            language_N=self.language_T,
            group_N=self.bank.prompt_N[self.train_T],
            settings=settings,
        )
        return best_groups(sums_of(drawn, settings), self.budget, seed=settings.seed)

    def predict_groups(self, num_groups: int) -> dict[str, Any]:
        """What is said of that many groups, which are chosen by the gain for the budget; gains by measure."""
        found = self.divide()
        cut = found.cuts[num_groups - 1]
        figures = {"gain": cut.gain, "over_together": cut.over_together}
        random = np.random.default_rng([self.seed, 4]).permutation(cut.label_L)
        return {
            "groups": self._named(cut.label_L),
            "random groups": self._named(random),
            "chosen": found.chosen,
            "recommended": found.recommended,
            "together": dict(zip(MEASURES, found.cuts[0].gain.value.tolist(), strict=True)),
            "random_gain": dict(zip(MEASURES, cut.random_gain.tolist(), strict=True)),
        } | {
            name: {
                measure: {"value": value, "error": error}
                for measure, value, error in zip(MEASURES, each.value.tolist(), each.error.tolist(), strict=True)
            }
            for name, each in figures.items()
        }

    def _named(self, label_L: npt.NDArray[Any]) -> list[list[str]]:
        """The languages of every group."""
        return [
            [name for name, label in zip(self.names, label_L, strict=True) if label == group]
            for group in range(int(label_L.max()) + 1)
        ]

    def first_order(self, kept_T: Tensor) -> dict[str, float]:
        """By measure, the gain to first order of the held-out pairs with their true labels, along the kept pairs' mean:
        what the advice would say had it seen them."""
        weight_T = (self.sign_T * self.bank.factor_N[self.train_T])[kept_T]
        gradient_SD = self.bank.gradient_ND[self.train_T[kept_T]].double() * weight_T[:, None]
        mean_D = gradient_SD.mean(0)
        product_H = self.bank.factor_N[self.held_H] * (self.bank.gradient_ND[self.held_H].double() @ mean_D)
        language_H = self.bank.language_N[self.held_H]
        product = float(torch.stack([product_H[language_H == each].mean() for each in language_H.unique()]).mean())
        lengths: dict[str, Any] = {
            "squared_norm": float(mean_D @ mean_D),
            "mean_square": float((gradient_SD**2).sum(1).mean()),
            "num_pairs": len(gradient_SD),
        }
        return {measure: product * float(step_factor(measure, self.budget, **lengths)) for measure in MEASURES}

    def predict(self, options: Sequence[Option]) -> dict[str, Any]:
        """What is said before any training: of every option, by the advice and to first order outside; what `keep auto`
        chooses and what its verdict is."""
        advice = self.advise()
        by_option = {(each.ranking, each.share): each.gains for each in advice.options if each.gains}
        rows = []
        for ranking, share in options:
            kept_T = self.kept((ranking, share))
            gains = by_option[ranking, share]
            rows.append(
                {
                    "ranking": ranking,
                    "share": share,
                    "pairs": int(kept_T.sum()),
                    "swapped": int((kept_T & self.swapped_T).sum()),
                    "advice": {measure: gains[measure].mean.value for measure in MEASURES},
                    "outside": self.first_order(kept_T),
                }
            )
        return {
            "pairs": len(self.train_T),
            "swapped": int(self.swapped_T.sum()),
            "auto": advice.chosen["budget"].choice.share,
            "verdict": judge(advice, sorted(self.languages)).kind,
            "options": rows,
        }
