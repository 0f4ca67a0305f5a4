"""The LM head's log-probabilities and gradient against autograd of log_softmax in float64."""

import pytest
import torch

from congrad.gradients import head as head_module
from congrad.gradients.head import Head, log_probabilities

WIDTH, VOCABULARY, COUNT = 8, 23, 13


def make_head(*, bias=False, softcap=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    bias_V = torch.randn(VOCABULARY, generator=generator) if bias else None
    return Head(weight.to(dtype), None if bias_V is None else bias_V.to(dtype), softcap)


def make_rows(scale=1.0):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(COUNT, WIDTH, generator=generator) * scale
    targets = torch.randint(0, VOCABULARY, (COUNT,), generator=generator)
    coefficients = torch.randn(COUNT, generator=generator)
    coefficients[[0, 4, 5, 12]] = 0
    return hidden, targets, coefficients


def expected(head, hidden, targets, coefficients):
    hidden = hidden.double().requires_grad_()
    logits = hidden @ head.weight_VE.double().T
    if head.bias_V is not None:
        logits = logits + head.bias_V.double()
    if head.softcap is not None:
        logits = (logits / head.softcap).tanh() * head.softcap
    logp = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad((coefficients.double() * logp).sum(), hidden)
    return logp.detach(), gradient


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 9, COUNT, 1000])
def test_equals_autograd(chunk, bias, softcap, monkeypatch):
    monkeypatch.setattr(head_module, "MIN_CHUNK", 1)
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk * VOCABULARY)
    head, rows = make_head(bias=bias, softcap=softcap), make_rows()
    assert head.num_chunk_tokens() == chunk
    logp, gradient = log_probabilities(head, *rows)
    expected_logp, expected_gradient = expected(head, *rows)
    torch.testing.assert_close(logp.double(), expected_logp, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-5)


def test_chunks_are_no_smaller_than_the_minimum(monkeypatch):
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", 1)
    assert make_head().num_chunk_tokens() == head_module.MIN_CHUNK


def test_rows_of_coefficient_zero_have_a_probability_and_no_gradient():
    head, (hidden, targets, coefficients) = make_head(), make_rows()
    for chosen in (coefficients, torch.zeros(COUNT)):
        logp, gradient = log_probabilities(head, hidden, targets, chosen)
        torch.testing.assert_close(logp.double(), expected(head, hidden, targets, chosen)[0], rtol=1e-5, atol=1e-5)
        assert gradient[chosen == 0].eq(0).all()
        assert gradient[chosen != 0].ne(0).all()


def test_inputs_are_left_as_they_are():
    head, rows = make_head(softcap=2.0, bias=True), make_rows()
    before = [x.clone() for x in (*rows, head.weight_VE, head.bias_V)]
    log_probabilities(head, *rows)
    assert all(map(torch.equal, before, (*rows, head.weight_VE, head.bias_V)))


def test_target_whose_probability_underflows():
    """Logits apart by hundreds: softmax gives 0, the log-probability and its gradient are still right."""
    head = Head(torch.eye(3), None, None)
    hidden = torch.tensor([[0.0, 300.0, -50.0]])
    logp, gradient = log_probabilities(head, hidden, torch.tensor([0]), torch.ones(1))
    assert logp.tolist() == [-300.0]
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]


def test_target_that_is_almost_certain():
    """p is a few units of float32's last place below 1, the logits are larger: the gradient has 1 - p all the same."""
    head = Head(torch.eye(3), None, None)
    rows = (torch.tensor([[15.0, 0.0, -30.0]]), torch.tensor([0]), torch.ones(1))
    logp, gradient = log_probabilities(head, *rows)
    expected_logp, expected_gradient = expected(head, *rows)
    torch.testing.assert_close(logp.double(), expected_logp, rtol=0, atol=1e-6)  # a unit of float32 near 15
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=0)


def test_certain_target_has_no_gradient():
    head = Head(torch.eye(3), None, None)
    logp, gradient = log_probabilities(head, torch.tensor([[500.0, 0.0, 0.0]]), torch.tensor([0]), torch.ones(1))
    assert logp.tolist() == [0.0]
    assert gradient.eq(0).all()


@pytest.mark.bfloat16
def test_bfloat16_is_close():
    rows = make_rows()
    head = make_head(dtype=torch.bfloat16)
    logp, gradient = log_probabilities(head, rows[0].bfloat16(), *rows[1:])
    expected_logp, expected_gradient = expected(head, rows[0].bfloat16(), *rows[1:])
    assert logp.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(logp.double(), expected_logp, rtol=0.02, atol=0.03)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0.05, atol=0.05)


def test_head_of_a_model(tiny_model):
    for family, softcap in (("llama", None), ("gemma2", 3.0), ("gpt2", None)):
        model = tiny_model(family)
        head = Head.of(model)
        assert head.weight_VE.data_ptr() == model.get_output_embeddings().weight.data_ptr()  # no copy
        assert (head.bias_V, head.softcap) == (None, softcap)
