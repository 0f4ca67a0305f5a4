"""Kept rows of every layout that the filter reads."""

from typing import Any

PLAIN = [
    {
        "language": "de",
        "prompt": "Nenne {drei} Flüsse:",
        "chosen": " Rhein, Elbe, Donau",
        "rejected": " Rhine",
        "id": 7,
    },
    {"language": "ar", "prompt": "عدد ثلاثة أنهار:", "chosen": " النيل والفرات ودجلة", "rejected": " Nile", "id": 8},
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Antworte kurz."}

CONVERSATIONS = [
    {"prompt": [user("Nenne drei Flüsse.")], "chosen": [assistant("Rhein, Elbe")], "rejected": [assistant("Rhine")]},
    {"prompt": [SYSTEM, user("Wo?")], "chosen": [assistant("In Köln.")], "rejected": [assistant("Cologne.")]},
    {
        "prompt": [SYSTEM, user("Hallo"), assistant("Guten Tag."), user("Wie geht's?")],
        "chosen": [assistant("Gut, danke.")],
        "rejected": [assistant("Fine.")],
    },
]

# What TRL takes out of these is the same conversations.
IMPLICIT = [
    {"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]} for row in CONVERSATIONS
]
IMPLICIT_PLAIN = [
    {"chosen": "Drei Flüsse: Rhein, Elbe", "rejected": "Drei Flüsse: Oder"},
    {"chosen": "Farbe: rot", "rejected": "Farbe: blau"},
]
