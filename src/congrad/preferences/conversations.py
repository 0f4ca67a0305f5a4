"""Messages in any form that is published, as `{"role": ..., "content": ...}`.

Lists of `{role, content}` and of `{from, value}`, a single one of them, turns of `{input, output}`, contents in parts,
and all of these as text. What a cell holds is read once, into a `Cell`; what could not be read says why.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from congrad.preferences.render import Message, wrong_key
from congrad.preferences.written import Unreadable, begins_as_messages, read_transcript, read_value
from congrad.sources.part import Mistake
from congrad.words import quote

ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "question"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatgpt", "model", "chosen", "rejected", "answer"), "assistant"),
    "system": "system",
    "function_call": "assistant",
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
}
"""What names of speakers mean, beside those that templates know."""
READ_KEYS = ("name", "tool_calls", "tool_call_id", "function_call", "reasoning_content", "reasoning", "thinking")
"""What chat templates read of a message, beside its role and its content."""
TURN_KEYS = (("input", "output"), ("user", "assistant"), ("human", "assistant"), ("prompt", "response"))
FILL = "fill it or remove the row"
MESSAGE = "a message is {'role': 'user', 'content': '...'}"


@dataclass(frozen=True)
class Cell:
    """What a field holds: a text, or messages.

    Attributes:
        kind: "texts" are those of a list, of which it has to be found out who said them; "null" is nothing.
        stored: what had to be done to read the messages: nothing, or how they were stored.
    """

    kind: Literal["text", "messages", "texts", "null"]
    text: str = ""
    messages: tuple[Message, ...] = ()
    texts: tuple[str | None, ...] = ()
    stored: Literal["", "text", "transcript", "names"] = ""


NULL = Cell("null")


def read_cell(value: Any, column: str, said_by: str) -> Cell | Mistake:
    """What a field holds.

    Args:
        column: names it in a mistake.
        said_by: The role of a single message that does not say whose it is.
    """
    if value is None:
        return NULL
    if isinstance(value, str):
        return _read_text(value, column, said_by)
    if isinstance(value, list) and value and all(isinstance(each, str | None) for each in value):
        return Cell("texts", texts=tuple(value))
    return _read_messages(value, column, said_by)


def _read_text(text: str, column: str, said_by: str) -> Cell | Mistake:
    if begins_as_messages(text):
        try:
            value = read_value(text)
        except Unreadable:
            fix = "complete it, or write it as a list of messages"
            return Mistake("a conversation that cannot be read", f"begins as messages do: {quote(text)}", fix, column)
        found = _read_messages(value, column, said_by)
        if isinstance(found, Mistake):
            return found
        if "\\u" in text and not is_unicode(found.messages):
            return Mistake("half a character", f"holds half of a surrogate pair: {quote(text)}", "remove it", column)
        return Cell("messages", messages=found.messages, stored="text")
    if (spoken := read_transcript(text)) is not None:
        return Cell("messages", messages=tuple(spoken), stored="transcript")
    return Cell("text", text=text)


def is_unicode(value: Any) -> bool:
    """Whether all text in a value can be stored; escapes can spell halves of surrogate pairs, which cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_messages(value: Any, column: str, said_by: str) -> Cell | Mistake:
    if isinstance(value, dict):
        inner = value.get("messages")
        items = inner if isinstance(inner, list) and "content" not in value else [value]
    elif isinstance(value, list):
        items = value
    else:
        return Mistake(f"{column} is not text", f"holds {quote(value)}, not text", "write it as text", column)
    if not items:
        return Mistake("empty conversation", "holds an empty conversation", FILL, column)
    messages: list[Message] = []
    stored: Literal["", "names"] = "" if isinstance(value, list) else "names"
    for item in items:
        found = as_messages(item, said_by if isinstance(value, dict) else "")
        if found != [item]:
            stored = "names"
        for message in found:
            if (wrong := wrong_message(message, len(messages), column)) is not None:
                return wrong
            messages.append(message)
    return Cell("messages", messages=tuple(messages), stored=stored)


