"""The one error a user sees: what is wrong, where, and how to fix it, each a field, put together when it is printed.

The place is a settings key, spelled as its reader typed it, or a file with its row and column, or a directory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from congrad.words import printable

UNSET: Any = object()
"""Stands for a value that is not part of the error: the setting is missing, or its value is right."""


def plain_key(key: str, value: Any = UNSET) -> str:
    """A settings key as Python and YAML spell it, with its value: `selection.keep 2`."""
    return key if value is UNSET else f"{key} {value}"


@dataclass(frozen=True)
class Spot:
    """A row of a file: by its line where rows are lines, else by its number, counted from 0."""

    file: str
    line: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line is not None else f"{self.file}, row {self.row} (counted from 0)"


class UserError(Exception):
    """A mistake of the user's, or of their machine. The command line prints it in one line and exits with code 2.

    Attributes:
        problem: what is wrong. After a key whose value is given, a sentence about that value ("must be 1 or more");
            after a key alone, what the key does ("is missing").
        fix: what to do; "" where the problem says it.
        key: the setting that is wrong, by its dotted key: `input.max_length`.
        value: of the setting, where it is what is wrong.
        at: the file, its row (a `Spot`), or the directory.
        column: of that row; the problem is then a sentence about it ("is null or missing").
        during: what was being done: "round 1, filter".
        spell: how `key` and `value` are spelled; set where it is known how they were typed (`congrad.settings.read`).
    """

    def __init__(
        self,
        problem: str,
        fix: str = "",
        *,
        key: str | None = None,
        value: Any = UNSET,
        at: object = None,
        column: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem, self.fix, self.key, self.value, self.at, self.column = problem, fix, key, value, at, column
        self.during = ""
        self.spell: Callable[[str, Any], str] = plain_key

    def __str__(self) -> str:
        text = self.problem
        if self.key is not None:
            text = self.spell(self.key, self.value) + (" " if self.value is UNSET else ": ") + text
        if self.column is not None:
            text = f"column {self.column!r} {text}"
        if self.at is not None:
            text = f"{self.at}: {text}"
        if self.during:
            text = f"{self.during}: {text}"
        return printable(f"{text}; {self.fix}" if self.fix else text).strip()
