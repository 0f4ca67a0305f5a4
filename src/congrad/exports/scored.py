"""The token ids that were scored of kept pairs, and the text that the model's chat template prints of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import datasets

from congrad.exports.layouts import KeptPair, as_scored
from congrad.exports.seen import Seen
from congrad.preferences.rows import Preferences
from congrad.preferences.tokenise import reserved_names, template_arguments, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def scored(pairs: Sequence[KeptPair], tokenizer: "PreTrainedTokenizerBase", max_length: int) -> list[Seen]:
    """As the filter tokenises them; the pairs are all text or all conversations."""
    rows = list(map(as_scored, pairs))
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    dataset = datasets.Dataset.from_dict(columns)
    preferences = Preferences(dataset, "language", [""] * len(rows), list(range(len(rows))), ())
    ids = tokenise(preferences, tokenizer, max_length=max_length)
    sides = zip(ids.prompt_ids, ids.chosen_ids, ids.rejected_ids, strict=True)
    return [Seen(prompt.tolist(), chosen.tolist(), rejected.tolist()) for prompt, chosen, rejected in sides]


def printed(pair: KeptPair, tokenizer: "PreTrainedTokenizerBase", *, ends: bool) -> KeptPair | None:
    """The pair as text that needs no chat template; None where the template prints the prompt otherwise by itself.

    Args:
        ends: with BOS and EOS tokens in the text; False for a trainer that adds the tokenizer's own.
    """
    bos, eos = str(tokenizer.bos_token or ""), str(tokenizer.eos_token)
    adds_bos = bool(bos) and list(tokenizer("")["input_ids"][:1]) == [tokenizer.bos_token_id]
    prompt, sides = pair.prompt, (pair.chosen, pair.rejected)
    if isinstance(prompt, str):
        if not ends:
            return pair
        texts = [str(side) + ("" if str(side).endswith(eos) else eos) for side in sides]
        return replace(pair, prompt=(bos if adds_bos else "") + prompt, chosen=texts[0], rejected=texts[1])
    options = template_arguments(pair.row, lambda: pair.place, reserved_names(tokenizer))
    asked = str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True, **options))
    texts = [str(tokenizer.apply_chat_template([*prompt, *side], tokenize=False, **options)) for side in sides]
    if not all(text.startswith(asked) for text in texts):
        return None
    responses = [text[len(asked) :] for text in texts]
    if not ends and adds_bos:
        asked = asked.removeprefix(bos)
    return replace(pair, prompt=asked, chosen=responses[0], rejected=responses[1])
