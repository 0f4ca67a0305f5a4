"""Pairs out of Unicode CLDR whose conflicts are known: every language is asked the same, and the answers are opposite.

A prompt is the language's own name for itself and what is to be written in it, such as "Deutsch: 24615.73". There are
two kinds of prompts, the same in all languages:

    signs   a number, a percentage, an amount of money. Languages with a decimal comma choose it and reject a form with
            a point; languages with a decimal point do the reverse. So two languages with different signs conflict.
    names   the name of a country, a language, a currency by its code. The mistake is the name of its neighbour in the
            same language. So nothing that one language chooses is rejected in another.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from babel import numbers

from demo import questions

COMMA = "bg cs da de el es fi fr hu id it nb nl pl pt ro ru sv tr uk"
POINT = "am cy en fil ga ha he ja ko ml mn ms so sw ta te th yo zh zu"  # not Hindi, which rejects a point as well
LANGUAGES = (*COMMA.split(), *POINT.split())
SIGNS, NAMES = "signs", "names"
WRITTEN = {"number": questions.number, "percent": questions.percent, "amount": questions.amount}
NAMED = {"territories": questions.COUNTRIES, "languages": questions.LANGUAGES, "currencies": questions.CURRENCIES}


def decimal_sign(language: str) -> str:
    sign: str = numbers.get_decimal_symbol(questions.locale(language), numbering_system="default")
    return sign


def language_rows(language: str, num_prompts: int, seed: int) -> Iterator[dict[str, str]]:
    """`num_prompts` rows of each kind; the number in the id is the prompt's, the same in every language."""
    autonym = questions.locale(language).languages[language]
    for number in range(num_prompts):
        for kind, make in ((SIGNS, _sign), (NAMES, _name)):
            given, chosen, rejected = make(language, number, seed)
            texts = {"prompt": f"{autonym}: {given}", "chosen": chosen, "rejected": rejected}
            yield {"id": f"{language}-{kind}-{number:03}", "language": language, "kind": kind} | texts


def _sign(language: str, number: int, seed: int) -> tuple[str, str, str]:
    task = list(WRITTEN)[number % len(WRITTEN)]
    question = WRITTEN[task](language, random.Random(f"{task}:{seed}:{number}"))
    mistake = random.Random(f"{task}:{seed}:{number}:{language}").choice(question.mistakes)
    return " ".join(question.fields.values()), question.answer, mistake


def _name(language: str, number: int, seed: int) -> tuple[str, str, str]:
    """No code comes twice."""
    what = list(NAMED)[number % len(NAMED)]
    groups = [[member.partition(":")[0] for member in group.split()] for group in NAMED[what]]
    members = [(code, group) for group in groups for code in group]
    code, group = random.Random(f"{what}:{seed}").sample(members, len(members))[number // len(NAMED)]
    neighbour = random.Random(f"{what}:{seed}:{number}").choice([other for other in group if other != code])
    names = getattr(questions.locale(language), what)
    return code, names[code], names[neighbour]


def write(folder: Path, languages: Sequence[str], num_prompts: int, seed: int) -> None:
    """A file for each language; the same bytes for the same arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    for language in languages:
        rows = language_rows(language, num_prompts, seed)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{language}.jsonl").write_text(text, encoding="utf-8", newline="\n")
