"""Which splits, configurations and files of a data set are read: those that are named, or those that stand for them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from congrad.errors import UserError
from congrad.languages.tags import tag_of
from congrad.settings.input import Input, Names
from congrad.words import quote

MOST_LISTED = 20


@dataclass(frozen=True)
class Chosen:
    """Names that were chosen, and what is said of it."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def splits(there: Collection[object], wanted: Names | None, place: object) -> Chosen:
    """The splits to read. Without a name it is `train`; else the only one; else all, where each is named by a language;
    else the only one whose name begins with "train".

    Raises:
        UserError: there is no such split, or it is not clear which is meant; it lists them.
    """
    known = [str(name) for name in there]
    if wanted is not None:
        return Chosen(matching(known, wanted, "split", place))
    if "train" in known:
        return Chosen(("train",))
    found = _only_or_languages(known, "split")
    if found is None:
        begin = [name for name in known if name.lower().startswith("train")]
        if len(begin) != 1:
            raise UserError(f"no split 'train'; there are {listed(known)}", "name one with input.split", at=place)
        found = Chosen((begin[0],), (f"split: {quote(begin[0])} of {listed(known)}",))
    return found


def configurations(there: Collection[str], default: str | None, wanted: Names | None, place: object) -> Chosen:
    """The configurations to read. Without a name it is the default one; else all, where each is named by a language.

    Raises:
        UserError: as for splits.
    """
    known = list(there)
    if wanted is not None:
        return Chosen(matching(known, wanted, "configuration", place))
    if default is not None:
        return Chosen((default,))
    found = _only_or_languages(known, "configuration")
    if found is None:
        raise UserError(f"there are configurations {listed(known)}", "name one with input.configuration", at=place)
    return found


def _only_or_languages(known: Sequence[str], what: str) -> Chosen | None:
    if len(known) == 1:
        return Chosen((known[0],))
    if known and all(tag_of(name, strict=True) for name in known):
        return Chosen(tuple(known), (f"{what}s: {listed(known)}, one for each language",))
    return None


def matching(known: Sequence[str], wanted: Names, what: str, place: object) -> tuple[str, ...]:
    """The names that a name, a list or a glob stands for, in the order of `known`; every one must stand for one."""
    found = set()
    patterns = as_names(wanted)
    if not patterns:
        raise UserError(f"no {what} is named", f"there are {listed(known)}", at=place)
    for pattern in patterns:
        own = {name for name in known if name == pattern} or {name for name in known if fnmatchcase(name, pattern)}
        if not own:
            raise UserError(f"no {what} {quote(pattern)}", f"there are {listed(known)}", at=place)
        found |= own
    return tuple(name for name in known if name in found)


def chosen_files(known: Sequence[str], wanted: Names | None, place: object) -> tuple[str, ...]:
    """The files that globs stand for; a glob without a folder is one of names in all folders.

    Args:
        known: their paths within the folder.
    """
    if wanted is None:
        return tuple(known)
    patterns = as_names(wanted)
    hits = {pattern: _of(known, pattern.removeprefix("!")) for pattern in patterns}
    for pattern, own in hits.items():
        if not own:
            fix = f"there are {listed(known)}"
            raise UserError(f"finds no file {quote(pattern)}", fix, key="input.files", at=place)
    named = [own for pattern, own in hits.items() if not pattern.startswith("!")]
    left = set(known).intersection(set().union(*named)) if named else set(known)
    for pattern, own in hits.items():
        if pattern.startswith("!"):
            left -= own
    if not left:
        raise UserError("leaves no file", f"there are {listed(known)}", key="input.files", at=place)
    return tuple(name for name in known if name in left)


def _of(known: Sequence[str], pattern: str) -> set[str]:
    return {name for name in known if fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)}


def as_names(wanted: Names) -> tuple[str, ...]:
    """A setting of one name or of several as a tuple."""
    return (wanted,) if isinstance(wanted, str) else wanted


def names_files(wanted: Names | None) -> bool:
    """Whether files are named to be read, not only left out."""
    return any(not pattern.startswith("!") for pattern in as_names(wanted or ()))


def refuse(settings: Input, names: Collection[str], what: str, place: object) -> None:
    """Refuses settings that a kind of source cannot honour, which would be ignored."""
    for name in names:
        if (value := getattr(settings, name)) is not None:
            shown = quote(", ".join(as_names(value)))
            raise UserError(f"{what} has no {name} {shown}", f"leave input.{name} out", at=place)


def listed(names: Collection[str], most: int = MOST_LISTED) -> str:
    """Names for a person, not too many."""
    shown = ", ".join(quote(name) for name in list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
