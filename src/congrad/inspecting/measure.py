"""Lengths and identities of the texts of every row. Shapes: N rows, S = 3 sides (prompt, chosen, rejected)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from congrad.preferences.render import explicit
from congrad.preferences.rows import Preferences, iterate

SIDES = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Measured:
    """What is counted of each row.

    Attributes:
        names: the languages, by name.
        language_N: number of each row's language in `names`.
        length_NS: characters; of a conversation, those of its messages' contents.
        text_NS: numbers that are the same for the same text. They are Python's hashes, with a secret of the process:
            two texts of 100,000 rows share one with a probability of 1 in a billion, and nobody can make such texts.
    """

    names: list[str]
    language_N: npt.NDArray[np.int64]
    length_NS: npt.NDArray[np.int64]
    text_NS: npt.NDArray[np.int64]


def measure(preferences: Preferences) -> Measured:
    """One pass over the rows, decoded a batch at a time."""
    length_NS = np.zeros((len(preferences), 3), dtype=np.int64)
    text_NS = np.zeros((len(preferences), 3), dtype=np.int64)
    for number, row in enumerate(iterate(preferences.dataset)):
        for side, value in enumerate(explicit(row)):
            length_NS[number, side] = characters(value)
            text_NS[number, side] = hash(value if isinstance(value, str) else frozen(value))
    names, language_N = np.unique(np.array(preferences.languages, dtype=object), return_inverse=True)
    return Measured([str(name) for name in names], language_N.astype(np.int64), length_NS, text_NS)


def characters(side: Any) -> int:
    if isinstance(side, str):
        return len(side)
    return sum(len(text) for message in side if isinstance(text := message.get("content"), str))


def frozen(value: Any) -> Any:
    """The same for the same conversation, whichever null keys a file format adds to its messages."""
    if isinstance(value, dict):
        return tuple(sorted((key, frozen(item)) for key, item in value.items() if item is not None))
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value
