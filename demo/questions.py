"""Questions out of Unicode CLDR: what a language calls things, and how it writes numbers, dates, times and lists.

Each task draws a `Question`: the fields of its prompt, the answer as CLDR has it, and the plausible mistakes, which are
a neighbour's value or another language's form. `phrasings/{language}.toml` has the words around them. A mistake may
look like the answer (April is April in German too): whoever pairs the two checks it.
"""

from __future__ import annotations

import datetime
import random
import tomllib
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

from babel import Locale, dates, lists, numbers, units

PHRASINGS = Path(__file__).parent / "phrasings"

# The languages that a mistake is taken from: the neighbours in script or on the keyboard.
FOREIGN = {
    "ar": ("en", "fr"),
    "de": ("en", "fr"),
    "el": ("en", "fr"),
    "en": ("de", "fr", "es"),
    "es": ("en", "fr"),
    "fr": ("en", "es"),
    "hi": ("en",),
    "ja": ("en", "zh"),
    "ko": ("en", "ja"),
    "ru": ("en", "de"),
    "th": ("en",),
    "tr": ("en", "de"),
    "zh": ("en", "ja"),
}
# Whose numbers are wrong beside a decimal sign. Only the sign makes a form wrong for good: Spanish and German may also
# group by spaces.
FOREIGN_NUMBERS = {",": ("en",), ".": ("de", "fr"), "٫": ("en", "de")}

COUNTRIES = (
    "DE AT CH PL",
    "FR ES PT IT",
    "SE NO FI DK",
    "GR RO BG HU",
    "TR GE KZ UZ",
    "EG MA TN DZ",
    "JP KR CN MN",
    "TH VN LA KH",
    "IN NP LK BD",
    "BR AR CL PE",
    "KE TZ UG ET",
)
LANGUAGES = (
    "de nl da sv",
    "fr es it pt",
    "ru uk pl cs",
    "el bg ro hu",
    "tr az kk uz",
    "ar fa he ur",
    "hi bn ne ta",
    "th lo km vi",
    "ja ko zh mn",
)
CURRENCIES = (  # code and the country that pays with it
    "CHF:CH SEK:SE NOK:NO DKK:DK",
    "PLN:PL CZK:CZ HUF:HU RON:RO",
    "TRY:TR GEL:GE KZT:KZ UZS:UZ",
    "EGP:EG MAD:MA TND:TN DZD:DZ",
    "JPY:JP KRW:KR CNY:CN MNT:MN",
    "THB:TH VND:VN LAK:LA KHR:KH",
    "INR:IN NPR:NP LKR:LK BDT:BD",
    "BRL:BR ARS:AR CLP:CL PEN:PE",
    "KES:KE TZS:TZ ETB:ET UGX:UG",
)
# None starts with i or o in Spanish, where "y" and "o" would turn into "e" and "u".
LISTED = ["JP", "PE", "KE", "DE", "FR", "PT", "CL", "EG", "TR", "GR", "TH", "VN", "MA", "BR", "NO"]
UNITS = {  # symbol: CLDR unit and the unit it is mistaken for
    "km": ("length-kilometer", "length-meter"),
    "m": ("length-meter", "length-kilometer"),
    "kg": ("mass-kilogram", "mass-gram"),
    "g": ("mass-gram", "mass-kilogram"),
    "h": ("duration-hour", "duration-second"),
    "s": ("duration-second", "duration-hour"),
}
COLLOQUIAL_KILOGRAM = {"ar", "ru"}  # CLDR leaves the noun uninflected there, which a school would mark


class Question(NamedTuple):
    """A question before it is phrased; `phrasing` names its prompts in the language's file."""

    phrasing: str
    fields: dict[str, str]
    answer: str
    mistakes: list[str]


@cache
def locale(language: str) -> Locale:
    return Locale.parse("ar_EG" if language == "ar" else language)  # Egypt: Arabic with its own digits


@cache
def phrasings(language: str) -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((PHRASINGS / f"{language}.toml").read_text(encoding="utf-8"))


def inflect(language: str, name: str) -> str:
    forms: dict[str, str] = phrasings(language).get("forms", {})  # type: ignore[assignment]
    return forms.get(name, name)


def draw_group(groups: tuple[str, ...], draw: random.Random) -> tuple[str, list[str]]:
    """One member of one group, and the rest of the group as its neighbours."""
    group = draw.choice(groups).split()
    code = draw.choice(group)
    return code, [other for other in group if other != code]


# Names


