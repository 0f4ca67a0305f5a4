"""The LM head's log-probabilities and gradient against autograd of log_softmax in float64."""

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from congrad.errors import UserError
from congrad.gradients import head as head_module
from congrad.gradients.head import Head, StandIn, log_probabilities

WIDTH, VOCABULARY, COUNT = 8, 23, 13


def make_head(*, bias=False, softcap=None, scale=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    bias_V = torch.randn(VOCABULARY, generator=generator) if bias else None
    return Head(weight.to(dtype), None if bias_V is None else bias_V.to(dtype), softcap, scale)


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
    if head.scale is not None:
        logits = logits * head.scale
    if head.softcap is not None:
        logits = (logits / head.softcap).tanh() * head.softcap
    logp = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad((coefficients.double() * logp).sum(), hidden)
    return logp.detach(), gradient


@pytest.mark.parametrize("scale", [None, 0.3, 4.0])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 9, COUNT, 1000])
def test_equals_autograd(chunk, bias, softcap, scale, monkeypatch):
    monkeypatch.setattr(head_module, "MIN_CHUNK", 1)
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk * VOCABULARY)
    head, rows = make_head(bias=bias, softcap=softcap, scale=scale), make_rows()
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
        assert head.scale is None


CHANGES = {  # what a model does before its head, after it, and what that is
    "logits divided": (None, lambda z: z / 6, (1 / 6, None)),
    "logits multiplied and capped": (None, lambda z: 3 * torch.tanh(0.25 * z / 3), (0.25, 3.0)),
    "logits in float32, capped": (None, lambda z: 30 * torch.tanh(z.float() / 30), (1, 30.0)),
    "hidden states divided": (lambda h: h / 4, None, (0.25, None)),
    "both": (lambda h: h * 8, lambda z: 5 * torch.tanh(z / 5), (8.0, 5.0)),
}
UNKNOWN = {
    "a norm before": (lambda h: h / h.norm(dim=-1, keepdim=True), None),
    "a factor of every channel": (lambda h: h * torch.arange(h.shape[-1]), None),
    "capped otherwise": (None, lambda z: z.clamp(-4, 4)),
    "something added": (None, lambda z: z + 1),
    "tokens that are hidden": (None, lambda z: z.masked_fill(torch.arange(z.shape[-1]) == 7, -1e9)),
    "a part of the vocabulary": (None, lambda z: z[..., 1:]),
}


def changed(model, before, after):
    if before is not None:
        model.lm_head.register_forward_pre_hook(lambda module, args: (before(args[0]),))
    if after is not None:
        real = model.forward

        def forward(*args, **options):
            output = real(*args, **options)
            output.logits = after(output.logits)
            return output

        model.forward = forward
    return model


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.bfloat16)])
@pytest.mark.parametrize("kind", CHANGES)
def test_factors_of_a_model_are_measured(tiny_model, kind, dtype):
    before, after, (scale, softcap) = CHANGES[kind]
    head = Head.of(changed(tiny_model().to(dtype), before, after))
    assert (head.scale or 1, head.softcap) == (pytest.approx(scale, rel=1e-6), softcap)


def test_the_stand_in_s_output_can_be_read_as_families_do():
    """By name, by position, and by making another output of it."""
    hidden = torch.randn(1, 3, WIDTH)
    output = StandIn(hidden)
    assert output[0] is output.last_hidden_state is BaseModelOutputWithPast(**output).last_hidden_state is hidden
    assert output.past_key_values is None


def test_a_bias_belongs_to_the_logits(tiny_model):
    """s (W (c h) + b) is s c (W h + b / c)."""
    model = changed(tiny_model(), lambda h: h / 4, lambda z: z * 2)
    model.lm_head.bias = torch.nn.Parameter(torch.arange(61.0), requires_grad=False)
    hidden_NE = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    head = Head.of(model)
    assert head.scale == 0.5
    expected = 2 * model.lm_head(hidden_NE)  # whose hook divides
    torch.testing.assert_close(head.scale * (hidden_NE @ head.weight_VE.T + head.bias_V), expected)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_other_changes_are_refused(tiny_model, kind, state_of):
    model = changed(tiny_model(), *UNKNOWN[kind])
    before = state_of(model)
    with pytest.raises(UserError, match="changes its hidden states or logits in ways that packing does not know"):
        Head.of(model)
    assert state_of(model) == before


def test_a_model_without_a_head_is_refused(tiny_model, monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    with pytest.raises(UserError, match="has no LM head that is a linear layer"):
        Head.of(model)


def test_a_model_that_is_its_own_decoder_is_refused(tiny_model, monkeypatch):
    """As Llama 4 says of itself."""
    model = tiny_model()
    monkeypatch.setattr(model, "get_decoder", lambda: model)
    with pytest.raises(UserError, match="does not say which of its modules is the decoder"):
        Head.of(model)
