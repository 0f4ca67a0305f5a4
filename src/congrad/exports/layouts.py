"""A kept pair in the layout of each trainer: what its documentation asks for, and nothing that it would drop unsaid.

Several trainers skip a row that they cannot read with no more than a line in their log. So every rule of theirs is
checked here, and a row that breaks one is named: the export leaves it out.

    trl           https://huggingface.co/docs/trl/dataset_formats (preference, standard or conversational)
    llamafactory  data/README.md of hiyouga/LLaMA-Factory: alpaca and sharegpt (OpenAI) preference datasets
    ms-swift      https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html (DPO/ORPO/CPO/SimPO/RM)
    axolotl       https://docs.axolotl.ai/docs/rlhf.html (passthrough.default)
    openrlhf      https://openrlhf.readthedocs.io (DPO: prompt, chosen and rejected keys)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from congrad.errors import Spot, UserError
from congrad.filtering.finished import KEPT, Run
from congrad.preferences.render import Message, as_chat, explicit, is_pair
from congrad.preferences.rows import TEMPLATE_COLUMNS
from congrad.stage import read_rows
from congrad.words import quote

Row = dict[str, Any]
ANOTHER = "or use --format trl, which holds everything that was scored"
TAKE_TEMPLATE_COLUMNS = ("trl", "axolotl")


@dataclass(frozen=True)
class KeptPair:
    """A kept row, named by file and line: prompt and responses, all text or all lists of messages without null keys."""

    place: Spot
    prompt: str | list[Message]
    chosen: str | list[Message]
    rejected: str | list[Message]
    row: dict[str, Any]

    @property
    def conversational(self) -> bool:
        return not isinstance(self.chosen, str)


def kept_pairs(run: Run) -> Iterator[KeptPair]:
    """The kept pairs in input order."""
    path = run.directory / KEPT
    chat = run.settings.get("input", {}).get("chat", False)
    for number, row in enumerate(read_rows(path), 1):
        yield kept_pair(row, Spot(str(path), number), chat=chat)


def kept_pair(row: Row, place: Spot, *, chat: bool = False) -> KeptPair:
    """The pair of a row, the prompt taken out of the responses where it has none."""
    if not is_pair(row):
        raise UserError("is no pair of texts or of conversations", "filter the data again", at=place)
    prompt, chosen, rejected = explicit(row)
    if chat and isinstance(chosen, str):
        prompt, chosen, rejected = as_chat(prompt, chosen, rejected)
    return KeptPair(place, _whole(prompt), _whole(chosen), _whole(rejected), row)


def _whole(side: str | list[Message]) -> str | list[Message]:
    """A conversation without the null keys that a columnar file fills into messages of unlike keys."""
    if isinstance(side, str):
        return side
    return [{key: value for key, value in message.items() if value is not None} for message in side]


def as_scored(pair: KeptPair) -> Row:
    """What of a pair decides its tokens."""
    row: Row = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    return row | {name: pair.row[name] for name in TEMPLATE_COLUMNS if pair.conversational and pair.row.get(name)}


def trl(pair: KeptPair) -> Row:
    """The row as it is; with `input.chat`, its text as the conversation that was scored."""
    if pair.conversational and isinstance(pair.row["chosen"], str):
        return {**pair.row, "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    return pair.row


def llamafactory(pair: KeptPair) -> Row:
    """Alpaca ranking for text; sharegpt ranking with OpenAI's tags for conversations."""
    if not pair.conversational:
        return {"instruction": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    prompt, chosen, rejected = _single_responses(pair, "llamafactory")
    _check_turns(pair, prompt, "llamafactory")
    return {"messages": prompt, "chosen": chosen, "rejected": rejected}


def ms_swift(pair: KeptPair) -> Row:
    """`messages`, the chosen response last, and `rejected_response`; text becomes one user and one assistant turn."""
    if not pair.conversational:
        turns = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.chosen}]
        return {"messages": turns, "rejected_response": pair.rejected}
    prompt, chosen, rejected = _single_responses(pair, "ms-swift")
    _check_turns(pair, prompt, "ms-swift")
    return {"messages": [*prompt, chosen], "rejected_response": rejected["content"]}


def axolotl(pair: KeptPair) -> Row:
    """`passthrough.default`: TRL's layout, with what its template reads and no other column."""
    return as_scored(pair)


def openrlhf(pair: KeptPair) -> Row:
    """Prompt, chosen and rejected, as text or as lists of messages that it joins and renders."""
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


LAYOUTS: dict[str, Callable[[KeptPair], Row]] = {
    "trl": trl,
    "llamafactory": llamafactory,
    "ms-swift": ms_swift,
    "axolotl": axolotl,
    "openrlhf": openrlhf,
}
FORMATS = tuple(LAYOUTS)


def laid_out(pair: KeptPair, format: str) -> Row:
    """The pair as the format has it; a `UserError` where it would be read as something else."""
    if pair.conversational and format not in TAKE_TEMPLATE_COLUMNS:  # TRL hands them to the template
        for column in filter(pair.row.get, TEMPLATE_COLUMNS):
            raise UserError(
                f"column {column!r} was part of the scored text, but {format} does not use it",
                f"remove the column and filter again, {ANOTHER}",
                at=pair.place,
            )
    return LAYOUTS[format](pair)


def check_format(name: str) -> None:
    """Raises a `UserError` where there is no such format."""
    if name not in LAYOUTS:
        raise UserError(f"--format {name!r}: choose from {', '.join(FORMATS)}")


def _single_responses(pair: KeptPair, trainer: str) -> tuple[list[Message], Message, Message]:
    """Prompt and responses of messages that hold a role and a text, and no more; each response is one message."""
    assert not isinstance(pair.prompt, str)
    assert not isinstance(pair.chosen, str)
    assert not isinstance(pair.rejected, str)
    sides = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    for side, messages in sides.items():
        for message in messages:
            more = [key for key, value in message.items() if key not in ("role", "content") and value]
            if more or message["role"] not in ("system", "user", "assistant"):
                what = f"the key {quote(more[0])}" if more else f"the role {quote(message['role'])}"
                raise UserError(
                    f"column {side!r}: a message has {what}, which {trainer}'s preference layout does not support",
                    f"remove it, {ANOTHER}",
                    at=pair.place,
                )
    for side, messages in list(sides.items())[1:]:
        if len(messages) != 1 or messages[0]["role"] != "assistant":
            raise UserError(
                f"column {side!r} holds {len(messages)} messages, the first from "
                f"{quote(messages[0]['role'])}, but {trainer} takes one message from the assistant",
                f"split it, {ANOTHER}",
                at=pair.place,
            )
    plain = [[{"role": m["role"], "content": m["content"]} for m in side] for side in (pair.prompt, pair.chosen)]
    return plain[0], plain[1][0], {"role": "assistant", "content": pair.rejected[0]["content"]}


def _check_turns(pair: KeptPair, prompt: list[Message], trainer: str) -> None:
    """A system message at most, then user and assistant in turn, the user last."""
    turns = [message["role"] for message in prompt]
    if turns[:1] == ["system"]:
        turns = turns[1:]
    if len(turns) % 2 == 0 or turns != (["user", "assistant"] * len(turns))[: len(turns)]:
        raise UserError(
            f"column 'prompt': the turns are {', '.join(turns) or 'none'}, but {trainer} takes "
            "user and assistant in turn, starting and ending with the user",
            f"change the row, {ANOTHER}",
            at=pair.place,
        )
