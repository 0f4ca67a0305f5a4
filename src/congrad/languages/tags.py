"""What a data set's name of a language means, as BCP 47 tags.

Languages of one ISO 639-3 macrolanguage that can hardly be distinguished in writing (Bosnian, Croatian, Serbian;
Bokmål, Nynorsk; Indonesian, Malay) count as one; Chinese is one in all its scripts.
"""

import re
from functools import cache

from langcodes import Language, standardize_tag
from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES
from langcodes.tag_parser import LanguageTagError

from congrad.languages.names import folded, names

ALIKE = (frozenset({"bs", "hr", "sr"}), frozenset({"nb", "nn"}), frozenset({"id", "ms"}))
# Each of their scripts has readers who do not read the other: a tag without one leaves open which it is.
SCRIPT_TELLS = frozenset({"zh", "yue", "sr"})
# The first language of these territories is the one of that code, and still they are no pair of languages.
SECOND_LANGUAGES = frozenset({"fr-ca", "fr-be", "fr-ch", "it-ch"})
NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx"})
# Codes and names of languages that are commoner as words: of the parts of a data set, of runs and of English.
WORDS = frozenset(
    [
        "bad",
        "ban",
        "bar",
        "bas",
        "bin",
        "bug",
        "car",
        "dad",
        "day",
        "dev",
        "din",
        "end",
        "fin",
        "fur",
        "gay",
        "gen",
        "got",
        "hat",
        "her",
        "him",
        "his",
        "ill",
        "kin",
        "log",
        "low",
        "lua",
        "mad",
        "mag",
        "man",
        "map",
        "mas",
        "may",
        "men",
        "mer",
        "meta",
        "min",
        "mix",
        "new",
        "old",
        "one",
        "out",
        "own",
        "pap",
        "pat",
        "per",
        "raw",
        "rm",
        "run",
        "sad",
        "sat",
        "set",
        "she",
        "son",
        "sun",
        "tag",
        "test",
        "tic",
        "tip",
        "tok",
        "top",
        "two",
        "val",
        "war",
        "was",
        "who",
        "win",
        "yes",
    ]
)
LONGEST = 100  # characters of a name; a longer text is no name of a language
TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
BRACKETS = re.compile(r"([^()（）]*)[(（]([^()（）]*)[)）]")


@cache
def tag_of(name: str, strict: bool = False) -> str | None:
    """The BCP 47 tag of the language that `name` names; None where it names none.

    Codes are those of ISO 639-1, 639-2 and 639-3 with a script, a region or neither, in any case (`de`, `ger`, `DEU`,
    `zho_Hans`, `pt-br`, `en_US.UTF-8`); names are in English or in the language itself (`German`, `Deutsch`, `Chinese
    (Simplified)`). Old codes and members of a macrolanguage become what the CLDR calls them (`iw` is `he`, `arb` is
    `ar`), and a script goes where the language is written in it anyway (`deu_Latn` is `de`; `zh-Hans` stays).

    Args:
        strict: for names of files, folders, splits and configurations, which are mostly words. It takes a code of two
            letters; a code of three letters with its script, or one of a language that has a CLDR locale or belongs
            to FLORES-200, unless it is a common word (`new`, `run`, `may`); a name of at least four letters of such a
            language. Two codes in lower case are two languages (`en-de`) where the second is spoken in the territory
            of that code.
    """
    text = " ".join(name.split())
    if not text or len(text) > LONGEST or (strict and folded(text) in WORDS):
        return None
    code = re.split("[.@]", text, maxsplit=1)[0]  # of a locale: `en_US.UTF-8`
    if TAG.fullmatch(code) is not None and not strict:
        text = code
    return _tag_of_code(text, strict) or _tag_of_name(text, strict)


def merge_region(tag: str) -> str:
    """`tag` without its region: `pt-BR` is `pt`. A script that the region implies is said: `zh-TW` is `zh-Hant`."""
    parsed = Language.get(tag)
    if parsed.territory is None or parsed.language is None:
        return tag
    script = parsed.script
    if script is None:
        likely = _likely_script(parsed.language, parsed.territory)
        if likely != _likely_script(parsed.language) or parsed.language in SCRIPT_TELLS:
            script = likely
    parts = (parsed.language, script, *(parsed.variants or ()))
    return "-".join(part for part in parts if part is not None)


