"""TRL's layouts of a preference row, turned into one: an explicit prompt and two responses."""

from typing import Any

Message = dict[str, Any]
Side = str | list[Message]


def split_prompt(chosen: Side, rejected: Side) -> int:
    """How many leading characters or messages are the prompt of a row that has no `prompt` of its own.

    This is `trl.extract_prompt` (1.16) to the letter: a space before the first difference belongs to the responses,
    and where one side begins with the whole of the other, the shorter side's last character or message is not part of
    the prompt. Where TRL would take a prompt from the end of the text, or fail, this gives 0 (no shared prompt).
    """
    shortest = min(len(chosen), len(rejected))
    if shortest == 0:
        return 0
    index = next((i for i in range(shortest) if chosen[i] != rejected[i]), None)
    if index is None:
        return shortest - 1
    return index - 1 if index > 0 and chosen[index - 1] == " " else index


def is_pair(row: dict[str, Any]) -> bool:
    """Whether `explicit` can take a row: all its sides are text, or all are messages of a role and a content."""
    sides = [row.get("chosen"), row.get("rejected"), *([row["prompt"]] if "prompt" in row else [])]
    return all(isinstance(side, str) for side in sides) or all(map(_is_conversation, sides))


def _is_conversation(side: Any) -> bool:
    return isinstance(side, list) and bool(side) and all(wrong_key(message) is None for message in side)


def wrong_key(message: Any) -> str | None:
    """The key of a message that holds no text, "" of what is no message at all, None where nothing is wrong."""
    if not isinstance(message, dict):
        return ""
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role.strip():
        return "role"
    says = isinstance(content, str) or (content is None and message.get("tool_calls"))  # a call may say nothing else
    return None if says else "content"


def explicit(row: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The prompt, the chosen and the rejected response of a row, the prompt taken out of the responses if need be."""
    chosen, rejected = row["chosen"], row["rejected"]
    if "prompt" in row:
        return row["prompt"], chosen, rejected
    length = split_prompt(chosen, rejected)
    return chosen[:length], chosen[length:], rejected[length:]


def as_chat(prompt: str, chosen: str, rejected: str) -> tuple[list[Message], list[Message], list[Message]]:
    """A plain row as one user turn and one assistant turn."""
    return (
        [{"role": "user", "content": prompt}],
        [{"role": "assistant", "content": chosen}],
        [{"role": "assistant", "content": rejected}],
    )


def is_empty(side: Side) -> bool:
    """Whether a response is empty: no character, or only messages without content and tool calls."""
    if isinstance(side, str):
        return not side
    return not any(message.get("content") or message.get("tool_calls") for message in side)


def is_blank(side: Side) -> bool:
    """Whether a prompt is nothing but white space."""
    if isinstance(side, str):
        return not side.strip()
    return not any((message.get("content") or "").strip() or message.get("tool_calls") for message in side)
