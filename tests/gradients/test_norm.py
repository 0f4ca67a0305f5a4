"""RMSNorm in fewer passes equals the families' own modules; what is not such a norm keeps its own code."""

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from congrad.gradients.norm import faster_norms, rms_norm, scale_of

WIDTH = 24


def make(norm_class, dtype=torch.float32):
    module = norm_class(WIDTH, eps=1e-3)
    module.weight = nn.Parameter(torch.randn(WIDTH, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5)
    return module.to(dtype).requires_grad_(False)


def draw(*shape, seed=1):
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 5, 4)])
@pytest.mark.parametrize("norm_class", [LlamaRMSNorm, Qwen3RMSNorm, Gemma2RMSNorm, Gemma3RMSNorm])
def test_equals_the_module_forward_and_backward(norm_class, shape):
    module = make(norm_class)
    weight, eps = scale_of(module)
    x, upstream = draw(*shape).requires_grad_(), draw(*shape, seed=2)
    found, expected = rms_norm(x, weight, eps), module(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x, upstream), torch.autograd.grad(expected, x, upstream))


def test_gradient_equals_that_of_the_formula():
    weight, eps = draw(), 1e-3
    x, upstream = draw(7).requires_grad_(), draw(7, seed=2)
    formula = x.double() / (x.double().square().mean(-1, keepdim=True) + eps).sqrt() * weight
    (expected,) = torch.autograd.grad(formula, x, upstream.double())
    (found,) = torch.autograd.grad(rms_norm(x, weight, eps), x, upstream)
    torch.testing.assert_close(found, expected)


def test_input_of_zeros_and_huge_inputs():
    weight = torch.ones(WIDTH)
    for scale in (0.0, 1e-12, 1e12):
        x = (draw(2) * scale).requires_grad_()
        y = rms_norm(x, weight, 1e-6)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert y.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.bfloat16
def test_bfloat16_is_close():
    for norm_class in (LlamaRMSNorm, Gemma3RMSNorm):
        module = make(norm_class, torch.bfloat16)
        weight, eps = scale_of(module)
        x = draw(6).bfloat16().requires_grad_()
        upstream = draw(6, seed=2).bfloat16()
        found, expected = rms_norm(x, weight, eps), module(x)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03)
        (one,), (other,) = torch.autograd.grad(found, x, upstream), torch.autograd.grad(expected, x, upstream)
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


class CentredRMSNorm(LlamaRMSNorm):
    """An unknown variant: takes the mean out first."""

    def forward(self, x):
        return super().forward(x - x.mean(-1, keepdim=True))


class UnscaledRMSNorm(nn.Module):
    """No weight at all."""

    eps = 1e-3

    def forward(self, x):
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()


def test_unknown_variants_keep_their_own_forward():
    model = nn.ModuleList([make(CentredRMSNorm), UnscaledRMSNorm(), nn.LayerNorm(WIDTH), make(LlamaRMSNorm)])
    with faster_norms(model) as count:
        assert count == 1
        assert ["forward" in vars(module) for module in model] == [False, False, False, True]


@pytest.mark.parametrize(
    ("family", "expected"), [("llama", 7), ("gemma2", 13), ("gemma3", 19), ("qwen2", 7), ("qwen3", 13), ("gpt2", 0)]
)
def test_every_norm_of_a_family_is_replaced_and_restored(tiny_model, family, expected):
    model = tiny_model(family)
    ids = torch.arange(9)[None]
    before = model(ids).logits
    with faster_norms(model) as count:
        assert count == expected
        torch.testing.assert_close(model(ids).logits, before)
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(model(ids).logits, before)


def test_norms_are_restored_after_an_error(tiny_model):
    model = tiny_model()
    with pytest.raises(RuntimeError, match="stop"), faster_norms(model):
        raise RuntimeError("stop")
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_large_weights_are_told_from_one_plus_weights(dtype, tolerance):
    """Real Gemma norms hold weights of 30 and more, where w and 1 + w differ by less than bfloat16 rounds."""
    module = Gemma3RMSNorm(64).to(dtype)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(20, 60, 64))
    found = scale_of(module)
    assert found is not None
    weight, epsilon = found
    torch.testing.assert_close(weight.float(), 1 + module.weight.float())
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    torch.testing.assert_close(rms_norm(x, weight, epsilon), module(x), rtol=tolerance, atol=0)
