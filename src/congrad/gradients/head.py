"""The LM head on predicted tokens only: log-probabilities and, in the same pass, the gradient of their weighted sum.

For logits z = W h and a target y, d log p(y) / dh = W^T (onehot(y) - softmax(z)). Logits live one chunk of tokens at a
time, in two buffers that are used again, so nothing of size tokens x vocabulary is kept.

Shapes: N predicted tokens, C tokens of one chunk, V vocabulary, E hidden width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from congrad.errors import UserError
from congrad.gradients.memory import shape_multiple

MIN_CHUNK = 128  # fewer tokens per chunk and reading W takes longer than multiplying by it
CHUNK_ELEMENTS = 2**23  # 32 MiB of float32 logits: a server CPU's last-level cache
CHUNK_ELEMENTS_GPU = 2**27


@dataclass(frozen=True)
class Head:
    """The output embedding and what the model does to its logits."""

    weight_VE: torch.Tensor
    bias_V: torch.Tensor | None
    softcap: float | None

    @staticmethod
    def of(model: PreTrainedModel) -> "Head":
        output = model.get_output_embeddings()
        if any(
            "lora_" in name for name, _ in output.named_parameters()
        ):  # a product with the weight would leave it out
            problem = "the adapter changes the LM head, which is not supported"
            raise UserError(problem, "train one for the decoder blocks")
        softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        return Head(output.weight.detach(), None if output.bias is None else output.bias.detach(), softcap)

    def num_chunk_tokens(self) -> int:
        elements = CHUNK_ELEMENTS if self.weight_VE.device.type == "cpu" else CHUNK_ELEMENTS_GPU
        return max(MIN_CHUNK, elements // len(self.weight_VE))


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
    return torch.addcmul(others_CE.neg_(), head.weight_VE[target_C], own_C.to(dtype)[:, None])
