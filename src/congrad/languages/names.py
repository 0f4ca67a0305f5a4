"""Names of languages, of scripts and of territories, in English and in the languages themselves.

The table `names.txt` is made by `bench/language_names.py`: 40 KB of facts, where the packages that know names of
languages (`language_data`, Babel) bring 5 to 30 MB for every language's name in every other one.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Names:
    """Tags by folded name.

    Attributes:
        tags: of languages.
        known: subtags of the languages that have a CLDR locale or belong to FLORES-200: those that are trained on.
        within: subtags of scripts and territories, by what may stand beside a language's name.
        codes: subtags of all languages that have a name here.
    """

    tags: dict[str, str]
    known: frozenset[str]
    within: dict[str, str]
    codes: frozenset[str]


def folded(name: str) -> str:
    """A name as it is looked up: without case, accents of Latin letters, and more than one space at a time.

    Marks of other scripts stay: they are vowels there.
    """
    text, is_latin = [], False
    for character in unicodedata.normalize("NFKD", name.casefold()):
        if not unicodedata.combining(character):
            is_latin = character.isascii()
        elif is_latin:
            continue
        text.append(" " if character in "_-\u2010\u2011" else "'" if character in "\u2019\u02bc\u02bb" else character)
    return unicodedata.normalize("NFC", " ".join("".join(text).split()))


@cache
def names() -> Names:
    text = (Path(__file__).parent / "names.txt").read_text("utf-8")
    languages, places = ([line.split("\t") for line in block.splitlines()] for block in text.split("\n\n"))
    tags = {folded(name): tag.lstrip("?") for tag, *own in languages for name in own}
    known = frozenset(tag.split("-")[0] for tag, *_ in languages if not tag.startswith("?"))
    within = {folded(name): subtag for subtag, *own in places for name in own}
    return Names(tags, known, within, frozenset(tag.lstrip("?").split("-")[0] for tag, *_ in languages))
