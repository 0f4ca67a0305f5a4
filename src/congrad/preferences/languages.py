"""The language of every row: of a column, of the name of what it was read from, or of its text; as BCP 47 tags."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

from congrad.errors import UserError
from congrad.languages.tags import merge_region, tag_of
from congrad.preferences.known_names import CANONICAL, LANGUAGE, found_names
from congrad.preferences.names import require
from congrad.settings.input import DEFAULT_LANGUAGE_COLUMN, Input
from congrad.sources.bounds import check_languages
from congrad.sources.choose import listed
from congrad.sources.part import Part
from congrad.words import quote

MOST_SAID = 5  # tags in the note; the manifest has all
MOST_TEXT = 2000  # characters of a field that show its language


@dataclass(frozen=True)
class Named:
    """The languages of parts.

    Attributes:
        languages: of each part, of each of its rows; None where a row names none, which is a bad row.
        tags: what a name in the data was taken for, where that is another.
        notes: what was chosen, in sentences that are said once.
        column: that they were read from; None where they come from names or texts.
    """

    languages: tuple[list[str | None], ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    column: str | None = None


def languages_of(parts: Sequence[Part], settings: Input, place: object) -> Named:
    """The languages of all rows.

    Args:
        place: names the data as a whole.

    Raises:
        UserError: there is no such column, and the names are no languages; or there are too many.
    """
    from congrad.preferences.check import read_languages

    columns = {part.source.name: part.dataset.column_names for part in parts}
    column = None
    if settings.languages == "detect":
        named = Named(tuple(_detected(part) for part in parts))
    else:
        column = column_of_languages(columns, [part.names for part in parts], settings)
        raw: list[list[str | None]]
        if column is None:
            names = names_that_are_languages([(part.source.name, part.names) for part in parts], settings)
            raw = [[*repeat(name, len(part.dataset))] for name, part in zip(names, parts, strict=True)]
        else:
            raw = [read_languages(part.dataset, column) for part in parts]
        named = normalised(raw, merge=settings.merge_regions)
    check_languages([each or "" for own in named.languages for each in own], column, place, settings.bounds)
    return replace(named, column=column)


def column_of_languages(
    columns: Mapping[str, Sequence[str]], names: Sequence[Sequence[str]], settings: Input
) -> str | None:
    """The column of languages, which every source has; None where they come from elsewhere.

    Args:
        columns: by the name of every source.
        names: of every source, what may be its language.
    """
    if settings.languages in ("name", "detect"):
        return None
    found = settings.columns.language or next(
        (name for own in columns.values() for name in found_names([*own], LANGUAGE)), None
    )
    if found is None and settings.languages == "auto" and any(_language_in(own, strict=True) for own in names):
        return None
    column = found or DEFAULT_LANGUAGE_COLUMN
    for (name, own), called in zip(columns.items(), names, strict=True):
        others = "input.columns.language, or set input.languages=detect"
        if found is None and called:
            others += f" ({quote(called[0])} names no language)"
        require(own, name, column, others)
    return column


def names_that_are_languages(names: Sequence[tuple[str, Sequence[str]]], settings: Input) -> list[str]:
    """Of every source (its name, and what may be its language) the name that is a language, as it is written.

    Where the setting says that names are languages, any name of a language will do, and words that are rarely one.

    Raises:
        UserError: a source has none.
    """
    said = settings.languages == "name"
    found = [_language_in(own, strict=True) or (_language_in(own, strict=False) if said else None) for _, own in names]
    others = [name for (name, _), own in zip(names, found, strict=True) if own is None]
    if others:
        ends = listed([name.rpartition("/")[2] for name in others], most=5)
        known = sorted({name for name in found if name is not None})
        problem = f"no language is named by {ends}" + (f", as by others ({', '.join(known[:5])})" if known else "")
        fix = "leave them out with input.files, or name the column of languages with input.columns.language"
        raise UserError(problem, fix, key="input.languages", value=settings.languages)
    return [name for name in found if name is not None]


def _language_in(names: Iterable[str], *, strict: bool) -> str | None:
    return next((name for name in names if tag_of(name, strict) is not None), None)


def normalised(raw: Sequence[Sequence[str | None]], *, merge: bool = False) -> Named:
    """Names of languages as tags.

    Other names stay as they are: rows are grouped by other things, too. Where fewer than half of the names are
    languages, the rest being others, they are such groups, and all of them stay.
    """
    counts = Counter(name for own in raw for name in own if name is not None)
    found = {name: tag for name in counts if (tag := tag_of(name)) is not None}
    notes = []
    others = [name for name in counts if name not in found]
    if found and others:
        notes.append(f"languages: {_listed(others)} are no known languages, and stay as they are")
    if 2 * len(found) < len(counts):
        if changed := [name for name, tag in found.items() if tag != name]:
            notes = [f"languages: most names are none, so that {_listed(changed)} stay as they are, too"]
        else:
            notes = []
        found = {}
    tags = {name: merge_region(tag) if merge else tag for name, tag in found.items()}
    tags = {name: tag for name, tag in tags.items() if tag != name}
    if tags:
        notes.insert(0, f"languages: {'; '.join(_taken_for(tags, counts))}")
    languages = tuple([name if name is None else tags.get(name, name) for name in own] for own in raw)
    return Named(languages, dict(sorted(tags.items())), tuple(notes))


def _taken_for(tags: Mapping[str, str], counts: Mapping[str, int]) -> Iterator[str]:
    """'German', 'de ' and 'DE' are de (1,203 rows): the largest first."""
    rows: Counter[str] = Counter()
    for name, tag in tags.items():
        rows[tag] += counts[name]
    for tag, count in rows.most_common(MOST_SAID):
        own = [name for name in tags if tags[name] == tag]
        verb = "is" if len(own) == 1 else "are"
        yield f"{_listed(own)} {verb} {tag} ({count:,} row{'' if count == 1 else 's'})"
    if len(rows) > MOST_SAID:
        yield f"{len(rows) - MOST_SAID} more are changed, too"


def _listed(names: Sequence[str]) -> str:
    """'a', 'b' and 3 more."""
    shown = [quote(name) for name in names[:4]]
    if len(names) > 4:
        return f"{', '.join(shown)} and {len(names) - 4:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _detected(part: Part) -> list[str | None]:
    """The language of prompt and responses together, where it is beyond doubt."""
    from congrad.languages.identify import detect_languages
    from congrad.preferences.rows import iterate

    columns = [column for column in CANONICAL if column in part.dataset.column_names]
    texts = ["\n".join(_text(row[column])[:MOST_TEXT] for column in columns) for row in iterate(part.dataset, columns)]
    return detect_languages(texts)


def _text(side: Any) -> str:
    if isinstance(side, list):
        return "\n".join(str(message.get("content") or "") for message in side if isinstance(message, dict))
    return side if isinstance(side, str) else ""
