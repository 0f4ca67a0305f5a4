"""What each trainer makes of a row of its export: the token ids that it would train on.

Written anew from the few lines of each trainer's data code, which cannot all be installed beside one another:

    trl 1.16           trl/trainer/dpo_trainer.py, DPOTrainer._prepare_dataset
    axolotl 0.19.0     src/axolotl/prompt_strategies/dpo/passthrough.py, core/trainers/dpo/trainer.py (a doubled BOS is
                       removed); it asks for trl 1.9.0, whose response starts where the prompt by itself ends
    LLaMA-Factory 0.9.5  src/llamafactory/data/{converter,template}.py, data/processor/{pairwise,processor_utils}.py
    ms-swift 4.6.0     swift/template/base.py (_swift_encode, _truncate), swift/template/template_inputs.py
    OpenRLHF 0.11.2    openrlhf/datasets/reward_dataset.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from congrad.exports.setup import Setup
from congrad.exports.templates import ChatTemplate, named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]
Row = dict[str, Any]
COUNTED = "{{idx}}"  # in a user's turn, LLaMA-Factory writes the number of the turn there


@dataclass(frozen=True)
class Seen:
    """Token ids of a pair: the prompt, and after it each response, as they are cut to the length limit."""

    prompt: Ids
    chosen: Ids
    rejected: Ids


@dataclass(frozen=True)
class Dropped:
    """A row that the trainer would leave out or stop at, and why."""

    reason: str


def axolotl(row: Row, tokenizer: "PreTrainedTokenizerBase", setup: Setup) -> Seen | Dropped:
    """TRL's three texts, with one BOS at most."""
    prompt, chosen, rejected = (_one_bos(ids, tokenizer) for ids in trl_ids(row, tokenizer))
    start = len(prompt)
    return _cut(Seen(prompt, chosen[start:], rejected[start:]), setup.max_length)


def trl_ids(row: Row, tokenizer: "PreTrainedTokenizerBase") -> tuple[Ids, Ids, Ids]:
    """Ids of the prompt, of prompt and chosen, and of prompt and rejected, before they are split."""
    prompt, sides = row["prompt"], (row["chosen"], row["rejected"])
    if isinstance(prompt, str):
        eos = str(tokenizer.eos_token)
        texts = [prompt, *(prompt + side + ("" if side.endswith(eos) else eos) for side in sides)]
        first, second, third = (list(tokenizer(text)["input_ids"]) for text in texts)
        return first, second, third
    options: dict[str, Any] = {"tokenize": True, "return_dict": True, **(row.get("chat_template_kwargs") or {})}
    if row.get("tools"):
        options["tools"] = row["tools"]
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, **options)["input_ids"]
    answered = [tokenizer.apply_chat_template(prompt + side, **options)["input_ids"] for side in sides]
    return list(asked), list(answered[0]), list(answered[1])


def _one_bos(ids: Ids, tokenizer: "PreTrainedTokenizerBase") -> Ids:
    bos = tokenizer.bos_token_id
    return ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids


def _cut(seen: Seen, most: int) -> Seen:
    """Keeps the start of prompt and response."""
    room = max(most - len(seen.prompt), 0)
    return Seen(seen.prompt[:most], seen.chosen[:room], seen.rejected[:room])


def llamafactory(row: Row, tokenizer: "PreTrainedTokenizerBase", setup: Setup) -> Seen | Dropped:
    """Each turn is tokenised by itself; prompt and response are cut by their shares of the limit."""
    if "messages" not in row:
        prompt = row["instruction"]
        if COUNTED in prompt:
            return Dropped(f"it puts a number in the place of {COUNTED}")
        pieces = [*([prompt] if prompt else []), row["chosen"], row["rejected"]]
        ids = [_plain(piece, tokenizer) for piece in pieces]
        return _shared_cut(Seen([] if len(ids) == 2 else ids[0], ids[-2], ids[-1]), setup.max_length)
    if setup.template is None:
        return Dropped("no template is named, so that it parses the tokenizer's")
    template = named("llamafactory", setup.template)
    system, turns = _turns(row["messages"])
    answers = [row["chosen"]["content"], row["rejected"]["content"]]
    if template.images and any("<image>" in text for text in (*turns, *answers)):
        return Dropped("it takes the word <image> for an image")
    if not template.system_in_turn and any(COUNTED in text for text in turns[::2]):
        return Dropped(f"it puts a number in the place of {COUNTED}")
    pieces = _pieces(template, system, turns, tokenizer)
    prompt_ids = [token for parts in pieces for piece in parts for token in _plain(piece, tokenizer)]
    chosen, rejected = (_plain(answer + template.end, tokenizer) for answer in answers)
    return _shared_cut(Seen(prompt_ids, chosen, rejected), setup.max_length)


