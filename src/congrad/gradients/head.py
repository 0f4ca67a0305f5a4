"""The LM head on predicted tokens only: log-probabilities and, in the same pass, the gradient of their weighted sum.

For logits z = W h and a target y, d log p(y) / dh = W^T (onehot(y) - softmax(z)). Logits live one chunk of tokens at a
time, in two buffers that are used again, so nothing of size tokens x vocabulary is kept.

What a model does besides multiplying by W differs by family, and no interface names it: the same key of a configuration
divides the logits in one, multiplies them in another and divides the hidden states in a third. So it is measured: the
model's own forward runs between stand-ins for the decoder and for the head.

Shapes: N predicted tokens, C tokens of one chunk, V vocabulary, E hidden width.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients.memory import shape_multiple

MIN_CHUNK = 128  # fewer tokens per chunk and reading W takes longer than multiplying by it
CHUNK_ELEMENTS = 2**23  # 32 MiB of float32 logits: a server CPU's last-level cache
CHUNK_ELEMENTS_GPU = 2**27


@dataclass(frozen=True)
class Head:
    """The output embedding, and what the model does to its logits: they are scale (W h + bias), capped by softcap."""

    weight_VE: torch.Tensor
    bias_V: torch.Tensor | None = None
    softcap: float | None = None
    scale: float | None = None

    @staticmethod
    def of(model: PreTrainedModel) -> "Head":
        """Raises:
        UserError: the model has no such head.
        """
        output = model.get_output_embeddings()
        if not isinstance(getattr(output, "weight", None), torch.Tensor):
            raise UserError(f"{type(model).__name__} has no LM head that is a linear layer")
        if any(
            "lora_" in name for name, _ in output.named_parameters()
        ):  # a product with the weight would leave it out
            problem = "the adapter changes the LM head, which is not supported"
            raise UserError(problem, "train one for the decoder blocks")
        before, scale, softcap = factors(model, output)
        scale *= before
        bias_V = None if output.bias is None else output.bias.detach() / before
        return Head(output.weight.detach(), bias_V, softcap, None if math.isclose(scale, 1, rel_tol=1e-6) else scale)

    def num_chunk_tokens(self) -> int:
        elements = CHUNK_ELEMENTS if self.weight_VE.device.type == "cpu" else CHUNK_ELEMENTS_GPU
        return max(MIN_CHUNK, elements // len(self.weight_VE))


class StandIn:
    """The output of a decoder of any family: hidden states, and nothing else that a model may ask for."""

    def __init__(self, hidden_BTE: torch.Tensor) -> None:
        self.last_hidden_state = hidden_BTE

    def keys(self) -> list[str]:
        return ["last_hidden_state"]

    def __getitem__(self, index: Any) -> Any:
        return self.last_hidden_state if index == "last_hidden_state" else (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


@torch.no_grad()
def factors(model: PreTrainedModel, output: Any) -> tuple[float, float, float | None]:
    """What the model multiplies hidden states by before the head, and logits after it, and what it caps them at.

    Three tokens run, with hidden states and logits that are powers of two with signs: factors show exactly. The first
    token's logits are too small to be capped, and the last one's so large that nothing but the cap is left of them.

    Raises:
        UserError: it does anything else.
    """
    weight_VE, decoder = output.weight, model.get_decoder()
    if decoder is model:
        raise UserError(f"{type(model).__name__} does not say which of its modules is the decoder")
    of_token_T1 = torch.tensor([[1.0], [8.0], [2.0]]), torch.tensor([[2.0**-16], [1.0], [2.0**90]])
    hidden_BTE, logits_BTV = (
        (size_T1 * torch.pow(-2.0, torch.arange(count) % 6))[None].to(weight_VE.device)
        for size_T1, count in zip(of_token_T1, weight_VE.shape[::-1], strict=True)
    )
    read: list[torch.Tensor] = []

    def stand_in(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        read.append(args[0].float())
        return (args[0].to(weight_VE.dtype),)

    handles = [
        output.register_forward_pre_hook(stand_in),
        output.register_forward_hook(lambda module, args, logits: logits_BTV, prepend=True),
    ]
    own = vars(decoder).get("forward")  # of what wraps a forward in place
    decoder.forward = lambda *args, **options: StandIn(hidden_BTE)
    try:
        found = model(input_ids=torch.tensor([[0, 1, 0]], device=weight_VE.device), use_cache=False).logits
    finally:
        del decoder.forward
        if own is not None:
            decoder.forward = own
        for handle in handles:
            handle.remove()
    if [x.shape for x in (*read, found)] == [hidden_BTE.shape, logits_BTV.shape]:
        before, scale = float(read[0][0, 0, 0] / hidden_BTE[0, 0, 0]), float(found[0, 0, 0] / logits_BTV[0, 0, 0])
        expected, softcap = logits_BTV * scale, None
        if not torch.allclose(found, expected):
            softcap = float(found[0, -1].abs().max())
            expected = (expected / softcap).tanh() * softcap
        if torch.allclose(read[0], hidden_BTE * before) and torch.allclose(found, expected):
            return before, scale, softcap
    raise UserError(f"{type(model).__name__} changes its hidden states or logits in ways that packing does not know")


def log_probabilities(
    head: Head, hidden_NE: torch.Tensor, targets_N: torch.Tensor, coefficients_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(target) of every row (float32, N), and the gradient of sum_n coefficient_n log p_n by the hidden states.

    Rows with coefficient 0 need no gradient: no second product is made for them.
    """
    logp_N = torch.empty(len(targets_N), dtype=torch.float32, device=hidden_NE.device)
    gradient_NE = torch.zeros_like(hidden_NE)
    multiple = shape_multiple(hidden_NE)
    chunk = min(head.num_chunk_tokens(), len(targets_N))
    logits_buffer = hidden_NE.new_empty(chunk + -chunk % multiple, len(head.weight_VE))
    softmax_buffer = torch.empty_like(logits_buffer)
    order_N = torch.argsort((coefficients_N == 0).int(), stable=True)  # those without a gradient come last
    num_wanted = int((coefficients_N != 0).sum())
    for start in range(0, len(order_N), chunk):
        rows_C = order_N[start : start + chunk]
        padded = len(rows_C) + -len(rows_C) % multiple
        hidden_CE = F.pad(hidden_NE[rows_C], (0, 0, 0, padded - len(rows_C)))
        target_C = F.pad(targets_N[rows_C], (0, padded - len(rows_C)))
        logits_CV = torch.mm(hidden_CE, head.weight_VE.t(), out=logits_buffer[:padded])
        if head.bias_V is not None:
            logits_CV += head.bias_V
        if head.scale is not None:
            logits_CV *= head.scale
        if head.softcap is not None:
            logits_CV.div_(head.softcap).tanh_().mul_(head.softcap)
        softmax_CV = torch.softmax(logits_CV, dim=-1, out=softmax_buffer[:padded])
        # The most probable token gives log(sum(exp(z))) with no second pass of exponentials.
        log_sum_C = logits_CV.amax(dim=1).float() - softmax_CV.amax(dim=1).float().log()
        logp_C = logits_CV.gather(1, target_C[:, None])[:, 0].float() - log_sum_C
        logp_N[rows_C] = logp_C[: len(rows_C)]
        rows_C = rows_C[: max(num_wanted - start, 0)]
        if len(rows_C):
            padded = len(rows_C) + -len(rows_C) % multiple
            gradient_CE = head_gradient(head, logits_CV[:padded], softmax_CV[:padded], target_C[:padded])
            coefficients_C1 = coefficients_N[rows_C, None].to(gradient_CE.dtype)
            gradient_NE[rows_C] = gradient_CE[: len(rows_C)].mul_(coefficients_C1)
    return logp_N, gradient_NE


def head_gradient(
    head: Head, logits_CV: torch.Tensor, softmax_CV: torch.Tensor, target_C: torch.Tensor
) -> torch.Tensor:
    """d log p(target) / dh, C x E. The target's own term, 1 - p, is the others' sum: precise where p is near 1.

    Overwrites `softmax_CV`.
    """
    dtype = softmax_CV.dtype
    softmax_CV.scatter_(1, target_C[:, None], 0)
    own_C = softmax_CV.sum(dim=1, dtype=torch.float32)
    if head.softcap is not None:  # z = cap tanh(z' / cap), so dz / dz' = 1 - (z / cap)^2
        slope_CV = 1 - (logits_CV / head.softcap).square_()
        softmax_CV *= slope_CV
        own_C = own_C * slope_CV.gather(1, target_C[:, None])[:, 0]
    others_CE = softmax_CV @ head.weight_VE
    gradient_CE = torch.addcmul(others_CE.neg_(), head.weight_VE[target_C], own_C.to(dtype)[:, None])
    return gradient_CE if head.scale is None else gradient_CE.mul_(head.scale)
