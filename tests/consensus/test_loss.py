"""Margins and pair weights: worked values, autograd of each loss as written, and TRL's own loss code."""

import math
from collections import defaultdict
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
import torch.nn.functional as F

from congrad.consensus import margins, pair_weights
from congrad.errors import UserError
from congrad.settings.consensus import LOSSES, Loss

ALL = [
    Loss("dpo", beta=0.3),
    Loss("lp-dpo", beta=0.3, length_penalty=0.02),
    Loss("hinge", beta=0.3),
    Loss("robust", beta=0.3, label_smoothing=0.2),
    Loss("ipo", beta=0.3),
    Loss("simpo", beta=2.0, target_margin=1.2),
]


def as_written(loss, chosen, rejected, ref_chosen, ref_rejected, chosen_tokens, rejected_tokens):
    """The losses from their papers' equations, not from the module under test."""
    reward = loss.beta * (chosen - ref_chosen) - loss.beta * (rejected - ref_rejected)
    match loss.name:
        case "dpo":
            return -torch.log(torch.sigmoid(reward))
        case "lp-dpo":
            return -torch.log(torch.sigmoid(reward + loss.length_penalty * (chosen_tokens - rejected_tokens)))
        case "hinge":
            return torch.relu(1 - reward)
        case "robust":
            e = loss.label_smoothing
            kept, flipped = -torch.log(torch.sigmoid(reward)), -torch.log(torch.sigmoid(-reward))
            return ((1 - e) * kept - e * flipped) / (1 - 2 * e)
        case "ipo":
            return (reward / loss.beta - 1 / (2 * loss.beta)) ** 2
        case "simpo":
            return -torch.log(torch.sigmoid(loss.beta * chosen - loss.beta * rejected - loss.target_margin))


