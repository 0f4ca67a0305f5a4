"""The language of every row: of a column, or of the name of what it was read from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from congrad.preferences.names import require
from congrad.settings.input import DEFAULT_LANGUAGE_COLUMN, Columns
from congrad.sources.bounds import check_languages
from congrad.sources.part import Part
from congrad.sources.paths import LANGUAGE_TAG

if TYPE_CHECKING:
    from congrad.settings.input import Input


@dataclass(frozen=True)
class Named:
    """The languages of parts.

    Attributes:
        languages: of each part, of each of its rows; None where a row names none, which is a bad row.
        tags: what a name in the data was taken for, where that is another.
        notes: what was chosen, in sentences that are said once.
    """

    languages: tuple[list[str | None], ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def languages_of(parts: Sequence[Part], settings: "Input", place: object) -> Named:
    """The languages of all rows.

    Args:
        place: names the data as a whole.

    Raises:
        UserError: there is no such column, and the names are no languages; or there are too many.
    """
    from congrad.preferences.check import read_languages

    columns = {part.source.name: part.dataset.column_names for part in parts}
    column = column_of_languages(columns, [part.names for part in parts], settings.columns)
    languages = tuple(
        [part.names[0]] * len(part.dataset)
        if column is None
        else read_languages(part.dataset, column, part.source.where)
        for part in parts
    )
    check_languages([each or "" for own in languages for each in own], column, place, settings.bounds)
    return Named(tuple([*own] for own in languages))


def column_of_languages(
    columns: Mapping[str, Sequence[str]], names: Sequence[Sequence[str]], settings: Columns
) -> str | None:
    """The column of languages, which every source has; None where the names of the sources are languages.

    Args:
        columns: by the name of every source.
        names: of every source, what may be its language.
    """
    default = settings.language is None and not any(DEFAULT_LANGUAGE_COLUMN in own for own in columns.values())
    if default and all(own and is_language(own[0]) for own in names):
        return None
    column = settings.language or DEFAULT_LANGUAGE_COLUMN
    for name, own in columns.items():
        require(own, name, column, "input.columns.language")
    return column


def is_language(name: str) -> bool:
    return LANGUAGE_TAG.fullmatch(name) is not None and name.lower() not in NO_LANGUAGES


NO_LANGUAGES = frozenset(["train", "test", "dev", "val", "all", "new", "raw", "data", "dpo", "sft", "mix", "main"])