def as_messages(item: Any, said_by: str = "") -> list[Any]:
    """A message, or a turn of two, in whatever form as messages of a role and a content; what is none, as it is."""
    if not isinstance(item, dict):
        return [item]
    if isinstance(item.get("content"), list):
        item = {**item, "content": _joined(item["content"])}
    if "role" in item:
        role = item["role"]
        known = ROLES.get(role.lower()) if isinstance(role, str) and not item.get("tool_calls") else None
        return [item if known is None or known == role else {**item, "role": known}]
    if "from" in item and "value" in item:
        rest = {key: each for key, each in item.items() if key not in ("from", "value", "weight")}
        speaker = item["from"]
        role = ROLES.get(speaker.lower(), speaker) if isinstance(speaker, str) else speaker
        return [{"role": role, "content": item["value"], **rest}]
    for asked, answered in TURN_KEYS:
        if isinstance(item.get(asked), str) and isinstance(item.get(answered), str):
            return [{"role": "user", "content": item[asked]}, {"role": "assistant", "content": item[answered]}]
    if set(item) == {"content"}:
        return [{"role": said_by, **item}] if said_by else [item]
    return [item]


def _joined(parts: list[Any]) -> Any:
    """The text of a content in parts, where all of them are text."""
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type", "text") == "text"]
    said = [text for text in texts if isinstance(text, str)]
    return "".join(said) if parts and len(said) == len(parts) else parts


def wrong_message(message: Any, turn: int, column: str) -> Mistake | None:
    """What is wrong with message number `turn` of a column."""
    key = wrong_key(message)
    if key is None:
        return None
    if not key:
        return Mistake("a message that is none", f"holds {quote(message)} as message {turn}", MESSAGE, column)
    if message.get(key) is None:
        return Mistake(f"a message without its {key}", f"has no {key!r} in message {turn}", MESSAGE, column)
    reason = f"a message whose {key} is not text" if str(message[key]).strip() else f"a message without its {key}"
    return Mistake(reason, f"has the {key} {quote(message[key])} in message {turn}", MESSAGE, column)


def said(messages: Iterable[Message]) -> list[tuple[str, Any]]:
    """Who said what, to compare messages whose other keys differ."""
    return [(message["role"], (message.get("content") or "").strip()) for message in messages]


def in_turn(asked: tuple[str | None, ...], answered: tuple[str | None, ...]) -> list[Message]:
    """The messages of a conversation of which the user's and the assistant's turns are two lists."""
    turns = zip(asked, answered, strict=True)
    return [
        message
        for question, answer in turns
        for message in ({"role": "user", "content": question or ""}, {"role": "assistant", "content": answer or ""})
    ]


def alternating(texts: Iterable[str | None]) -> list[Message]:
    """The messages of a list of texts, of which the user's is the first."""
    return [{"role": "assistant" if number % 2 else "user", "content": text or ""} for number, text in enumerate(texts)]


def read_history(value: Any, column: str) -> list[Message] | Mistake:
    """Earlier turns: messages, pairs of what the user and the assistant said, or texts in turn; [] for none."""
    if isinstance(value, str):
        if not value.strip():
            return []
        try:
            value = read_value(value) if value.lstrip().startswith("[") else read_transcript(value)
        except Unreadable:
            value = None
        if value is None:
            return Mistake("earlier turns that cannot be read", "holds text", "write it as a list of turns", column)
    if not value:
        return []
    if isinstance(value, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in value):
        value = [text for turn in value for text in turn]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        if len(value) % 2:
            fix = "give the assistant's turn for each of the user's"
            return Mistake("earlier turns that are not complete", f"holds {len(value)} texts", fix, column)
        return alternating(value)
    found = _read_messages(value, column, "")
    return found if isinstance(found, Mistake) else list(found.messages)