def _tag_of_code(text: str, strict: bool) -> str | None:
    if TAG.fullmatch(text) is None:
        return None
    given, *more = re.split("[-_]", text)
    if strict and more and not more[0][:1].isupper() and _is_pair(given.lower(), more):
        return None
    try:
        read = Language.get(text)
        if not read.is_valid() or read.extensions or read.private:
            return None
        tag = Language.get(standardize_tag(text, macro=True))
    except LanguageTagError:
        return None
    if tag.language is None or tag.language in NO_LANGUAGE:
        return None
    if len(given) == 3 and not _is_known(tag.language, strict, read.script is not None):
        return None
    return _without_default_script(tag)


def _is_pair(language: str, more: list[str]) -> bool:
    """Whether `en-de` is English and German rather than the English of Germany."""
    second = more[-1]
    if not second.islower() or f"{language}-{second}" in SECOND_LANGUAGES:
        return False
    first_there = LIKELY_SUBTAGS.get(f"und-{second.upper()}", "").split("-")[0]
    return first_there != language and second in names().known


def _is_known(language: str, strict: bool, has_script: bool) -> bool:
    return has_script or language in (names().known if strict else names().codes)


def _tag_of_name(text: str, strict: bool) -> str | None:
    table = names()
    key = folded(text)
    if strict and key.isascii() and len(key) < 4:
        return None
    tag = table.tags.get(key)
    if tag is None and (parts := BRACKETS.fullmatch(text)) is not None:
        tag = _specified(folded(parts[1]), parts[2].split(",")) or _also_named(parts[1], parts[2])
    if tag is None and ";" in text:  # "Spanish; Castilian", as ISO 639 writes it
        called = {table.tags.get(folded(each)) for each in text.split(";")}
        tag = called.pop() if len(called) == 1 else None
    if tag is None and " " in key:
        first, _, last = key.partition(" ")
        tag = _specified(last, [first]) or _specified(key.rpartition(" ")[0], [key.rpartition(" ")[2]])
    if tag is None or (strict and tag.split("-")[0] not in table.known):
        return None
    return tag


def _specified(language: str, further: list[str]) -> str | None:
    """The tag of a language's name with those of its script and territory; None where one of them is not known."""
    table = names()
    tag = table.tags.get(language)
    if tag is None:
        return None
    subtags = [table.within.get(folded(each)) or _code_within(each.strip()) for each in further]
    if None in subtags:
        return None
    parts = sorted((part for part in subtags if part is not None), key=len, reverse=True)
    return _tag_of_code("-".join([tag, *parts]), strict=False)


def _code_within(code: str) -> str | None:
    """`code` where it is that of a script or a territory: "Portuguese (BR)"."""
    return code if code in names().within.values() else None


def _also_named(outer: str, inner: str) -> str | None:
    """The tag of "German (Deutsch)", "German (de)" and "Chinese (Cantonese)", which say a language twice."""
    tag, further = names().tags.get(folded(outer)), tag_of(inner)
    if tag is None or further is None:
        return None
    outside, within = Language.get(tag).language, Language.get(further).language
    return further if outside in (within, MACROLANGUAGES.get(within or "")) else None


def _likely_script(language: str, territory: str | None = None) -> str | None:
    """The script that a language is written in, in a territory or most of all; None where the CLDR does not say."""
    for key in (f"{language}-{territory}", language):
        if (territory is not None or key == language) and key in LIKELY_SUBTAGS:
            return LIKELY_SUBTAGS[key].split("-")[1]
    return None


def _without_default_script(tag: Language) -> str:
    assert tag.language is not None
    is_default = tag.script == (_likely_script(tag.language) or "Latn") and tag.language not in SCRIPT_TELLS
    parts = (tag.language, None if is_default else tag.script, tag.territory, *(tag.variants or ()))
    return "-".join(part for part in parts if part is not None)


@cache
def parse(name: str) -> Language | None:
    """The tag of a name in its parts; None where it names no language."""
    tag = tag_of(name)
    return None if tag is None else Language.get(tag)


@cache
def languages_of(name: str) -> frozenset[str]:
    """The languages, without script and region, that a text of a row named so may be in; empty where none is named."""
    tag = parse(name)
    if tag is None or tag.language is None:
        return frozenset()
    found = {"nb", "nn"} if tag.language == "no" else {str(each.language) for each in (tag, tag.prefer_macrolanguage())}
    return frozenset(found).union(*(group for group in ALIKE if group & found))
