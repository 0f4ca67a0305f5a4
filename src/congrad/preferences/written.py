"""Conversations that are stored as text: JSON, what Python prints of them, and transcripts.

Tables without lists hold conversations as text: pandas writes `[{'role': 'user', ...}, ...]` into a CSV file, and
without commas between the messages where they were an array. Nothing is evaluated: the text is taken apart here.
"""

import json
import re
from typing import Any

from congrad.sources.bounds import Nesting

MOST_DEEP = 100  # lists and objects that lie in one another
QUOTED = re.compile(r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\"""", re.DOTALL)
ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
WORD = re.compile(r"[A-Za-z0-9_+.-]+")
SPACE = re.compile(r"[\s,]*")
OPENING = re.compile(r"""\s*[\[({]\s*(?:array\(\[\s*)?(?:\{\s*)?["'](?:role|content|from|value)["']\s*:""")
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
WORDS = {"None": None, "True": True, "False": False, "nan": None}
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class Unreadable(ValueError):
    """The text is no list or object that could be read."""


def begins_as_messages(text: str) -> bool:
    """Whether a text begins as a list of messages does that was stored as text."""
    return OPENING.match(text) is not None


def read_value(text: str) -> Any:
    """The list or object that a text holds, as JSON or as Python prints it.

    Raises:
        Unreadable: it holds something else, or is not complete.
    """
    many = text.count("[") + text.count("{") > MOST_DEEP
    if many and Nesting().beyond(MOST_DEEP, text.encode("utf-8", "surrogatepass")) is not None:
        raise Unreadable(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Unreadable(text) from error
    except ValueError:
        return _read_printed(text)


def read_texts(text: str) -> list[str | None] | None:
    """The texts of a list of texts, such as `["a", "b"]`, null for what is no text; None where it is no such list."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = read_value(text)
    except Unreadable:
        return None
    return found if isinstance(found, list) and found and all(isinstance(each, str | None) for each in found) else None


def read_transcript(text: str) -> list[dict[str, Any]] | None:
    """The messages of "Human: ..." and "Assistant: ..." in turn, from the start of the text; None where it is none.

    A turn without words at the end is where the answer is to come: it is left out.
    """
    text = text.lstrip()
    if not text.startswith("Human:"):
        return None
    starts = list(TURN.finditer(text))
    if len(starts) < 2:
        return None
    ends = [*(each.start() for each in starts[1:]), len(text)]
    messages = [
        {"role": SPEAKERS[start.group(1)], "content": text[start.end() : end].strip()}
        for start, end in zip(starts, ends, strict=True)
    ]
    return messages if messages[-1]["content"] or messages[-1]["role"] == "user" else messages[:-1]


def _read_printed(text: str) -> Any:
    """Lists, arrays, tuples and objects as Python and numpy print them; commas may be missing."""
    open_: list[Any] = []  # lists and objects that are not closed, the innermost last
    keys: list[Any] = []  # of each of them, the key whose value comes next; `open_` itself stands for none
    closers: list[str] = []
    position = SPACE.match(text, 0).end()  # type: ignore[union-attr]
    while position < len(text):
        character = text[position]
        if text.startswith("array(", position):
            position = SPACE.match(text, position + 6).end()  # type: ignore[union-attr]
            if text[position : position + 1] != "[":
                raise Unreadable(text)
            character, closer = "[", "array"
        else:
            closer = {"[": "]", "(": ")", "{": "}"}.get(character, "")
        if closer:
            if len(open_) == MOST_DEEP:
                raise Unreadable(text)
            open_.append({} if character == "{" else [])
            keys.append(open_)
            closers.append(closer)
            position = SPACE.match(text, position + 1).end()  # type: ignore[union-attr]
            continue
        if open_ and character == ("]" if closers[-1] == "array" else closers[-1]):
            position += 1
            if closers[-1] == "array":
                end = text.find(")", position)
                if end < 0 or end - position > 40:  # `, dtype=object)`
                    raise Unreadable(text)
                position = end + 1
            if keys.pop() is not open_:
                raise Unreadable(text)
            closers.pop()
            value = open_.pop()
        elif character in "'\"":
            found = QUOTED.match(text, position)
            if found is None:
                raise Unreadable(text)
            value, position = ESCAPE.sub(_unescaped, found.group()[1:-1]), found.end()
        else:
            word = WORD.match(text, position)
            if word is None:
                raise Unreadable(text)
            value, position = _scalar(word.group()), word.end()
        position = SPACE.match(text, position).end()  # type: ignore[union-attr]
        if not open_:
            if position < len(text) or not isinstance(value, list | dict):
                raise Unreadable(text)
            return value
        if isinstance(open_[-1], list):
            open_[-1].append(value)
        elif keys[-1] is open_:
            if not isinstance(value, str) or text[position : position + 1] != ":":
                raise Unreadable(text)
            keys[-1] = value
            position = SPACE.match(text, position + 1).end()  # type: ignore[union-attr]
        else:
            open_[-1][keys[-1]] = value
            keys[-1] = open_
    raise Unreadable(text)


def _scalar(word: str) -> Any:
    if word in WORDS:
        return WORDS[word]
    try:
        return json.loads(word)
    except ValueError as error:
        raise Unreadable(word) from error


def _unescaped(found: re.Match[str]) -> str:
    code = found.group()[1:]
    if len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number < 0x110000 else found.group()
    return ESCAPES.get(code, code if code in "\\'\"" else found.group())