def country(language: str, draw: random.Random) -> Question:
    code, neighbours = draw_group(COUNTRIES, draw)
    # 葡萄牙 and 印度 are Chinese, and old Japanese.
    others = [other for other in FOREIGN[language] if (language, other) != ("ja", "zh")]
    foreign = [locale(other).territories[code] for other in others]
    names = locale(language).territories
    mistakes = [names[other] for other in neighbours] + foreign
    phrasing = draw.choice(("code", "foreign"))
    return Question(phrasing, {"code": code, "name": draw.choice(foreign)}, names[code], mistakes)


def language_name(language: str, draw: random.Random) -> Question:
    code, neighbours = draw_group(LANGUAGES, draw)
    names = locale(language).languages
    mistakes = [names[other] for other in neighbours] + [locale(other).languages[code] for other in FOREIGN[language]]
    fields = {"code": code, "name": Locale.parse(code).languages[code]}
    return Question(draw.choice(("code", "native")), fields, names[code], mistakes)


def currency(language: str, draw: random.Random) -> Question:
    member, neighbours = draw_group(CURRENCIES, draw)
    code, territory = member.split(":")
    names = locale(language).currencies
    mistakes = [names[other.split(":")[0]] for other in neighbours]
    mistakes += [locale(other).currencies[code] for other in FOREIGN[language]]
    fields = {"code": code, "name": locale(language).territories[territory]}
    return Question(draw.choice(("code", "country")), fields, names[code], mistakes)


def weekdays(language: str) -> list[str]:
    return [dates.get_day_names("wide", "stand-alone", locale(language))[index] for index in range(7)]


def weekday(language: str, draw: random.Random) -> Question:
    names, day = weekdays(language), draw.randrange(7)
    phrasing, step = draw.choice((("after", 1), ("before", -1)))
    answer = (day + step) % 7
    mistakes = [names[(day - step) % 7], names[(day + 2 * step) % 7]]
    mistakes += [weekdays(other)[answer] for other in FOREIGN[language]]
    return Question(phrasing, {"day": inflect(language, names[day])}, names[answer], mistakes)


def months(language: str) -> list[str]:
    # The stand-alone form is the nominative where months inflect; babel's Korean and Chinese ones are numerals.
    context = "stand-alone" if language in {"ru", "el"} else "format"
    return [dates.get_month_names("wide", context, locale(language))[index] for index in range(1, 13)]


def month(language: str, draw: random.Random) -> Question:
    names, answer = months(language), draw.randrange(12)
    before = names[(answer - 1) % 12]
    fields = {"number": str(answer + 1), "month": inflect(language, before)}
    # 四月 and 4月 are both right in Chinese and in Japanese.
    foreign = [other for other in FOREIGN[language] if {language, other} != {"ja", "zh"}]
    mistakes = [before, names[(answer + 1) % 12]] + [months(other)[answer] for other in foreign]
    return Question(draw.choice(("number", "after")), fields, names[answer], mistakes)


# Written conventions


def foreign_numbers(language: str) -> tuple[str, ...]:
    sign = numbers.get_decimal_symbol(locale(language), numbering_system="default")
    return ("en", "de") if language == "hi" else FOREIGN_NUMBERS[sign]  # Hindi groups by two: lakh and crore


def native_digits(language: str, text: str) -> str:
    """`text` in the language's own digits: babel takes the separators of a numbering system and leaves its digits."""
    return text.translate(str.maketrans("0123456789%", "٠١٢٣٤٥٦٧٨٩٪")) if language == "ar" else text


def written_number(language: str, number: Decimal) -> str:
    return native_digits(language, numbers.format_decimal(number, locale=locale(language), numbering_system="default"))


def number(language: str, draw: random.Random) -> Question:
    # Five digits and more: below, Spanish does not group. The last decimal is no zero, so every form keeps both.
    digits = draw.choice((5, 6, 7))
    whole = draw.randrange(10 ** (digits - 1), 10**digits)
    value = Decimal(f"{whole}.{draw.randint(0, 9)}{draw.randint(1, 9)}")
    mistakes = [written_number(other, value) for other in foreign_numbers(language)]
    return Question("write", {"number": str(value)}, written_number(language, value), mistakes)


def written_percent(language: str, ratio: Decimal) -> str:
    place = locale(language)
    text = numbers.format_percent(ratio, locale=place, decimal_quantization=False, numbering_system="default")
    return native_digits(language, text)


def percent(language: str, draw: random.Random) -> Question:
    ratio = Decimal(draw.randint(2, 98) * 10 + draw.randint(1, 9)) / 1000
    mistakes = [written_percent(other, ratio) for other in foreign_numbers(language)]
    return Question("write", {"number": str(ratio)}, written_percent(language, ratio), mistakes)


