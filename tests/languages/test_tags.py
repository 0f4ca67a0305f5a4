"""Names of languages: what a tag may mean, what is no language, and that no known language lacks its names."""

import random

import pytest
from babel import Locale, localedata

from congrad.languages.identify import known
from congrad.languages.names import folded, names
from congrad.languages.tags import languages_of, merge_region, parse, tag_of

GERMAN = ("de", "DE", " de", "de\n", "deu", "ger", "DEU", "deu_Latn", "deu-latn", "German", "GERMAN", "Deutsch")
TAGS = {
    **dict.fromkeys((*GERMAN, "German (Deutsch)", "German (de)"), "de"),
    **dict.fromkeys(
        ("zho_Hans", "zh-Hans", "cmn_Hans", "Chinese (Simplified)", "Simplified Chinese", "简体中文"), "zh-Hans"
    ),
    **dict.fromkeys(("zho_Hant", "ZH-HANT", "Chinese (Traditional)", "中文（繁體）"), "zh-Hant"),
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "Chinese", "Mandarin Chinese", "中文", "Chinese (Mandarin)"), "zh"),
    **dict.fromkeys(("pt_BR", "pt-br", "Portuguese (Brazil)", "Brazilian Portuguese", "Portuguese (BR)"), "pt-BR"),
    **dict.fromkeys(
        ("en-US", "en_US.UTF-8", "en_us", "English (United States)", "eng-US", "American English"), "en-US"
    ),
    **dict.fromkeys(("ar", "arb", "arb_Arab", "ara", "Arabic", "Modern Standard Arabic", "العربية"), "ar"),
    **dict.fromkeys(("fa", "per", "fas", "pes", "pes_Arab", "Persian", "Farsi", "Persian (Farsi)", "فارسی"), "fa"),
    **dict.fromkeys(("sw", "swa", "swh", "swh_Latn", "Swahili", "Kiswahili", "Swahili (macrolanguage)"), "sw"),
    **dict.fromkeys(("fr", "fre", "fra", "French", "français", "francais", "FRANÇAIS", "franc\u0327ais"), "fr"),
    **dict.fromkeys(("ms", "zsm", "zsm_Latn", "may", "Malay"), "ms"),
    **dict.fromkeys(("es", "Spanish; Castilian", "Español", "Castilian"), "es"),
    **dict.fromkeys(("he", "iw", "עברית"), "he"),
    **dict.fromkeys(("fil", "tl", "tgl_Latn", "Tagalog", "Filipino"), "fil"),
    **dict.fromkeys(("ru", "русский", "РУССКИЙ"), "ru"),
    **dict.fromkeys(("hi", "hin_Deva", "हिन्दी"), "hi"),
    "in": "id",
    "ji": "yi",
    "mo": "ro",
    "sh": "sr-Latn",
    "日本語": "ja",
    "한국어": "ko",
    "Türkçe": "tr",
    "turkce": "tr",
    "hin_Latn": "hi-Latn",
    "sr-Latn": "sr-Latn",
    "srp_Cyrl": "sr-Cyrl",
    "Serbian (Latin)": "sr-Latn",
    "quy_Latn": "quy",
    "quy": "quy",
    "uzn_Latn": "uz",
    "khk_Cyrl": "mn",
    "kas_Deva": "ks-Deva",
    "kas_Arab": "ks",
    "yue_Hant": "yue-Hant",
    "Cantonese": "yue",
    "Chinese (Cantonese)": "yue",
    "Kurdish (Sorani)": "ckb",
    "es-419": "es-419",
    "Norwegian": "no",
    "nob_Latn": "nb",
    "Norwegian Bokmål": "nb",
    "Klingon": "tlh",
}
# Registered languages of ISO 639-3 have some of these letters.
NONE = [
    "train",
    "dpo",
    "sft",
    "new_data",
    "python",
    "0",
    "1.5",
    "",
    " ",
    "xx",
    "x-elvish",
    "und",
    "mul",
    "a b c",
    "(en)",
]
NONE += ["German (formal)", "German (Brazilian rules)", "de-train", "i-default", "de" * 100, "()", "-", "..", "ger man"]
WORDS = "test dev all new raw data dpo sft mix train val main out tmp old one two gen final clean rm kto hh min may run"


@pytest.mark.parametrize(("name", "tag"), TAGS.items())
def test_the_tag_of_a_name(name: str, tag: str) -> None:
    assert tag_of(name) == tag
    assert tag_of(f"\t{name} \r\n") == tag


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_language(name: str) -> None:
    assert tag_of(name) is None
    assert tag_of(name, strict=True) is None


