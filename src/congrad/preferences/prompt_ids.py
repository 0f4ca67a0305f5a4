"""Which rows have one prompt, by the ids of a column: what languages share. Shapes: N rows."""

import numpy as np
import numpy.typing as npt

from congrad.preferences.rows import Preferences

Codes = npt.NDArray[np.int64]
ID_COLUMNS = ("prompt_id", "id")
SEPARATORS = str.maketrans("_./:|", "-----")
MIN_LINES = 8  # rows of a language, from which an equal number in all is no chance


def prompt_ids(preferences: Preferences, column: str, *, tagged: bool) -> list[str]:
    """The ids of a column as they are compared; where there is none, one that no other row has, of any data set.

    Args:
        tagged: whether ids may hold their language's tag, which is taken out.
    """
    owners = zip(preferences.dataset[column], preferences.languages, strict=True)
    return [
        f"null {id(preferences)} {row}" if value is None else f"={without_tag(str(value), own) if tagged else value}"
        for row, (value, own) in enumerate(owners)
    ]


def without_tag(value: str, language: str) -> str:
    """An id without its language's tag, as a part of its own: `de-country-001` of de is `country-001`."""
    text, tag = (each.casefold().translate(SEPARATORS) for each in (value, language))
    return f"-{text}-".replace(f"-{tag}-", "-", 1).strip("-")


def tells_prompts_apart(key_N: Codes, group_N: Codes, language_N: Codes) -> bool:
    """Whether rows of a language with one id have one prompt: a column of few values is no id."""
    own_N = language_N * (int(key_N.max(initial=0)) + 1) + key_N
    _, first_N, own_N = np.unique(own_N, return_index=True, return_inverse=True)
    return bool((group_N[first_N[own_N]] == group_N).all())


def count_shared(prompt_N: Codes, language_N: Codes) -> int:
    """How many prompts are in several languages."""
    pairs = np.unique(np.stack([prompt_N, language_N]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum())
