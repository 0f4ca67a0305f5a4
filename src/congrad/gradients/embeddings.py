"""The squared norm of the gradient of embeddings and LM head, without the gradient.

Such a weight has a row for each token of the vocabulary. As an embedding it gets a gradient in the rows of the tokens
that are read; as the head, the product of its outputs' gradients with its inputs. Both are kept as they are, which
takes memory by tokens; a weight may be one, the other or both, and read at several places.

Shapes: T tokens of all sequences, U different ones of them, D width, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from congrad.gradients.sketch import hooked

COLUMNS = 2**14  # of the vocabulary at a time, in float32
ROUNDING = 1e-6  # relative: of products of many tokens that add up to nothing


@dataclass
class Uses:
    """Where a weight was used: ids and gradients of rows (T, T x D), inputs and gradients of outputs (T x D, T x V);
    and the gradient of its other uses (V x D), if any."""

    weight: nn.Parameter
    read: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    multiplied: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    other_VD: torch.Tensor | None = None

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens that were read (U), and their rows of the gradient (U x D, float32)."""
        width = self.weight.shape[1]
        ids_T = torch.cat([self.weight.new_empty(0, dtype=torch.int64)] + [ids_T for ids_T, _ in self.read])
        rows_TD = torch.cat([self.weight.new_empty(0, width).float()] + [rows_TD.float() for _, rows_TD in self.read])
        unique_U, unit_T = torch.unique(ids_T, return_inverse=True)
        return unique_U, rows_TD.new_zeros(len(unique_U), width).index_add_(0, unit_T, rows_TD)

    def columns(self) -> Iterator[tuple[int, torch.Tensor]]:
        """The outputs' gradients (T x COLUMNS, float32), and where they begin."""
        for start in range(0, len(self.weight), COLUMNS):
            parts = [gradient_TV[:, start : start + COLUMNS].float() for _, gradient_TV in self.multiplied]
            yield start, torch.cat(parts)

    def square(self) -> float:
        """The squared norm of the weight's gradient."""
        token_U, row_UD = self.rows()
        if self.other_VD is not None:
            whole_VD = self.other_VD.float().index_add_(0, token_U, row_UD)
            for inputs_TD, gradient_TV in self.multiplied:
                whole_VD.addmm_(gradient_TV.T.float(), inputs_TD.float())
            return float(whole_VD.square().sum())
        total = row_UD.square().sum()
        alone = sum(rows_TD.float().square().sum() for _, rows_TD in self.read)  # if every token stood by itself
        if self.multiplied:
            inputs_TD = torch.cat([inputs_TD.float() for inputs_TD, _ in self.multiplied])
            products_TT = inputs_TD @ inputs_TD.T
            for start, gradient_TC in self.columns():
                parts_TT = products_TT * (gradient_TC @ gradient_TC.T)
                here = (token_U >= start) & (token_U < start + COLUMNS)
                total += parts_TT.sum()
                total += 2 * (row_UD[here] * (gradient_TC[:, token_U[here] - start].T @ inputs_TD)).sum()
                alone += parts_TT.trace()
        return float(total) if total > ROUNDING * alone else 0.0


class EmbeddingUses(TorchFunctionMode):
    """While open, notes how weights are used as embeddings and in linear layers; such uses give them no gradient."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        super().__init__()
        self.uses = {id(weight): Uses(weight) for weight in weights}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        is_use = func in (F.embedding, F.linear) and torch.is_grad_enabled()
        uses = self.uses.get(id(args[1] if len(args) > 1 else options.get("weight"))) if is_use else None
        if uses is None:
            return func(*args, **options)
        if len(args) > 1:
            args = (args[0], uses.weight.detach(), *args[2:])
        else:
            options = options | {"weight": uses.weight.detach()}
        output = func(*args, **options)
        inputs = args[0] if args else options["input"]
        if func is F.linear:
            inputs_TD = inputs.detach().flatten(0, -2)
            return hooked(output, lambda gradient: uses.multiplied.append((inputs_TD, gradient.flatten(0, -2))))
        padding = args[2] if len(args) > 2 else options.get("padding_idx")

        def take(gradient: torch.Tensor) -> None:
            ids_T, rows_TD = inputs.flatten(), gradient.flatten(0, -2)
            if padding is not None:  # which has no gradient
                counts_T = ids_T != padding % len(uses.weight)
                ids_T, rows_TD = ids_T[counts_T], rows_TD[counts_T]
            uses.read.append((ids_T, rows_TD))

        return hooked(output, take)