@pytest.mark.parametrize(
    "name", [*WORDS.split(), "train_prefs", "test-sft", "Java", "lua", "en-de", "de_en", "Meta", "Ga"]
)
def test_words_of_file_names_are_no_languages(name: str) -> None:
    assert tag_of(name, strict=True) in (None, "ga" if name == "Ga" else None)


@pytest.mark.parametrize(
    "name", ["de", "en", "deu", "deu_Latn", "zho_Hans", "pt-br", "en-US", "ca-ES", "fr-ca", "hin", "quy"]
)
def test_strict_takes_codes(name: str) -> None:
    assert tag_of(name, strict=True) == tag_of(name) is not None


@pytest.mark.parametrize("name", ["german", "Deutsch", "中文", "Chinese (Simplified)", "brazilian_portuguese", "Urdu"])
def test_strict_takes_full_names(name: str) -> None:
    assert tag_of(name, strict=True) == tag_of(name) is not None


def test_a_tag_is_its_own_tag() -> None:
    tags = {*names().tags.values(), *TAGS.values(), "zh-TW", "pt-PT", "sr-Cyrl", "ca-ES-valencia", "de-1996", "pa-Arab"}
    assert {tag: tag_of(tag) for tag in tags} == {tag: tag for tag in tags}


def test_names_in_any_case_and_spacing_mean_the_same() -> None:
    draw = random.Random(0)
    for name, tag in draw.sample(sorted(names().tags.items()), 300):
        spaced = "  ".join(name.split(" "))
        assert {tag_of(name), tag_of(spaced), tag_of(f" {name}\n"), tag_of(name.title())} <= {tag, tag_of(name)}


@pytest.mark.parametrize(
    ("tag", "merged"),
    [
        *(
            ("pt-BR", "pt"),
            ("pt-PT", "pt"),
            ("pt", "pt"),
            ("es-419", "es"),
            ("zh-Hans", "zh-Hans"),
            ("zh-TW", "zh-Hant"),
        ),
        *(("zh-CN", "zh-Hans"), ("zh-Hant-HK", "zh-Hant"), ("pa-PK", "pa-Arab"), ("sr-ME", "sr-Latn"), ("fa-AF", "fa")),
        *(("de-AT-1996", "de-1996"), ("hi-Latn", "hi-Latn")),
    ],
)
def test_regions_are_joined_and_scripts_stay_apart(tag: str, merged: str) -> None:
    assert merge_region(tag) == merged


def test_every_language_of_the_cldr_is_found_by_its_names() -> None:
    """Some 300 languages; a newer CLDR may have languages and spellings that the table lacks, but not many."""
    missing = []
    codes = sorted({each.split("_")[0] for each in localedata.locale_identifiers()} - {"root", "tok"})
    english = Locale("en").languages
    for code in codes:
        for name in (english.get(code), Locale(code).languages.get(code)):
            if name is not None and tag_of(name) != tag_of(code):
                missing.append((code, name, tag_of(name)))
    assert len(codes) > 250
    assert len(missing) <= 12, missing


def test_the_table_is_small_and_its_names_are_unique() -> None:
    from congrad.languages import names as module

    text = module.Path(module.__file__).with_name("names.txt").read_text("utf-8")
    assert len(text.encode()) < 40_000
    languages = text.split("\n\n")[0].splitlines()
    keys = [folded(name) for line in languages for name in line.split("\t")[1:]]
    assert len(keys) == len(set(keys)) > 900


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("deu", {"de"}),
        ("Chinese (Simplified)", {"zh"}),
        ("cmn", {"zh"}),
        ("yue", {"yue"}),
        ("am", {"am"}),
        ("sr-Latn", {"bs", "hr", "sr"}),
        ("Norwegian", {"nb", "nn"}),
        ("no language", set()),
        ("", set()),
    ],
)
def test_what_a_name_may_mean(name, languages):
    assert languages_of(name) == languages


def test_script_and_region_are_kept_in_the_tag():
    tag = parse("zho_Hant_TW")
    assert (tag.language, tag.script, tag.territory) == ("zh", "Hant", "TW")
    assert parse("a b c") is None


def test_every_language_that_lingua_knows_has_its_english_name():
    assert {each.name.lower(): tag_of(each.name) for each in known().values()} == {
        each.name.lower(): tag_of(tag) for tag, each in known().items()
    }
