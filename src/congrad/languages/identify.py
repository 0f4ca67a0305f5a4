"""Language identity: is an answer in the language that its prompt's row names? Lingua decides, where it can.

Only what is beyond doubt is called off target. An answer that is too short, a language that lingua does not
know, and a doubtful case do not count as wrong.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress
from typing import TYPE_CHECKING, Any

from langcodes import Language as Tag

from congrad.errors import UserError
from congrad.languages.tags import languages_of, parse

if TYPE_CHECKING:
    from lingua import Language

# What models answer in unasked, besides the languages of the prompts themselves.
COMMON = ("ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "pt", "ru", "zh")
SCRIPTS = {"Latn": "latin", "Cyrl": "cyrillic", "Arab": "arabic", "Deva": "devanagari"}

MIN_LETTERS = 20
CONFIDENCE = 0.9
BATCH = 1000
# Some hundred characters show a language, and lingua's time grows with the square of a word: a tenth of a second here.
MOST_PROSE = 10_000
# A word is two of these, or five or six letters.
IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
# Addresses start where a run of their characters does, and nothing that was matched is tried again: linear in the text.
NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|</?[A-Za-z][^<>\n]{0,200}>|\b(?:https?://|www\.)\S+"
    r"|(?<![\w.+-])(?:[\w.+-]++@[\w-]++\.[\w.-]++)++",
    re.DOTALL,
)


@dataclass(frozen=True)
class Identified:
    """What is known of an answer's language."""

    detected: str | None  # the language it is in, or most probably in, as a BCP 47 tag; None where that is in doubt
    off_target: bool | None  # it is in another language than its row names; None: that is not known


@cache
def known() -> "dict[str, Language]":
    """Lingua's languages by BCP 47 tag (`de`, `fil`, `nb`)."""
    try:
        from lingua import Language
    except ImportError as error:
        raise UserError("identifying the language of a text needs lingua: pip install 'congrad[loop]'") from error
    return {str(Tag.get(each.iso_code_639_1.name).language): each for each in Language.all()}


@cache
def accepted(name: str) -> frozenset[str]:
    """The tags of the languages that an answer to a row of this language may be in; empty where lingua knows none.

    In a script that lingua does not read a language in (`hi-Latn`) that language is unknown.
    """
    found, tag = languages_of(name) & known().keys(), parse(name)
    if tag is not None and tag.script in SCRIPTS:
        from lingua import Language

        readable = getattr(Language, f"all_with_{SCRIPTS[tag.script]}_script")()
        if not any(known()[each] in readable for each in found):
            return frozenset()
    return found


def identify_languages(
    texts: Sequence[str], languages: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
) -> list[Identified]:
    """What each text is in, given the language that its row names.

    Lingua chooses among the languages that the rows name and the most common ones: of so few it is surer than of all
    75, and takes a tenth of the memory.
    """
    choices = set(COMMON).union(*(accepted(language) for language in set(languages)))
    identified: list[Identified] = []
    for shares in _shares([prose(text) for text in texts], choices):
        identified.append(decide(shares, accepted(languages[len(identified)])))
        if len(identified) % BATCH == 0:
            on_progress(len(identified))
    return identified


def detect_languages(texts: Sequence[str]) -> list[str | None]:
    """The language that each text is in, of all that lingua knows; None where that is in doubt."""
    found = _shares([prose(text) for text in texts], {*known()})
    return [decide(shares, frozenset()).detected for shares in found]


def _shares(texts: Sequence[str], choices: set[str]) -> Iterator[dict[str, float]]:
    """Lingua's confidence in each language, by tag; empty for texts that are too short."""
    from lingua import LanguageDetectorBuilder

    tags = {known()[tag]: tag for tag in choices}
    detector = LanguageDetectorBuilder.from_languages(*tags).build()
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        long_enough = [num_letters(text) >= MIN_LETTERS for text in batch]
        found = iter(detector.compute_language_confidence_values_in_parallel([*compress(batch, long_enough)]))
        for enough in long_enough:
            yield {tags[each.language]: each.value for each in next(found)} if enough else {}


def decide(shares: dict[str, float], wanted: frozenset[str]) -> Identified:
    """What is known of an answer's language.

    Args:
        shares: lingua's confidence by tag, which sums to 1; empty or all 0 where it cannot decide.
        wanted: tags of the languages that the answer may be in; empty where lingua knows none.
    """
    top = max(shares, key=lambda tag: shares[tag], default=None)
    if top is None or not shares[top]:
        return Identified(None, None)
    if not wanted:
        return Identified(top if shares[top] >= CONFIDENCE else None, None)
    right = sum(share for tag, share in shares.items() if tag in wanted)
    if top in wanted or right > 1 - CONFIDENCE:
        return Identified(top, False) if right >= 0.5 else Identified(None, None)
    return Identified(top, True)


def prose(text: str) -> str:
    """The start of a text without code, tags, links and addresses, which are in no language."""
    return NOT_PROSE.sub(" ", text)[:MOST_PROSE].encode("utf-8", "replace").decode()


def num_letters(text: str) -> int:
    """Letters; a Chinese character, a kana and a Hangul syllable count as three."""
    return sum(unicodedata.category(c).startswith("L") for c in text) + 2 * len(IDEOGRAPHS.findall(text))


def language_report(identified: Sequence[Identified], languages: Sequence[str]) -> dict[str, Any]:
    """How often answers are off target, by the language that their rows name.

    Returns:
        `languages`: by name `answers`, `told` (the rest was too short or in doubt), `off_target`, `off_target_rate`
        (of those told; None where none was) and `instead` (how many were in which language); `unknown`: names of
        languages that cannot be checked.
    """
    report = {}
    for name in sorted(set(languages)):
        answers = [each for each, own in zip(identified, languages, strict=True) if own == name]
        told = [each for each in answers if each.off_target is not None]
        off = [each for each in told if each.off_target]
        report[name] = {
            "answers": len(answers),
            "told": len(told),
            "off_target": len(off),
            "off_target_rate": round(len(off) / len(told), 4) if told else None,
            "instead": dict(sorted(Counter(str(each.detected) for each in off).items())),
        }
    return {"languages": report, "unknown": [name for name in report if not accepted(name)]}
