"""The trainer's loss equals the loss as it is written, in value and in gradient, and TRL's own where alpha is 0."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from trl import DPOConfig, DPOTrainer

from congrad.consensus.loss import margins, pair_weights
from congrad.settings.consensus import Loss
from congrad.training.lp_dpo import LPDPOTrainer

BETA, ALPHA = 0.3, 0.07
LORA = LoraConfig(r=2, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")


@pytest.fixture
def policy(tiny_directory: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float64)


@pytest.fixture
def reference(policy: PreTrainedModel) -> PreTrainedModel:
    """Another model than the policy."""
    other, generator = copy.deepcopy(policy), torch.Generator().manual_seed(1)
    for parameter in other.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return other


@pytest.fixture
def rows(make_rows: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return make_rows(4)


def make(
    trainer_class: Any,
    tiny_directory: Path,
    tmp_path: Path,
    rows: list[dict[str, Any]],
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    *,
    peft_config: LoraConfig | None = None,
    length_penalty: float | None = None,
    **config: Any,
) -> DPOTrainer:
    args = DPOConfig(
        output_dir=str(tmp_path),
        **{"beta": BETA, "max_length": 24, "per_device_train_batch_size": 4, "gradient_checkpointing": None, **config},
        activation_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return trainer_class(
        model=policy,
        ref_model=reference,
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tiny_directory),
        peft_config=peft_config,
        **({} if length_penalty is None else {"length_penalty": length_penalty}),
    )


def batch_of(trainer: DPOTrainer) -> dict[str, torch.Tensor]:
    return trainer.data_collator([dict(row) for row in trainer.train_dataset])


def value_and_gradients(trainer: DPOTrainer) -> tuple[float, dict[str, torch.Tensor]]:
    model = trainer.model.train()
    loss = trainer.compute_loss(model, batch_of(trainer))
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.item(), gradients


def summed_logps(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """log pi of each response and its length, sequence by sequence: no padding, no mask, the whole log-softmax."""
    logps, lengths = [], []
    for ids, there, response in zip(
        batch["input_ids"], batch["attention_mask"].bool(), batch["completion_mask"].bool(), strict=True
    ):
        ids, response = ids[there], response[there]
        logits = model(input_ids=ids[None]).logits[0]
        per_token = F.log_softmax(logits[:-1], dim=-1).gather(1, ids[1:, None])[:, 0]
        logps.append(per_token[response[1:]].sum())
        lengths.append(int(response.sum()))
    return torch.stack(logps), torch.tensor(lengths, dtype=torch.float64)


def written(trainer: DPOTrainer, policy: Any, reference: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> Any:
    """The margins m as the paper writes them, differentiable in the policy."""
    batch = batch_of(trainer)
    logp, length = summed_logps(policy, batch)
    with torch.no_grad():
        ref = reference(batch)
    (pi_w, pi_l), (ref_w, ref_l), (len_w, len_l) = logp.chunk(2), ref.chunk(2), length.chunk(2)
    assert (len_w != len_l).any(), "a test of lengths needs different ones"
    assert not batch["attention_mask"].all(), "and padding"
    return BETA * ((pi_w - ref_w) - (pi_l - ref_l)) + ALPHA * (len_w - len_l)


def assert_same(trainer: DPOTrainer, loss: torch.Tensor) -> None:
    value, gradients = value_and_gradients(trainer)
    assert value == pytest.approx(loss.item(), rel=1e-5)  # TRL's log-probabilities are float32
    trainer.model.zero_grad()
    loss.backward()
    expected = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-6 * float(largest), msg=name)


@pytest.mark.parametrize("precompute", [False, True], ids=["on the fly", "precomputed"])
@pytest.mark.parametrize("same", [False, True], ids=["other reference", "policy is reference"])
def test_loss_and_gradients_are_those_of_the_loss_as_written(
    tiny_directory, tmp_path, rows, policy, reference, precompute, same
):
    reference = copy.deepcopy(policy) if same else reference
    independent = copy.deepcopy(reference)
    trainer = make(
        LPDPOTrainer,
        tiny_directory,
        tmp_path,
        rows,
        policy,
        reference,
        length_penalty=ALPHA,
        precompute_ref_log_probs=precompute,
    )
    margin = written(trainer, policy, lambda batch: summed_logps(independent, batch)[0])
    if same:
        batch = batch_of(trainer)
        chosen, rejected = batch["completion_mask"].sum(1).chunk(2)
        torch.testing.assert_close(margin.detach(), ALPHA * (chosen - rejected).double(), rtol=0, atol=1e-9)
    assert_same(trainer, -F.logsigmoid(margin).mean())


def test_truncated_responses_count_what_is_left_of_them(tiny_directory, tmp_path, rows, policy, reference):
    independent = copy.deepcopy(reference)
    rows[0]["chosen"] *= 40
    trainer = make(LPDPOTrainer, tiny_directory, tmp_path, rows, policy, reference, length_penalty=ALPHA, max_length=16)
    assert int(batch_of(trainer)["attention_mask"].sum(1).max()) == 16
    assert_same(
        trainer, -F.logsigmoid(written(trainer, policy, lambda batch: summed_logps(independent, batch)[0])).mean()
    )


def test_an_adapter_switched_off_is_the_reference(tiny_directory, tmp_path, rows, policy):
    trainer = make(LPDPOTrainer, tiny_directory, tmp_path, rows, policy, None, peft_config=LORA, length_penalty=ALPHA)
    base = AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float64)
    margin = written(trainer, trainer.model, lambda batch: summed_logps(base, batch)[0])
    assert_same(trainer, -F.logsigmoid(margin).mean())
    assert all("lora" in name for name in value_and_gradients(trainer)[1])


def test_an_adapter_takes_another_reference(tiny_directory, tmp_path, rows, policy, reference):
    independent = copy.deepcopy(reference)
    trainer = make(
        LPDPOTrainer, tiny_directory, tmp_path, rows, policy, reference, peft_config=LORA, length_penalty=ALPHA
    )
    margin = written(trainer, trainer.model, lambda batch: summed_logps(independent, batch)[0])
    assert_same(trainer, -F.logsigmoid(margin).mean())


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("hinge", lambda m: torch.relu(1 - m)),
        ("robust", lambda m: (-0.9 * F.logsigmoid(m) + 0.1 * F.logsigmoid(-m)) / 0.8),
        (
            "discopop",
            lambda m: -F.logsigmoid(m) * (1 - torch.sigmoid(m / 0.05)) + torch.exp(-m) * torch.sigmoid(m / 0.05),
        ),
    ],
)
def test_other_losses_of_the_margin(tiny_directory, tmp_path, rows, policy, reference, name, formula):
    independent = copy.deepcopy(reference)
    trainer = make(
        LPDPOTrainer,
        tiny_directory,
        tmp_path,
        rows,
        policy,
        reference,
        length_penalty=ALPHA,
        loss_type=name,
        label_smoothing=0.1,
    )
    assert_same(trainer, formula(written(trainer, policy, lambda batch: summed_logps(independent, batch)[0])).mean())


def test_an_nll_term_is_added_unshifted(tiny_directory, tmp_path, rows, policy, reference):
    independent = copy.deepcopy(reference)
    trainer = make(
        LPDPOTrainer,
        tiny_directory,
        tmp_path,
        rows,
        policy,
        reference,
        length_penalty=ALPHA,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.5],
    )
    logp, length = summed_logps(policy, batch_of(trainer))
    nll = -logp[:4].sum() / length[:4].sum()
    margin = written(trainer, policy, lambda batch: summed_logps(independent, batch)[0])
    assert_same(trainer, -F.logsigmoid(margin).mean() + 0.5 * nll)


@pytest.mark.parametrize("options", [{}, {"loss_type": ["ipo", "sft"]}, {"loss_type": "sigmoid_norm"}], ids=str)
def test_without_a_penalty_it_is_trls_own(tiny_directory, tmp_path, rows, policy, reference, options):
    trainers = [
        make(kind, tiny_directory, tmp_path, rows, copy.deepcopy(policy), copy.deepcopy(reference), **options, **more)
        for kind, more in ((LPDPOTrainer, {"length_penalty": 0.0}), (DPOTrainer, {}))
    ]
    (ours, our_gradients), (theirs, their_gradients) = map(value_and_gradients, trainers)
    assert ours == theirs
    assert all(torch.equal(our_gradients[name], their_gradients[name]) for name in their_gradients)


def test_the_filters_weights_are_this_losss_derivative(tiny_directory, tmp_path, rows, policy, reference):
    """dL/d(delta) of every pair, by autograd through the trainer, is `pair_weights` of lp-dpo."""
    independent = copy.deepcopy(reference)
    loss = Loss("lp-dpo", beta=BETA, length_penalty=ALPHA)
    for row in rows:
        trainer = make(
            LPDPOTrainer,
            tiny_directory,
            tmp_path,
            [row],
            copy.deepcopy(policy),
            copy.deepcopy(reference),
            length_penalty=ALPHA,
        )
        batch = batch_of(trainer)
        logp, length = summed_logps(trainer.model, batch)
        ref = summed_logps(independent, batch)[0].detach()
        margin = margins(
            loss,
            chosen_logp_P=logp[:1].detach(),
            rejected_logp_P=logp[1:].detach(),
            reference_chosen_logp_P=ref[:1],
            reference_rejected_logp_P=ref[1:],
            chosen_tokens_P=length[:1],
            rejected_tokens_P=length[1:],
        )
        value, gradients = value_and_gradients(trainer)
        assert value == pytest.approx(-F.logsigmoid(margin).item(), rel=1e-5)  # TRL's log-probabilities are float32
        (logp[0] - logp[1]).backward()
        weight = pair_weights(loss, margin).item()
        largest = max(gradient.abs().max() for gradient in gradients.values())
        for name, parameter in trainer.model.named_parameters():
            expected = weight * parameter.grad
            torch.testing.assert_close(gradients[name], expected, rtol=1e-5, atol=1e-6 * float(largest), msg=name)


def test_a_cached_reference_serves_every_penalty(tiny_directory, tmp_path, rows, policy, reference):
    """What TRL precomputes is cached on disk under a key without alpha: a second run must not get the first's shift."""
    batches, losses = [], []
    for alpha in (0.0, ALPHA):
        trainer = make(
            LPDPOTrainer,
            tiny_directory,
            tmp_path,
            rows,
            copy.deepcopy(policy),
            copy.deepcopy(reference),
            length_penalty=alpha,
            precompute_ref_log_probs=True,
        )
        batches.append(batch_of(trainer))
        losses.append(value_and_gradients(trainer)[0])
    for side in ("ref_chosen_logps", "ref_rejected_logps"):
        assert torch.equal(batches[0][side], batches[1][side])
    assert losses[0] != losses[1]


def test_the_trainer_tells_nobody(tiny_directory, tmp_path, rows, policy, reference, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # where TRL keeps silent by itself

    def tell(**what: Any) -> None:
        raise AssertionError(f"sent {what}")

    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", tell)
    make(LPDPOTrainer, tiny_directory, tmp_path, rows, policy, reference, length_penalty=0.0)
