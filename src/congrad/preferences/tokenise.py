"""Turn preference pairs into token ids exactly as TRL 1.16's `DPOTrainer` does, a batch at a time.

TRL tokenises three texts per row: the prompt, prompt + chosen, prompt + rejected. The responses start where the
shorter of the two common prefixes with the prompt ends, because tokens may merge over the boundary and a chat template
may end a lone prompt differently. Sequences longer than the limit keep their start.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from congrad.errors import Spot, UserError
from congrad.preferences.known_names import CANONICAL
from congrad.preferences.render import as_chat, explicit, is_empty
from congrad.preferences.rows import Preferences, iterate
from congrad.sources.source import BATCH
from congrad.words import one_line, quote

if TYPE_CHECKING:  # re-filtering needs no tokenizer, and spares the seconds that transformers takes
    from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.int32]
TEMPLATE_ERRORS = (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
BATCH_CHARACTERS = 2**20  # tokenised at a time, or one row: it takes hundreds of times as many bytes of memory
MOST_PRINTED = 2**24  # characters of a row's arguments, if its template prints them for every message
IDS_ONLY = {"return_attention_mask": False, "verbose": False}  # no warning for a length that is cut anyway

IDENTICAL = "identical responses"
EMPTY = "empty response"
NO_ROOM = "prompt fills the length limit"
NO_PROMPT = "prompt merges into the response"


@dataclass(frozen=True)
class TokenisedPairs:
    """The pairs as a trainer's collator would feed them, after truncation; all lists are as long as the input.

    Attributes:
        rows: Row number (0-based) in the whole input.
        languages: Group of the row.
        prompt_ids: Shared token ids, int32, one array per row.
        chosen_ids: Token ids of the chosen response, int32.
        rejected_ids: Token ids of the rejected response, int32.
        reasons: Why a row cannot be scored (`IDENTICAL`, `EMPTY`, `NO_ROOM` or `NO_PROMPT`), or "" when it can.
    """

    rows: list[int]
    languages: list[str]
    prompt_ids: list[Ids]
    chosen_ids: list[Ids]
    rejected_ids: list[Ids]
    reasons: list[str]

    def __len__(self) -> int:
        return len(self.rows)


def tokenise(
    preferences: Preferences,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    chat: bool = False,
    max_length: int = 1024,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> TokenisedPairs:
    """Tokenise every row; a row that cannot be scored keeps its place and gets a reason.

    Args:
        chat: Treat plain rows as one user turn and one assistant turn.
        max_length: Longest prompt + response, in tokens (TRL's default is 1024).
        on_progress: Called after every batch with how many rows are done.

    Raises:
        UserError: The tokenizer has no chat template and needs one, or no EOS token and needs one; the template
            refuses a row; `chat` with rows that are conversations already; a `tools` or `chat_template_kwargs` field
            that is not one.
    """
    if max_length < 1:
        raise UserError(f"max length: {max_length} leaves no token", "give 1 or more")
    _check_tokenizer(preferences, tokenizer, chat)
    pairs = TokenisedPairs(list(preferences.rows), list(preferences.languages), [], [], [], [])
    reserved = reserved_names(tokenizer)
    start = 0
    for batch in _batches(iterate(preferences.dataset)):
        sides = [explicit(row) for row in batch]
        if chat:
            sides = [as_chat(*side) for side in sides]
        if chat or preferences.conversational:
            places = [partial(preferences.where, number) for number in range(start, start + len(batch))]
            arguments = [template_arguments(row, place, reserved) for row, place in zip(batch, places, strict=True)]
            tokens = _tokenise_conversations(sides, arguments, tokenizer, places)
        else:
            tokens = _tokenise_text(sides, tokenizer)
        for side, ids in zip(sides, tokens, strict=True):
            prompt, chosen, rejected = _split(*ids)
            room = max(max_length - len(prompt), 0)
            pairs.prompt_ids.append(prompt[:max_length])
            pairs.chosen_ids.append(chosen[:room])
            pairs.rejected_ids.append(rejected[:room])
            pairs.reasons.append(_reason(side, prompt, room, chosen[:room], rejected[:room]))
        start += len(batch)
        on_progress(start)
    return pairs


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        own = sum(map(_characters, row.values()))
        if batch and (len(batch) == BATCH or size + own > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += own
    if batch:
        yield batch


def _characters(value: Any) -> int:
    if isinstance(value, dict | list):
        return sum(map(_characters, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 1


def reserved_names(tokenizer: "PreTrainedTokenizerBase") -> frozenset[str]:
    """What a row may not set for its template: what decides which template is used, and how its text is tokenised."""
    from transformers.utils.chat_template_utils import render_jinja_template

    of_calls = (tokenizer.apply_chat_template, render_jinja_template, tokenizer.__call__)
    names = {name for call in of_calls for name in inspect.signature(call).parameters}
    return frozenset({"messages", *tokenizer.special_tokens_map, *names} - {"tools", "documents"})


def _check_tokenizer(preferences: Preferences, tokenizer: "PreTrainedTokenizerBase", chat: bool) -> None:
    if chat and preferences.conversational:
        raise UserError("chat: the rows are conversations already, so it would change nothing", "leave it out")
    if chat or preferences.conversational:
        if tokenizer.chat_template is None:
            fix = "leave input.chat out" if chat else "set tokenizer.chat_template, or use a model tuned for chat"
            raise UserError("the tokenizer has no chat template for conversations", fix, at=_name(tokenizer))
    elif tokenizer.eos_token is None:
        raise UserError("the tokenizer has no EOS token to end a response", "set one", at=_name(tokenizer))


def _name(tokenizer: "PreTrainedTokenizerBase") -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__


def _tokenise_text(sides: list[tuple[str, str, str]], tokenizer: "PreTrainedTokenizerBase") -> list[list[Ids]]:
    """Ids of prompt, prompt + chosen and prompt + rejected; an EOS token ends each response that has none yet."""
    eos = tokenizer.eos_token
    prompts, chosen, rejected = zip(*sides, strict=True)
    texts = [list(prompts)]
    for responses in (chosen, rejected):
        pairs = zip(prompts, responses, strict=True)
        texts.append([prompt + (text if text.endswith(eos) else text + eos) for prompt, text in pairs])
    ids = [_arrays(tokenizer(batch, **IDS_ONLY)) for batch in texts]
    return [list(row) for row in zip(*ids, strict=True)]


def _tokenise_conversations(
    sides: list[tuple[Any, Any, Any]],
    arguments: list[dict[str, Any]],
    tokenizer: "PreTrainedTokenizerBase",
    places: Sequence[Callable[[], Spot]],
) -> list[list[Ids]]:
    """Ids of the prompt as the template renders it for an answer, of prompt + chosen and of prompt + rejected.

    One call takes many conversations but a single set of arguments, so rows with their own go one by one, and so does
    a batch that the template refuses: the row is then known.
    """

    def apply(rows: slice, **options: Any) -> list[list[Ids]]:
        prompts = [prompt for prompt, _, _ in sides[rows]]
        with_chosen = [prompt + chosen for prompt, chosen, _ in sides[rows]]
        with_rejected = [prompt + rejected for prompt, _, rejected in sides[rows]]
        options = {"tokenize": True, "return_dict": True, "tokenizer_kwargs": IDS_ONLY, **options}
        ids = [
            _arrays(tokenizer.apply_chat_template(prompts, add_generation_prompt=True, **options)),
            *(_arrays(tokenizer.apply_chat_template(side, **options)) for side in (with_chosen, with_rejected)),
        ]
        return [list(row) for row in zip(*ids, strict=True)]

    if not any(arguments):
        try:
            return apply(slice(None))
        except TEMPLATE_ERRORS:
            pass
    tokens = []
    for number, (options, place) in enumerate(zip(arguments, places, strict=True)):
        try:
            tokens += apply(slice(number, number + 1), **options)
        except TEMPLATE_ERRORS as error:
            complaint = f"the chat template of {_name(tokenizer)} refuses the conversation ({one_line(error)})"
            raise UserError(complaint, "fix its messages or remove the row", at=place()) from error
    return tokens


def template_arguments(row: dict[str, Any], place: Callable[[], Spot], reserved: frozenset[str]) -> dict[str, Any]:
    """What a row's `tools` (a list, or JSON of one) and `chat_template_kwargs` add to the template's arguments.

    The latter are variables of the template. Arrow fills those that only other rows set with null.
    """
    tools = row.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError) as error:
            complaint = f"holds {quote(tools)}, which is not JSON ({one_line(error)})"
            raise UserError(complaint, "write a list of tools", at=place(), column="tools") from error
    extra = row.get("chat_template_kwargs")
    if extra is not None and not isinstance(extra, dict):
        fix = "write an object of arguments"
        raise UserError(f"holds {quote(extra)}", fix, at=place(), column="chat_template_kwargs")
    extra = {key: value for key, value in (extra or {}).items() if value is not None or key not in reserved}
    if taken := sorted(reserved.intersection(extra)):
        problem = f"sets {quote(taken[0])}, which is not a variable of the chat template"
        raise UserError(problem, "remove it", at=place(), column="chat_template_kwargs")
    messages = sum(len(row[column]) for column in CANONICAL if isinstance(row.get(column), list))
    if (size := _characters(extra)) * messages > MOST_PRINTED:
        problem = f"holds {size:,} characters, which the chat template may print for each of {messages:,} messages"
        raise UserError(problem, "shorten it", at=place(), column="chat_template_kwargs")
    return {**({} if tools is None else {"tools": tools}), **extra}


def _arrays(encoding: Any) -> list[Ids]:
    return [np.array(ids, dtype=np.int32) for ids in encoding["input_ids"]]


def _split(prompt: Ids, with_chosen: Ids, with_rejected: Ids) -> tuple[Ids, Ids, Ids]:
    shared = min(_common_prefix(prompt, with_chosen), _common_prefix(prompt, with_rejected))
    return prompt[:shared], with_chosen[shared:], with_rejected[shared:]


def _common_prefix(one: Ids, other: Ids) -> int:
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length


def _reason(side: tuple[Any, Any, Any], prompt: Ids, room: int, chosen: Ids, rejected: Ids) -> str:
    if is_empty(side[1]) or is_empty(side[2]):
        return EMPTY
    if room == 0:
        return NO_ROOM
    if len(chosen) == 0 or len(rejected) == 0:  # a template that leaves the response out
        return EMPTY
    if len(prompt) == 0:  # no token predicts the first one of a response
        return NO_PROMPT
    return IDENTICAL if np.array_equal(chosen, rejected) else ""
