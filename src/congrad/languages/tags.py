"""What a data set's name of a language means, as BCP 47 tags.

Languages of one ISO 639-3 macrolanguage that can hardly be distinguished in writing (Bosnian, Croatian, Serbian;
Bokmål, Nynorsk; Indonesian, Malay) count as one; Chinese is one in all its scripts.
"""

import re
from functools import cache

from langcodes import Language
from langcodes.tag_parser import LanguageTagError

ALIKE = (frozenset({"bs", "hr", "sr"}), frozenset({"nb", "nn"}), frozenset({"id", "ms"}))
NAMES_AND_TAGS = """
    afrikaans af, albanian sq, arabic ar, armenian hy, azerbaijani az, basque eu, belarusian be, bengali bn,
    bokmal nb, bokmål nb, bosnian bs, bulgarian bg, catalan ca, chinese zh, croatian hr, czech cs, danish da,
    dutch nl, english en, esperanto eo, estonian et, farsi fa, filipino fil, finnish fi, french fr, ganda lg,
    georgian ka, german de, greek el, gujarati gu, hebrew he, hindi hi, hungarian hu, icelandic is, indonesian id,
    irish ga, italian it, japanese ja, kazakh kk, kiswahili sw, korean ko, latin la, latvian lv, lithuanian lt,
    macedonian mk, malay ms, mandarin zh, maori mi, marathi mr, mongolian mn, norwegian no, norwegian bokmål nb,
    norwegian nynorsk nn, nynorsk nn, persian fa, polish pl, portuguese pt, punjabi pa, romanian ro, russian ru,
    serbian sr, shona sn, slovak sk, slovene sl, slovenian sl, somali so, sotho st, spanish es, swahili sw,
    swedish sv, tagalog fil, tamil ta, telugu te, thai th, tsonga ts, tswana tn, turkish tr, ukrainian uk, urdu ur,
    vietnamese vi, welsh cy, xhosa xh, yoruba yo, zulu zu
"""
TAG_OF_NAME = dict(entry.strip().rsplit(maxsplit=1) for entry in NAMES_AND_TAGS.split(","))


@cache
def parse(name: str) -> Language | None:
    """A data set's name of a language as a tag; None where it is none.

    Names are ISO 639-1 or 639-3 (`de`, `deu`), with script and region or not (`pt-BR`, `zho_Hans`), or in English
    (`German`, `Chinese (Simplified)`).
    """
    word = re.sub(r"\(.*", "", name).strip().lower()
    try:
        return Language.get(TAG_OF_NAME.get(word) or re.split("[.@]", name.strip())[0])
    except LanguageTagError:
        return None


@cache
def languages_of(name: str) -> frozenset[str]:
    """The languages, without script and region, that a text of a row named so may be in; empty where none is named."""
    tag = parse(name)
    if tag is None or tag.language is None:
        return frozenset()
    found = {"nb", "nn"} if tag.language == "no" else {str(each.language) for each in (tag, tag.prefer_macrolanguage())}
    return frozenset(found).union(*(group for group in ALIKE if group & found))