def _shared_cut(seen: Seen, most: int) -> Seen:
    source, target = len(seen.prompt), max(len(seen.chosen), len(seen.rejected))
    if target * 2 < most:
        room = most
    elif source * 2 < most:
        room = most - source
    else:
        room = int(most * (target / (source + target)))
    target = min(room, target)
    source = min(max(most - target, 0), source)
    return Seen(seen.prompt[:source], seen.chosen[:target], seen.rejected[:target])


def ms_swift(row: Row, tokenizer: "PreTrainedTokenizerBase", setup: Setup) -> Seen | Dropped:
    """Prompt and response are tokenised by themselves; the end is added where the response has none."""
    messages, rejected = row["messages"], row["rejected_response"]
    chosen = messages[-1]["content"]
    if chosen == rejected:
        return Dropped("it leaves out equal responses")
    if not setup.templated:
        start, end = _surrounding(tokenizer)
        prompt = start + _plain(messages[0]["content"], tokenizer)
        sides = []
        for text in (chosen, rejected):
            stops = [] if end or text.endswith(str(tokenizer.eos_token)) else [int(tokenizer.eos_token_id)]
            sides.append(_plain(text, tokenizer) + stops + end)
        return _cut(Seen(prompt, *sides), setup.max_length)
    if setup.template is None:
        return Dropped("no template is named")
    template = named("ms-swift", setup.template)
    system, turns = _turns(messages[:-1])
    turns = [text.strip(template.strips) if number % 2 else text for number, text in enumerate(turns)]
    whole = "".join(piece for pieces in _pieces(template, system, turns, tokenizer) for piece in pieces)
    stop = (template.end.strip(), str(tokenizer.eos_token))
    answers = [text.strip(template.strips) if template.strips else text for text in (chosen, rejected)]
    ids = [_plain(text + ("" if text.endswith(stop) else template.end), tokenizer) for text in answers]
    start = [] if template.bos else _surrounding(tokenizer)[0]  # chatml adds the tokenizer's own
    return _cut(Seen(start + _plain(whole, tokenizer), ids[0], ids[1]), setup.max_length)


def _surrounding(tokenizer: "PreTrainedTokenizerBase") -> tuple[Ids, Ids]:
    """What the tokenizer puts before and after a text by itself."""
    whole, single = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    start = whole.index(single[0])
    return list(whole[:start]), list(whole[start + len(single) :])


def openrlhf(row: Row, tokenizer: "PreTrainedTokenizerBase", setup: Setup) -> Seen | Dropped:
    """Text without the line breaks at its end, with an EOS token in the place of the last token."""
    prompt, sides = row["prompt"], [row["chosen"], row["rejected"]]
    if setup.templated:
        rendered = str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
        whole = [str(tokenizer.apply_chat_template(prompt + side, tokenize=False)) for side in sides]
        prompt, sides = rendered, [text[len(rendered) :] for text in whole]
    start = len(_plain(prompt, tokenizer)[: setup.max_length])
    if start >= setup.max_length - 2:
        return Dropped("its prompt fills the length limit")
    eos = str(tokenizer.eos_token)
    ids = []
    for side in sides:
        text = (prompt + side).rstrip("\n")
        cut = _plain(text if text.endswith(eos) else f"{text} {eos}", tokenizer)[: setup.max_length]
        ids.append([*cut[:-1], int(tokenizer.eos_token_id)])
    if ids[0][:start] != ids[1][:start]:
        return Dropped("its responses do not begin with the same prompt")
    return Seen(ids[0][:start], ids[0][start:], ids[1][start:])


READERS: dict[str, Callable[[Row, "PreTrainedTokenizerBase", Setup], Seen | Dropped]] = {
    "llamafactory": llamafactory,
    "ms-swift": ms_swift,
    "axolotl": axolotl,
    "openrlhf": openrlhf,
}


def _plain(text: str, tokenizer: "PreTrainedTokenizerBase") -> Ids:
    return list(tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"])


def _turns(messages: list[dict[str, str]]) -> tuple[str, list[str]]:
    """The system message, and the texts of the turns after it."""
    texts = [message["content"] for message in messages]
    return (texts[0], texts[1:]) if messages and messages[0]["role"] == "system" else ("", texts)


def _pieces(
    template: ChatTemplate, system: str, turns: list[str], tokenizer: "PreTrainedTokenizerBase"
) -> list[list[str]]:
    """What is tokenised of each turn of the prompt: BOS and a system message before the first."""
    pieces: list[list[str]] = []
    for number, text in enumerate(turns):
        if number % 2:
            pieces.append([text + template.answer_end])
            continue
        own: list[str] = []
        if number == 0 and template.bos and tokenizer.bos_token:
            own.append(str(tokenizer.bos_token))
        if number == 0 and system and template.system is not None:
            if template.system_in_turn:
                text = template.system[0] + system + template.system[1] + text
            else:
                own.append(template.system[0] + system + template.system[1])
        pieces.append([*own, template.user[0] + text + template.user[1]])
    return pieces
