"""Write the names of languages that `congrad.languages.names` reads, from the CLDR by way of Babel, and from IANA.

    python -m bench.language_names > src/congrad/languages/names.txt

A line is a tag and its names, separated by tabs: in English, in the language itself, and what IANA's registry calls it
besides. Tags of which nothing but a name is known (no CLDR locale, none of the FLORES-200 languages) begin with `?`.
The CLDR and the registry may be copied freely with their notice (Unicode License v3), and a name is a fact.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import langcodes
from babel import Locale, localedata
from langcodes import standardize_tag

from congrad.languages.names import folded

# Languages of FLORES-200 that have no CLDR locale; data sets name them by their code.
FLORES = [
    "ace",
    "acm",
    "acq",
    "aeb",
    "ajp",
    "ars",
    "ary",
    "arz",
    "awa",
    "ay",
    "azb",
    "ban",
    "bbc",
    "bjn",
    "bug",
    "crh",
    "din",
    "dyu",
    "fj",
    "fon",
    "fuv",
    "gn",
    "hne",
    "ilo",
    "kac",
    "kbp",
    "kbp",
    "kg",
    "ki",
    "kmb",
    "kr",
    "lua",
    "lus",
    "mag",
    "min",
    "mos",
    "nij",
    "nus",
    "pag",
    "prs",
    "quy",
    "shn",
    "taq",
    "tum",
    "tw",
    "umb",
    "war",
    "wo",
    "kea",
    "lg",
    "ltg",
    "mad",
    "nap",
    "oc",
    "pms",
    "sco",
    "vec",
]
# In use, and in neither list.
BESIDES = {
    "fa": ("Farsi", "Parsi"),
    "fa-AF": ("Dari",),
    "zh": ("Mandarin", "Putonghua", "汉语", "漢語", "普通话", "國語"),
    "zh-Hans": ("简体中文", "中文(简体)", "中文 (简体)"),
    "zh-Hant": ("繁體中文", "中文(繁體)", "中文 (繁體)", "正體中文"),
    "nb": ("Bokmal", "Bokmål"),
    "nn": ("Nynorsk",),
    "ms": ("Malaysian", "Bahasa Melayu", "Bahasa Malaysia"),
    "id": ("Bahasa Indonesia",),
    "fil": ("Tagalog",),
    "ar": ("Standard Arabic", "Modern Standard Arabic", "MSA"),
    "my": ("Myanmar",),
    "ro": ("Moldavian", "Moldovan"),
    "xh": ("isiXhosa",),
    "zu": ("isiZulu",),
    "sw": ("Swahili (individual language)",),
    "st": ("Sotho", "Sesotho"),
    "el": ("Modern Greek",),
    "kmr": ("Kurmanji",),
    "ckb": ("Sorani", "Central Kurdish"),
    "ht": ("Haitian", "Haitian Creole"),
    "ny": ("Chichewa", "Chewa"),
    "ps": ("Pashto", "Pushto"),
    "ku": ("Kurdish (Kurmanji)",),
    "uz": ("Uzbek", "oʻzbek", "o'zbek"),
    "ga": ("Irish Gaelic",),
    "ug": ("Uighur", "Uyghur"),
    "es": ("Castellano",),
    "mni": ("Meitei",),
    "tw": ("Twi",),
    "vi": ("Tieng Viet",),
    "sl": ("Slovene",),
}
VARIANTS = ("en_US", "en_GB", "en_AU", "en_CA", "es_MX", "es_419", "fr_CA", "fr_CH", "de_AT", "de_CH", "pt_BR", "pt_PT")
SCRIPTS = ("Hans", "Hant", "Latn", "Cyrl", "Arab", "Deva", "Grek", "Hebr", "Beng", "Guru", "Tfng", "Mong", "Ethi")
NO_LANGUAGE = {"und", "mul", "mis", "zxx", "root", "art", "tok"}  # tok: younger than the registry of langcodes


def canonical(code: str) -> str:
    return standardize_tag(code, macro=True)


def registered() -> Iterator[tuple[str, list[str]]]:
    """Of IANA's registry: the languages, and all that each is called."""
    text = (Path(langcodes.__path__[0]) / "data" / "language-subtag-registry.txt").read_text("utf-8")
    for record in text.split("%%"):
        if "Type: language\n" in record:
            tag = re.search(r"^Subtag: (\S+)$", record, re.MULTILINE)
            if tag is not None and ".." not in tag[1]:
                yield tag[1], re.findall(r"^Description: (.*)$", record, re.MULTILINE)


def table() -> dict[str, list[str]]:
    """Names by tag; each name once, the language with a locale before one without."""
    english = Locale("en")
    own = sorted({each.split("_")[0] for each in localedata.locale_identifiers()} - NO_LANGUAGE)
    known = dict.fromkeys([*map(canonical, own), *map(canonical, FLORES)])
    names: dict[str, list[str]] = {tag: [] for tag in known}
    taken: dict[str, str] = {}

    def add(tag: str, given: Iterable[str | None]) -> None:
        for name in given:
            key = folded(name or "")
            is_own = len(key) > 1 and key != tag.lower() and taken.setdefault(key, tag) == tag
            if is_own and key not in map(folded, names.setdefault(tag, [])):
                names[tag].append(str(name))

    for code in [*own, *FLORES]:
        add(canonical(code), [english.languages.get(code)])
    for tag, besides in BESIDES.items():
        add(canonical(tag), besides)
    for code in own:
        add(canonical(code), [Locale(code).languages.get(code)])
    for code in VARIANTS:
        add(canonical(code), [english.languages.get(code)])
    for code in ("zh_Hans", "zh_Hant"):
        add(canonical(code), [english.languages.get(code)])
    for code, called in registered():
        if canonical(code) in known:
            add(canonical(code), (name for name in called if "," not in name))
    for code, name in english.languages.items():
        if "_" not in code and code not in NO_LANGUAGE and len(code) > 1 and "languages" not in name:
            add(canonical(code), [name])
    return {("" if tag.split("-")[0] in known else "?") + tag: names[tag] for tag in sorted(names)}


def within() -> dict[str, list[str]]:
    """What may stand in brackets after a language's name: scripts and territories, in English and where they are."""
    english = Locale("en")
    found = {"Hans": ["Simplified", "简体"], "Hant": ["Traditional", "繁體", "繁体"]}
    for code in SCRIPTS:
        found.setdefault(code, []).append(english.scripts[code])
    for code, name in sorted(english.territories.items()):
        if len(code) == 2 and code not in ("ZZ", "EU", "EZ", "UN", "QO", "XA", "XB"):
            found[code] = [name]
    found["BR"] += ["Brasil", "Brazilian"]
    found["PT"] += ["European"]
    found["US"] += ["USA", "American"]
    found["GB"] += ["UK", "Great Britain", "British"]
    found["ES"] += ["España"]
    found["MX"] += ["México", "Mexican"]
    found["CA"] += ["Canadian"]
    found["CN"] += ["Mainland China", "PRC"]
    found["419"] = ["Latin America", "Latin American"]
    return found


def main() -> None:
    for tag, names in table().items():
        print(tag, *names, sep="\t")
    print()
    for subtag, names in within().items():
        print(subtag, *names, sep="\t")


if __name__ == "__main__":
    sys.exit(main())
