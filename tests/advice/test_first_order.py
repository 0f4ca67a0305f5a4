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
from congrad.advice.watched import WatchedPairs
from congrad.selection import select
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus


@pytest.mark.parametrize(("ranking", "share"), [("all", 1.0), ("random", 0.5)])
def test_predicted_gains_are_those_of_small_steps(tiny_directory, ranking, share):
    """Of the pairs' languages, and of watched pairs with the same prompts, whose labels are the other way round."""
    model = AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    rows = preference_rows(24)
    rows += [{**row, "chosen": row["rejected"] + row["chosen"], "rejected": row["chosen"]} for row in rows[:8]]
    pairs = [[tokenizer(row[side])["input_ids"] for side in ("prompt", "chosen", "rejected")] for row in rows]
    weights = space_weights(model)
    gradients = [torch.autograd.grad(delta(model, pair), weights) for pair in pairs]
    sketch_PD = torch.stack([torch.cat([part.flatten() for part in parts]) for parts in gradients])
    language_P = torch.arange(24) % 3
    factor_N, language_N = torch.full((8,), -BETA / 2), torch.zeros(8, dtype=torch.int64)
    watch = WatchedPairs(sketch_PD[24:], factor_N, language_N, torch.arange(8))
    random_P = np.random.default_rng(1).random(24)
    advice = advise(
        sketch_PD[:24],
        factor_N=torch.full((24,), -BETA / 2),
        language_N=language_P,
        group_N=torch.arange(24),
        length_N=np.zeros(24),
        given={"random": random_P},
        consensus=Consensus(),
        settings=Settings(num_resamples=1),
        aggregators=(),
        watch=watch,
    )
    fold_P = deal(torch.arange(24), 5, 0, language_P)
    kept_FP = torch.stack(
        [
            select(torch.from_numpy(random_P).where(fold_P != fold, torch.nan), language_P, keep=share)
            for fold in range(5)
        ]
    )
    kept_FP, fold_P = torch.nn.functional.pad(kept_FP, (0, 8)), torch.cat([fold_P, fold_P[:8]])
    gain_P = gains_by_steps(model, pairs, fold_P, kept_FP, step=5e-3)
    assert predicted(advice, ranking, share) == pytest.approx(by_language(gain_P[:24], language_P), rel=2e-3)
    option = next(each for each in advice.options if (each.ranking, each.share) == (ranking, share))
    within = 2e-3 * float(gain_P[24:].abs().max())
    assert option.gains["equal_length"].watched[0].value == pytest.approx(float(gain_P[24:].mean()), abs=within)