def draw(num_pairs=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logps = [torch.randn(num_pairs, generator=generator, dtype=torch.float64) * 4 for _ in range(4)]
    tokens = [torch.randint(1, 40, (num_pairs,), generator=generator) for _ in range(2)]
    return logps, tokens


def weights_of(loss, logps, tokens):
    margin_P = margins(
        loss,
        chosen_logp_P=logps[0],
        rejected_logp_P=logps[1],
        reference_chosen_logp_P=logps[2],
        reference_rejected_logp_P=logps[3],
        chosen_tokens_P=tokens[0],
        rejected_tokens_P=tokens[1],
    )
    weight_P = pair_weights(loss, margin_P)
    assert margin_P.dtype == weight_P.dtype == torch.float64
    assert margin_P.shape == weight_P.shape == logps[0].shape
    return weight_P


@pytest.mark.parametrize("loss", ALL, ids=LOSSES)
def test_the_pair_weight_is_autograd_of_the_loss(loss):
    logps, tokens = draw()
    chosen = logps[0].clone().requires_grad_()
    rejected = logps[1].clone().requires_grad_()
    as_written(loss, chosen, rejected, logps[2], logps[3], tokens[0].double(), tokens[1].double()).sum().backward()
    weight_P = weights_of(loss, logps, tokens)
    torch.testing.assert_close(weight_P, chosen.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weight_P, -rejected.grad, rtol=1e-12, atol=1e-12)


def test_lp_dpo_by_hand():
    # m = 0.1 * ((-10 + 12) - (-20 + 19)) + 0.05 * (6 - 10) = 0.3 - 0.2 = 0.1
    logps = [torch.tensor([x]) for x in (-10.0, -20.0, -12.0, -19.0)]
    weight_P = weights_of(Loss("lp-dpo", length_penalty=0.05), logps, [torch.tensor([6]), torch.tensor([10])])
    assert weight_P.item() == pytest.approx(-0.1 / (1 + math.exp(0.1)), rel=1e-7)


def test_a_longer_chosen_response_counts_as_preferred_already():
    logps = [torch.zeros(2)] * 4
    tokens = [torch.tensor([30, 10]), torch.tensor([10, 30])]
    longer, shorter = weights_of(Loss("lp-dpo", length_penalty=0.05), logps, tokens).abs().tolist()
    assert longer < shorter


def test_at_the_reference_dpo_weighs_all_pairs_alike():
    logps, tokens = draw()
    weight_P = weights_of(Loss("dpo", beta=0.4), [logps[0], logps[1], logps[0], logps[1]], tokens)
    assert weight_P.tolist() == [-0.2] * 50


def test_hinge_is_flat_from_the_margin_on():
    weight_P = pair_weights(Loss("hinge"), torch.tensor([0.999, 1.0, 2.0]))
    assert weight_P.tolist() == [-0.1, 0.0, 0.0]


def test_an_infinite_margin_has_no_weight():
    margin_P = torch.tensor([math.inf, -math.inf, math.nan])
    for loss in ALL:
        assert pair_weights(loss, margin_P).isnan().all()


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss.name != "simpo"], ids=lambda loss: loss.name)
def test_equals_trl(loss):
    """TRL's own code gives the gradient of the mean loss in the per-token log-probabilities.

    LP-DPO is TRL's sigmoid loss with alpha / beta per token taken from the reference's log-probabilities.
    """
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    num_pairs, length = 6, 9
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randint(2, length, (num_pairs,), generator=generator) for _ in range(2)]
    position = torch.arange(length + 1)
    completion_mask = ((position > 0) & (position <= torch.cat(tokens)[:, None])).long()
    mask = completion_mask[:, 1:]
    log_probs = (-torch.rand(2 * num_pairs, length, generator=generator) * 3 * mask).requires_grad_()
    ref_chosen, ref_rejected = (-torch.rand(num_pairs, generator=generator) * 9 for _ in range(2))
    penalty = (loss.length_penalty or 0) / loss.beta
    fake = MagicMock(
        ld_alpha=None,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        beta=loss.beta,
        label_smoothing=loss.label_smoothing or 0.0,
        loss_types=[{"dpo": "sigmoid", "lp-dpo": "sigmoid"}.get(loss.name, loss.name)],
        loss_weights=[1.0],
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    fake.model.training = False
    fake.accelerator.device = "cpu"
    fake.accelerator.gather = fake.accelerator.gather_for_metrics = lambda x: x
    zeros = torch.zeros(2 * num_pairs, length)
    outputs = SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    inputs = {
        "input_ids": torch.zeros_like(completion_mask),
        "attention_mask": torch.ones_like(completion_mask),
        "completion_mask": completion_mask,
        "ref_chosen_logps": ref_chosen - penalty * tokens[0],
        "ref_rejected_logps": ref_rejected - penalty * tokens[1],
    }
    trainer._compute_loss(fake, lambda **_: outputs, inputs, return_outputs=False).backward()

    logps = [*log_probs.detach().sum(1).chunk(2), ref_chosen, ref_rejected]
    per_token = [torch.ones_like(count).double() for count in (*tokens, *tokens)]
    if loss.name == "ipo":
        per_token = [1 / count.double() for count in (*tokens, *tokens)]
        logps = [logp.double() * share for logp, share in zip(logps, per_token, strict=True)]
    weight_P = weights_of(loss, logps, tokens)
    expected = torch.cat([weight_P * per_token[0], -weight_P * per_token[1]])[:, None] * mask / num_pairs
    torch.testing.assert_close(log_probs.grad.double() * mask, expected, rtol=1e-5, atol=1e-6)


def test_simpo_equals_trl(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    trainer = pytest.importorskip("trl.experimental.cpo.cpo_trainer").CPOTrainer
    loss = Loss("simpo", beta=2.0, target_margin=1.2)
    logps, tokens = draw()
    chosen, rejected = (logp.clone().requires_grad_() for logp in logps[:2])
    fake = SimpleNamespace(
        alpha=0.0,
        loss_type="simpo",
        beta=2.0,
        simpo_gamma=1.2,
        label_smoothing=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    trainer.cpo_loss(fake, chosen, rejected)[0].sum().backward()
    torch.testing.assert_close(weights_of(loss, logps, tokens), chosen.grad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "dop"}, "did you mean dpo"),
        ({"beta": 0.0}, "must be above 0"),
        ({"beta": math.nan}, "must be a finite number, above 0"),
        ({"name": "hinge", "length_penalty": 0.1}, "would be ignored by the hinge loss"),
        ({"label_smoothing": 0.1}, "would be ignored by the dpo loss"),
        ({"name": "ipo", "target_margin": 0.1}, "would be ignored by the ipo loss"),
        ({"name": "lp-dpo"}, "length_penalty is missing"),
        ({"name": "lp-dpo", "length_penalty": math.inf}, "finite"),
        ({"name": "robust"}, "label_smoothing is missing"),
        ({"name": "robust", "label_smoothing": 0.5}, "below 0.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        Loss(**settings)
    assert "\n" not in str(caught.value)


def test_the_default_target_margin_is_written_down():
    assert Loss("simpo").target_margin == 0.5


@pytest.mark.parametrize("loss", ALL, ids=LOSSES)
def test_a_loss_refuses_the_other_kind_of_index(loss):
    per_token = loss.name in ("ipo", "simpo")
    loss.check_index(per_token=per_token)
    with pytest.raises(UserError, match=r"index\.normalise="):
        loss.check_index(per_token=not per_token)


def test_logsigmoid_is_what_the_weight_differentiates_far_from_zero():
    margin = torch.tensor([-800.0, -30.0, 30.0, 600.0], dtype=torch.float64, requires_grad=True)
    (-F.logsigmoid(margin)).sum().backward()
    torch.testing.assert_close(pair_weights(Loss(beta=1.0), margin.detach()), margin.grad, rtol=1e-12, atol=0)
