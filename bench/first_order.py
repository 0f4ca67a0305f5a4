"""Predicted gains at equal step length against explicit small SGD steps by plain autograd, for every language.

For each fold: the gradient of the mean loss of the kept pairs of the others, by autograd; a step of the length `--step`
against it and one along it; half the difference of every held-out pair's loss, by the length, is what it gains. The
prediction comes from the sketches of the same pairs.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from bench.exact import response_logp, space_weights
from congrad.advice.advise import Advice, advise
from congrad.advice.folds import deal
from congrad.filtering.score import language_codes, pair_inputs
from congrad.gradients import build_index
from congrad.gradients.build import triples
from congrad.models.load import load_model, load_tokenizer
from congrad.models.packaged import resolve
from congrad.preferences import load_preferences, sample, tokenise
from congrad.selection.keep import select
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus, Loss
from congrad.settings.index import PassSettings

Triple = tuple[Sequence[int], Sequence[int], Sequence[int]]
BETA = 0.1


def delta(model: PreTrainedModel, triple: Triple) -> Tensor:
    """log pi(chosen) - log pi(rejected)."""
    prompt, chosen, rejected = triple
    return response_logp(model, prompt, chosen) - response_logp(model, prompt, rejected)


def gains_by_steps(
    model: PreTrainedModel, pairs: Sequence[Triple], fold_P: Tensor, kept_FP: Tensor, step: float
) -> Tensor:
    """What every pair's DPO loss falls by for a step of unit length, from steps of +-`step`, while its fold is held out
    (P, float64). The reference is the model before the step.
    """
    weights = space_weights(model)
    start = [delta(model, pair).detach() for pair in pairs]
    gain_P = torch.zeros(len(pairs), dtype=torch.float64)
    for fold, kept_P in enumerate(kept_FP):
        model.zero_grad()
        for row in torch.nonzero(kept_P & (fold_P != fold)).flatten().tolist():
            (-torch.nn.functional.logsigmoid(BETA * (delta(model, pairs[row]) - start[row]))).backward()
        gradients = [weight.grad.clone() for weight in weights]
        length = torch.sqrt(sum((gradient.double() ** 2).sum() for gradient in gradients))
        held_out = torch.nonzero(fold_P == fold).flatten().tolist()
        before = [weight.detach().clone() for weight in weights]
        for sign in (-1, 1):
            with torch.no_grad():
                for weight, old, gradient in zip(weights, before, gradients, strict=True):
                    weight.copy_(old + sign * step / length.to(weight.dtype) * gradient)
                for row in held_out:
                    loss = -torch.nn.functional.logsigmoid(BETA * (delta(model, pairs[row]) - start[row]).double())
                    gain_P[row] += sign * loss / (2 * step)
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)
    return gain_P


def by_language(value_P: Tensor, language_P: Tensor) -> list[float]:
    return [float(value_P[language_P == language].mean()) for language in language_P.unique()]


def predicted(advice: Advice, ranking: str, share: float) -> list[float]:
    option = next(each for each in advice.options if (each.ranking, each.share) == (ranking, share))
    return [each.value for each in option.gains["equal_length"].languages]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="demo/pairs")
    parser.add_argument("--model", default="smollm2-135m", help="short name or directory")
    parser.add_argument("--pairs", type=int, default=52)
    parser.add_argument("--step", type=float, default=0.003)
    options = parser.parse_args()
    path = resolve(options.model)
    pairs = tokenise(sample(load_preferences(options.data), limit=options.pairs), load_tokenizer(path))
    model = load_model(path, dtype="float32")
    settings = Settings(num_folds=4, num_resamples=10)
    with tempfile.TemporaryDirectory() as scratch:
        index = build_index(model, pairs, Path(scratch), PassSettings(), model_fingerprint="bench")
        inputs = pair_inputs(index, Loss(beta=BETA))
        language_P, group_P = inputs["language_P"], inputs["group_P"]
        random_P = np.random.default_rng(0).random(len(index))
        advice = advise(
            index,
            factor_N=inputs["weight_P"].double() * inputs["scale_P"].double(),
            language_N=language_P,
            group_N=group_P,
            length_N=np.zeros(len(index)),
            given={"random": random_P},
            consensus=Consensus(),
            settings=settings,
            aggregators=(),
        )
    prompt_P = torch.unique(group_P, return_inverse=True)[1]
    fold_P = deal(prompt_P, settings.num_folds, settings.seed, language_P)
    usable = triples(pairs, index.positions_P.tolist())
    for ranking, share in (("all", 1.0), ("random", 0.5)):
        kept_FP = torch.stack(
            [
                select(torch.from_numpy(random_P).where(fold_P != fold, torch.nan), language_P, keep=share)
                for fold in range(settings.num_folds)
            ]
        )
        measured = np.array(by_language(gains_by_steps(model, usable, fold_P, kept_FP, options.step), language_P))
        foretold = np.array(predicted(advice, ranking, share))
        found = {
            "ranking": ranking,
            "share": share,
            "correlation": round(float(np.corrcoef(foretold, measured)[0, 1]), 4),
            "slope": round(float(foretold @ measured / (foretold @ foretold)), 4),
            "mean predicted": round(float(foretold.mean()), 5),
            "mean measured": round(float(measured.mean()), 5),
            "predicted": dict(zip(language_codes(index)[0], foretold.round(4).tolist(), strict=True)),
            "measured": dict(zip(language_codes(index)[0], measured.round(4).tolist(), strict=True)),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
