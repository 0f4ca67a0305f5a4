"""A setting that is one of a few names."""

import difflib
from collections.abc import Sequence

from congrad.errors import UserError


def check_choice(what: str, name: str, choices: Sequence[str]) -> None:
    """Refuse a name that is not among the choices, with the nearest one.

    Raises:
        UserError: names all choices.
    """
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f", did you mean {near[0]}" if near else ""
        raise UserError(f"unknown {what} {name!r}{hint}? Choose from {', '.join(choices)}")
