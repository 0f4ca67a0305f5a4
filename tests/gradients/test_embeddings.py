"""The squared norm of the gradient of embeddings and LM head, against autograd's gradient."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from congrad.gradients import embeddings
from congrad.gradients.embeddings import EmbeddingUses

IDS = torch.tensor([[3, 1, 3, 0, 7, 2, 2]])


def tied_head(weight, hidden):
    return F.linear(hidden, weight)


def by_name(weight, hidden):
    return F.linear(bias=None, weight=weight, input=hidden)


def by_product(weight, hidden):
    return hidden @ weight.T


def both(weight, hidden):
    return tied_head(weight, hidden) + by_product(weight, hidden.flip(1))


def in_place(weight, hidden):
    return F.linear(hidden, weight).mul_(2)


def embed(weight, ids):
    return F.embedding(ids, weight)


def embed_padded(weight, ids):
    return F.embedding(ids, weight, -9)  # the same as 2 of 11


def embed_by_name(weight, ids):
    return F.embedding(ids, weight=weight, padding_idx=2)


def embed_by_index(weight, ids):
    return weight[ids]


def embed_in_place(weight, ids):
    return F.embedding(ids, weight).mul_(3)


@pytest.mark.parametrize("columns", [4, 2**14])
@pytest.mark.parametrize("embedding", [embed, embed_padded, embed_by_name, embed_by_index, embed_in_place])
@pytest.mark.parametrize("head", [tied_head, by_name, by_product, both, in_place])
@pytest.mark.parametrize("is_tied", [True, False])
def test_square_is_that_of_autograd(embedding, head, is_tied, columns, monkeypatch):
    monkeypatch.setattr(embeddings, "COLUMNS", columns)
    torch.manual_seed(0)
    read, middle = nn.Parameter(torch.randn(11, 5)), torch.randn(5, 5)
    multiplied = read if is_tied else nn.Parameter(torch.randn(11, 5))

    def loss():
        """Of two sequences, as of chosen and rejected."""
        sides = [head(multiplied, (embedding(read, ids) @ middle).tanh()) for ids in (IDS, IDS[:, 2:5])]
        return sides[0].log_softmax(-1)[0, :, 4].sum() - sides[1].log_softmax(-1)[0, :, 2].sum()

    weights = [read] if is_tied else [read, multiplied]
    expected = [float(gradient.square().sum()) for gradient in torch.autograd.grad(loss(), weights)]
    with EmbeddingUses(weights) as noted:
        loss().backward()
    for weight in weights:
        noted.uses[id(weight)].other_VD = weight.grad
    assert [noted.uses[id(weight)].square() for weight in weights] == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_not_made():
    weight = nn.Parameter(torch.randn(11, 5))
    with EmbeddingUses([weight]) as noted:
        tied_head(weight, embed(weight, IDS)).sum().backward()
    assert weight.grad is None
    assert noted.uses[id(weight)].square() > 0


def test_other_weights_and_no_gradient_are_as_they_were():
    weight, other = nn.Parameter(torch.randn(11, 5)), nn.Parameter(torch.randn(11, 5))
    with EmbeddingUses([weight]) as noted:
        tied_head(other, embed(other, IDS)).sum().backward()
        with torch.no_grad():
            assert not embed(weight, IDS).requires_grad
    assert other.grad is not None
    assert noted.uses[id(weight)].square() == 0