def written_amount(language: str, amount: Decimal, code: str) -> str:
    text = numbers.format_currency(amount, code, locale=locale(language), numbering_system="default")
    return native_digits(language, text)


def amount(language: str, draw: random.Random) -> Question:
    code = draw.choice(("EUR", "USD", "GBP"))
    value = Decimal(draw.randint(1_000_000, 99_999_999)) / 100
    mistakes = [written_amount(other, value, code) for other in foreign_numbers(language)]
    fields = {"amount": f"{value:.2f}", "currency": code}
    return Question("write", fields, written_amount(language, value, code), mistakes)


def numeric_date(language: str, day: datetime.date) -> str:
    return native_digits(language, dates.format_skeleton("yMd", day, locale=locale(language)))


def long_date(language: str, day: datetime.date) -> str:
    return native_digits(language, dates.format_date(day, "long", locale=locale(language)))


def date(language: str, draw: random.Random) -> Question:
    # Day and month may change places and differ: the American order is then another date. No first of the month,
    # which French writes 1er and CLDR does not.
    first, second = draw.sample(range(2, 13), 2)
    year = draw.randint(1960, 2029)
    day, swapped = datetime.date(year, first, second), datetime.date(year, second, first)
    phrasing = draw.choice(("numeric", "long"))
    written = numeric_date if phrasing == "numeric" else long_date
    foreign = FOREIGN[language] if phrasing == "long" else ("es",) if language == "en" else ("en",)
    mistakes = [written(language, swapped)] + [written(other, day) for other in foreign]
    return Question(phrasing, {"iso": day.isoformat()}, written(language, day), mistakes)


def written_time(language: str, moment: datetime.time) -> str:
    pattern = "aaaa h:mm" if language == "ko" else "short"  # babel's short Korean form says PM
    return native_digits(language, dates.format_time(moment, pattern, locale=locale(language)))


def time(language: str, draw: random.Random) -> Question:
    hour, minute = draw.randint(13, 23), draw.randint(1, 59)
    answer = written_time(language, datetime.time(hour, minute))
    morning = written_time(language, datetime.time(hour - 12, minute))
    clock_24 = f"{hour:02}:{minute:02}"
    other_clock = f"{hour - 12}:{minute:02} PM" if answer == clock_24 else clock_24
    return Question("write", {"time": other_clock}, answer, [morning, other_clock])


def list_(language: str, draw: random.Random) -> Question:
    names = [locale(language).territories[code] for code in draw.sample(LISTED, 3)]
    mistakes = [lists.format_list(names, "or", locale(language))]
    mistakes += [lists.format_list(names, "standard", locale(other)) for other in FOREIGN[language]]
    answer = lists.format_list(names, "standard", locale(language))
    return Question("write", {"items": " / ".join(names)}, answer, mistakes)


def written_unit(language: str, quantity: Decimal, name: str) -> str | None:
    """The quantity with the unit's name, or None where CLDR, as babel packs it, has no name."""
    text = units.format_unit(quantity, name, locale=locale(language), numbering_system="default")
    return None if name in text else native_digits(language, text)


def unit(language: str, draw: random.Random) -> Question | None:
    symbol = draw.choice(sorted(UNITS))
    quantity = Decimal(draw.randint(3, 29)) + draw.choice((Decimal(0), Decimal("0.5")))
    name, neighbour = UNITS[symbol]
    answer = written_unit(language, quantity, name)
    if answer is None or (symbol == "kg" and language in COLLOQUIAL_KILOGRAM):
        return None
    mistakes = [written_unit(language, quantity, neighbour)]
    mistakes += [written_unit(other, quantity, name) for other in FOREIGN[language]]
    models = (1, 2, 5) if quantity % 1 == 0 else ()  # whose plural forms may differ; with fractions usage wavers
    for model in map(Decimal, models):
        form = written_unit(language, model, name)
        if form and form.startswith(written_number(language, model)):
            mistakes.append(written_number(language, quantity) + form.removeprefix(written_number(language, model)))
    return Question("write", {"quantity": f"{quantity} {symbol}"}, answer, [text for text in mistakes if text])


Task = Callable[[str, random.Random], Question | None]
NAMES: dict[str, Task] = {
    "country": country,
    "language": language_name,
    "currency": currency,
    "weekday": weekday,
    "month": month,
}
CONVENTIONS: dict[str, Task] = {
    "number": number,
    "percent": percent,
    "amount": amount,
    "date": date,
    "time": time,
    "list": list_,
    "unit": unit,
}
