"""What is predicted at equal step length is what an explicit small SGD step by plain autograd does, per language."""

import numpy as np
import pytest
import torch
from bench.exact import space_weights
from bench.first_order import BETA, by_language, delta, gains_by_steps, predicted
from tests.conftest import preference_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from congrad.advice.advise import advise
from congrad.advice.folds import deal
from congrad.selection import select
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus


@pytest.mark.parametrize(("ranking", "share"), [("all", 1.0), ("random", 0.5)])
def test_predicted_gains_are_those_of_small_steps(tiny_directory, ranking, share):
    model = AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    rows = preference_rows(24)
    pairs = [[tokenizer(row[side])["input_ids"] for side in ("prompt", "chosen", "rejected")] for row in rows]
    weights = space_weights(model)
    gradients = [torch.autograd.grad(delta(model, pair), weights) for pair in pairs]
    sketch_PD = torch.stack([torch.cat([part.flatten() for part in parts]) for parts in gradients])
    language_P = torch.arange(24) % 3
    random_P = np.random.default_rng(1).random(24)
    advice = advise(
        sketch_PD,
        factor_N=torch.full((24,), -BETA / 2),
        language_N=language_P,
        group_N=torch.arange(24),
        length_N=np.zeros(24),
        given={"random": random_P},
        consensus=Consensus(),
        settings=Settings(num_resamples=1),
        aggregators=(),
    )
    fold_P = deal(torch.arange(24), 5, 0, language_P)
    kept_FP = torch.stack(
        [
            select(torch.from_numpy(random_P).where(fold_P != fold, torch.nan), language_P, keep=share)
            for fold in range(5)
        ]
    )
    measured = by_language(gains_by_steps(model, pairs, fold_P, kept_FP, step=5e-3), language_P)
    assert predicted(advice, ranking, share) == pytest.approx(measured, rel=2e-3)
