"""Columns that must be there, by name."""

import difflib
from collections.abc import Sequence

from congrad.errors import UserError
from congrad.preferences.locate import quote

REQUIRED = {"chosen": "rename it", "rejected": "rename it"}
LANGUAGE_MEND = "rename it, or name another with --language-column"
PROMPT_MEND = "rename it, or name another with prompts.prompt_column"
PROMPTS_LANGUAGE_MEND = "rename it, or name another with prompts.language_column"


def require_column(names: Sequence[str], source: str, column: str, mend: str) -> None:
    """Args:
        names: of the columns that are there.
        source: the file's name.
        mend: what to do about a column of a similar name.

    Raises:
        UserError: the column is none of them; says which is the nearest.
    """
    if column in names:
        return
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(column.lower(), lower, n=1)
    nearest = f"the nearest is {quote(lower[near[0]])}: {mend}" if near else mend.replace("rename it", "add it")
    there = ", ".join(quote(name) for name in list(names)[:20])
    raise UserError(f"{source}: no column {quote(column)} among {there}; {nearest}")
