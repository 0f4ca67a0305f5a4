"""Which columns must be there and filled, and the line that says so where one is not.

A missing or misspelt name is answered with the nearest. Nothing here needs `datasets`, whose columns `check` reads.
"""

import difflib
from collections.abc import Collection

from congrad.errors import Spot, UserError
from congrad.sources.choose import listed
from congrad.sources.source import BATCH
from congrad.words import quote

Fields = list[tuple[str, str | None]]
"""Columns that must hold text in every row, in the order of their checks, and the mistake that an empty one is."""

CHECKED_AT_ONCE = 10 * BATCH  # rows whose null fields are reported before their empty ones
EMPTY_PROMPT, EMPTY_LANGUAGE = "empty prompt", "empty language"


def check_prompt_names(columns: Collection[str], name: str, prompt_column: str) -> Fields:
    """Check that the column of prompts is there, and which columns must be filled."""
    require(columns, name, prompt_column, "prompts.columns.prompt")
    return [(prompt_column, EMPTY_PROMPT)]


def null(place: Spot, column: str) -> UserError:
    return UserError("is null or missing", "fill it or remove the row", at=place, column=column)


def blank(place: Spot, column: str, what: str) -> UserError:
    """A field is empty or white space."""
    return UserError(f"holds an {what}", "fill it or remove the row", at=place, column=column)


def require(columns: Collection[str], name: str, column: str, key: str | None = None) -> None:
    """Refuses a source that lacks a column, which the setting `key` names; the nearest one is named."""
    if column in columns:
        return
    other = "" if key is None else f", or name another with {key}"
    lower = {each.lower(): each for each in columns}
    near = difflib.get_close_matches(column.lower(), lower, n=1)
    fix = f"the nearest is {quote(lower[near[0]])}: rename it{other}" if near else f"add it{other}"
    raise UserError(f"no column {quote(column)} among {listed(columns)}", fix, at=name)
