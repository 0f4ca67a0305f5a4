"""Which language an answer is in: what a data set's name of one means, and that only what is sure is called wrong."""

import json
from pathlib import Path

import pytest

from congrad.languages.identify import (
    Identified,
    accepted,
    decide,
    identify_languages,
    language_report,
    num_letters,
    prose,
)

SENTENCES = {
    "ar": "تشرق الشمس في الصباح وتغرب في المساء خلف الجبال البعيدة.",
    "de": "Die Sonne geht am Morgen auf und am Abend hinter den fernen Bergen unter.",
    "en": "The sun rises in the morning and sets behind the distant mountains in the evening.",
    "es": "El sol sale por la mañana y se pone por la tarde detrás de las montañas lejanas.",
    "fr": "Le soleil se lève le matin et se couche le soir derrière les montagnes lointaines.",
    "hi": "सूरज सुबह निकलता है और शाम को दूर के पहाड़ों के पीछे डूब जाता है।",
    "ja": "太陽は朝に昇り、夕方には遠い山々の向こうに沈みます。",
    "ko": "해는 아침에 떠서 저녁이면 먼 산 너머로 집니다.",
    "ru": "Солнце встаёт утром и заходит вечером за далёкими горами.",
    "sw": "Jua huchomoza asubuhi na kuzama jioni nyuma ya milima ya mbali.",
    "th": "ดวงอาทิตย์ขึ้นในตอนเช้าและตกในตอนเย็นหลังภูเขาที่อยู่ห่างไกล",
    "zh": "太阳早上升起，傍晚落到远处的群山后面。",
}
PROMPTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "prompts"


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (("de", "DE", "deu", "ger", "de-AT", "de_DE.UTF-8", "German", "german"), {"de"}),
        (("pt", "pt-BR", "pt_PT", "por_Latn", "Portuguese (Brazil)"), {"pt"}),
        (("zh", "zh-Hans", "zh-TW", "zho_Hant", "cmn", "Chinese (Simplified)", "Mandarin"), {"zh"}),
        (("iw", "he", "heb"), {"he"}),
        (("tl", "fil", "tgl", "Tagalog", "Filipino"), {"fil"}),
        (("arb", "ar-EG", "Arabic"), {"ar"}),
        (("swh", "sw"), {"sw"}),
        (("no", "nor", "nb", "nn", "Norwegian"), {"nb", "nn"}),
        (("hr", "sr", "sr-Latn", "hbs", "Croatian"), {"bs", "hr", "sr"}),
        (("id", "ms", "zsm"), {"id", "ms"}),
        (("xx", "Klingon", "12", "", "x-elvish", "yue", "hi-Latn", "pa-Arab", "am", "a b c", "..", "(en)"), set()),
    ],
)
def test_names_of_languages(names: tuple[str, ...], tags: set[str]) -> None:
    assert {name: accepted(name) for name in names} == dict.fromkeys(names, tags)


def test_sentences_are_on_target_in_their_own_language_and_off_in_another() -> None:
    texts, names = list(SENTENCES.values()), list(SENTENCES)
    assert identify_languages(texts, names) == [Identified(name, False) for name in names]
    others = names[1:] + names[:1]
    assert identify_languages(texts, others) == [Identified(name, True) for name in names]


def test_what_cannot_be_told_is_not_wrong() -> None:
    texts = [
        "OK",
        "Paris, London",
        "42 + 8 = 50",
        "```python\nfor word in sentence.split():\n    print(word, 'is a word of the sentence')\n```",
        "Siehe https://example.org/this-is-a-long-link-of-english-words-in-a-row",
        "",
        "\ud800" * 40,
        "አማርኛ የኢትዮጵያ መንግሥት የሥራ ቋንቋ ነው",
    ]
    assert identify_languages(texts, ["de"] * len(texts)) == [Identified(None, None)] * len(texts)


def test_an_unknown_language_is_never_wrong() -> None:
    identified = identify_languages([SENTENCES["en"], SENTENCES["zh"]], ["Klingon", "hi-Latn"])
    assert identified == [Identified("en", None), Identified("zh", None)]


def test_what_is_asked_in_chinese_may_be_answered_in_few_characters() -> None:
    assert num_letters("Straße, 12") == 6
    assert num_letters("太阳早上升起，") == 18
    assert num_letters("해는 アメ") == 12
    assert identify_languages(["我不知道你在说什么"], ["de"]) == [Identified("zh", True)]


def test_code_and_links_are_no_prose() -> None:
    text = "Nimm `print(x)` <b>so</b>:\n```py\nx = 1\n```\nund www.example.org/a, a@b.org; 1 < 2 > 1\n```unclosed"
    assert prose(text).split() == ["Nimm", "so", ":", "und", ";", "1", "<", "2", ">", "1"]


def test_a_doubtful_case_is_left_open() -> None:
    de = frozenset({"de"})
    assert decide({"de": 0.6, "en": 0.4}, de) == Identified("de", False)
    assert decide({"de": 0.45, "en": 0.4, "fr": 0.15}, de) == Identified(None, None)
    assert decide({"en": 0.85, "de": 0.15}, de) == Identified(None, None)
    assert decide({"en": 0.7, "fr": 0.25, "de": 0.05}, de) == Identified("en", True)
    assert decide({"hr": 0.5, "bs": 0.45, "de": 0.05}, frozenset({"bs", "hr", "sr"})) == Identified("hr", False)
    assert decide({"de": 0.0, "en": 0.0}, de) == Identified(None, None)
    assert decide({"en": 0.95, "de": 0.05}, frozenset()) == Identified("en", None)
    assert decide({"en": 0.85, "de": 0.15}, frozenset()) == Identified(None, None)


def test_rates_are_of_what_could_be_told() -> None:
    identified = [
        Identified("en", True),
        Identified("de", False),
        Identified("de", False),
        Identified("fr", True),
        Identified(None, None),
        Identified(None, None),
        Identified("en", None),
    ]
    assert language_report(identified, ["de", "de", "de", "de", "de", "fr", "Klingon"]) == {
        "languages": {
            "Klingon": {"answers": 1, "told": 0, "off_target": 0, "off_target_rate": None, "instead": {}},
            "de": {"answers": 5, "told": 4, "off_target": 2, "off_target_rate": 0.5, "instead": {"en": 1, "fr": 1}},
            "fr": {"answers": 1, "told": 0, "off_target": 0, "off_target_rate": None, "instead": {}},
        },
        "unknown": ["Klingon"],
    }


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="needs the prompts of shared/data")
def test_real_prompts_in_eleven_languages_are_hardly_ever_called_wrong() -> None:
    rows = [
        json.loads(line)
        for path in sorted(PROMPTS.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()[:40]
    ]
    texts, languages = [row["prompt"] for row in rows], [row["language"] for row in rows]
    wrong = [each.off_target for each in identify_languages(texts, languages)]
    assert wrong.count(True) <= 0.005 * len(rows)
    others = sorted(set(languages))
    swapped = [others[(others.index(language) + 1) % len(others)] for language in languages]
    caught = [each.off_target for each in identify_languages(texts, swapped)]
    assert caught.count(True) >= 0.95 * len(rows)
