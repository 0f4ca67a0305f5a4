"""Plain transformers in this process: batches with a KV cache, left padding, and sampling that every row seeds itself.

Caches, masks and positions are those of `model.generate`. It is given the token to take as the only possible one, so
nothing of the checkpoint's own sampling settings (top-k, repetition penalty) comes in: what is sampled is the model.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from congrad.engines.draw import draw, uniforms
from congrad.engines.interface import Reply, Request, RequestRefused
from congrad.errors import UserError
from congrad.models.load import loaded, quiet, tokenizer_of
from congrad.models.memory import enough_memory
from congrad.preferences.tokenise import TEMPLATE_ERRORS
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.words import one_line


@contextmanager
def open_local(engine: Engine, model: Model) -> Iterator["LocalEngine"]:
    """Loads the model, and frees its memory in the end."""
    tokenizer = tokenizer_of(model)
    with loaded(model) as load:
        opened = LocalEngine(load(), tokenizer, engine.batch_size)
        try:
            yield opened
        finally:
            del opened.model


@dataclass(frozen=True)
class Tokenised:
    """A request and the ids of its prompt."""

    request: Request
    ids: list[int]

    @property
    def sampling(self) -> tuple[int, float, float]:
        """What the requests of a batch have in common."""
        sampling = self.request.sampling
        return sampling.max_tokens, sampling.temperature, sampling.top_p


class LocalEngine:
    """A loaded model that answers in batches."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.end_ids = end_ids(model, tokenizer)

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[list[Reply]]:
        """As `OpenEngine.generate`. The same requests and batch size on the CPU: the same bytes."""
        tokenised = [Tokenised(request, self.tokenise(request)) for request in requests]
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        for each in tokenised:
            max_tokens = each.request.sampling.max_tokens
            if limit is not None and len(each.ids) + max_tokens > limit:
                lengths = f"a prompt of {len(each.ids)} tokens and max_tokens {max_tokens}"
                problem = f"{lengths} exceed the model's {limit} positions; lower max_tokens or remove the row"
                raise RequestRefused(each.request.key, problem)
        for batch in batches(tokenised, self.batch_size):
            if all(each.request.key in done for each in batch):
                continue
            fix = "lower max_tokens, or lower engine.batch_size and choose another output directory"
            with enough_memory(f"out of memory with {len(batch)} requests at a time", fix):
                yield self.answer(batch)

    def tokenise(self, request: Request) -> list[int]:
        ids: list[int]
        if request.messages is None:
            ids = self.tokenizer(request.prompt, verbose=False)["input_ids"]
            return ids
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        try:
            ids = self.tokenizer.apply_chat_template(request.messages, **options)["input_ids"]
        except TEMPLATE_ERRORS as error:
            complaint = f"the model's chat template refuses the conversation ({one_line(error)})"
            raise RequestRefused(request.key, f"{complaint}; fix its messages or remove the row") from error
        return ids

    @torch.inference_mode()
    def answer(self, batch: list[Tokenised]) -> list[Reply]:
        """The replies of a batch that shares its sampling settings, in its order."""
        max_tokens, temperature, top_p = batch[0].sampling
        width = max(len(each.ids) for each in batch)
        pad = self.end_ids[0]
        ids_BT = torch.tensor([[pad] * (width - len(each.ids)) + each.ids for each in batch])
        mask_BT = torch.tensor([[0] * (width - len(each.ids)) + [1] * len(each.ids) for each in batch])
        processors = []
        if temperature > 0:
            uniform_BT = uniforms([each.request.sampling.seed for each in batch], max_tokens)
            processors.append(Take(uniform_BT.to(self.model.device), width, temperature, top_p))
        config = GenerationConfig(
            max_new_tokens=max_tokens, do_sample=False, eos_token_id=self.end_ids, pad_token_id=pad, use_cache=True
        )
        own, self.model.generation_config = self.model.generation_config, config  # else its settings fill the gaps
        try:
            with quiet():
                out_BT = self.model.generate(
                    ids_BT.to(self.model.device),
                    attention_mask=mask_BT.to(self.model.device),
                    generation_config=config,
                    logits_processor=processors,
                )
        finally:
            self.model.generation_config = own
        return [
            self.reply(each, written).cut(each.request.sampling.stop)
            for each, written in zip(batch, out_BT[:, width:].tolist(), strict=True)
        ]

    def reply(self, tokenised: Tokenised, written: list[int]) -> Reply:
        """The tokens up to the first end token, as text."""
        end = next((place for place, token in enumerate(written) if token in self.end_ids), None)
        ids = written if end is None else written[:end]
        # Decoded alone, many tokenizers would drop the space that a reply begins with.
        before, whole = self.decode(tokenised.ids), self.decode(tokenised.ids + ids)
        text = whole[len(before) :] if whole.startswith(before) else self.decode(ids)
        if end is None:  # cut, perhaps within a character of several tokens
            return Reply(tokenised.request.key, text.rstrip("\ufffd"), "length", len(ids))
        return Reply(tokenised.request.key, text, "stop", len(ids) + 1)

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class Take(LogitsProcessor):  # type: ignore[misc]
    """Leaves of the next token's logits those of the one that is drawn."""

    def __init__(self, uniform_BT: torch.Tensor, width: int, temperature: float, top_p: float) -> None:
        self.uniform_BT, self.width, self.temperature, self.top_p = uniform_BT, width, temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if bool(scores.isnan().any()):
            fix = "load it with another model.dtype, or fix its weights"
            raise UserError("the model's logits are not numbers", fix)
        uniform_B = self.uniform_BT[:, input_ids.shape[1] - self.width]
        token_B = draw(scores, uniform_B, temperature=self.temperature, top_p=self.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, token_B[:, None], 0.0)


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a reply: those of the generation settings (EOS, end of turn), and the tokenizer's."""
    named = model.generation_config.eos_token_id
    ids = [] if named is None else [named] if isinstance(named, int) else list(named)
    return list(dict.fromkeys([*ids, tokenizer.eos_token_id]))


def batches(tokenised: Sequence[Tokenised], size: int) -> Iterator[list[Tokenised]]:
    """Requests with the same settings and similar lengths together, longest first: too little memory shows at once."""
    ordered = sorted(enumerate(tokenised), key=lambda item: (item[1].sampling, -len(item[1].ids), item[0]))
    for _, group in groupby((each for _, each in ordered), key=lambda each: each.sampling):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]
