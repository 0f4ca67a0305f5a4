"""The demo pairs: what is committed is what the generator makes, and every pair asks for something a reader can see."""

import json
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from datetime import date, time
from decimal import Decimal
from pathlib import Path

import pytest

babel = pytest.importorskip("babel")
DEMO = Path(__file__).parents[2] / "demo"
sys.path.insert(0, str(DEMO))

import generate  # noqa: E402
import questions  # noqa: E402

COLUMNS = ["id", "language", "task", "prompt", "chosen", "rejected"]


def committed() -> list[dict[str, str]]:
    paths = sorted((DEMO / "pairs").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


ROWS = committed()


def test_regenerating_gives_the_committed_bytes(tmp_path: Path) -> None:
    assert f"babel {generate.MADE_WITH_BABEL}" in (DEMO / "README.md").read_text(encoding="utf-8")
    if babel.__version__ != generate.MADE_WITH_BABEL:
        pytest.skip(f"the pairs are made with babel {generate.MADE_WITH_BABEL}, this is {babel.__version__}")
    script = [sys.executable, str(DEMO / "generate.py")]
    subprocess.run([*script, "--output", str(tmp_path), "--pairs", "48", "--seed", "0"], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (DEMO / "pairs").iterdir()}


def test_another_seed_gives_other_rows_and_fewer_pairs_a_prefix() -> None:
    rows = generate.language_rows("de", 24, seed=0)
    assert rows == generate.language_rows("de", 48, seed=0)[:24]
    prompts = {row["prompt"] for row in rows}
    assert len(prompts - {row["prompt"] for row in generate.language_rows("de", 24, seed=1)}) > 12


def test_more_pairs_than_prompts_is_refused_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^--pairs: de has \d+ prompts of the task weekday; ask for fewer pairs$"):
        generate.language_rows("de", 900, seed=0)


def test_rows_have_the_columns_and_no_empty_field() -> None:
    for row in ROWS:
        assert list(row) == COLUMNS
        assert all(isinstance(value, str) and value == value.strip() != "" for value in row.values()), row
        assert not any("{" in value or "}" in value for value in row.values()), row
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({(row["language"], row["prompt"]) for row in ROWS}) == len(ROWS)


def test_languages_tasks_and_size() -> None:
    pairs = Counter(row["language"] for row in ROWS)
    assert len(pairs) >= 10
    assert set(pairs.values()) == {48}
    assert {(row["language"], row["task"]) for row in ROWS} == {
        (code, task) for code in pairs for task in generate.TASKS
    }
    assert sum(path.stat().st_size for path in (DEMO / "pairs").iterdir()) < 400_000


def test_the_languages_are_written_in_at_least_five_scripts() -> None:
    scripts = set()
    for language in {row["language"] for row in ROWS}:
        prompts = "".join(row["prompt"] for row in ROWS if row["language"] == language)
        names = Counter(unicodedata.name(char).split()[0] for char in prompts if char.isalpha())
        scripts.add(names.most_common(1)[0][0])
    assert {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "DEVANAGARI", "THAI", "HANGUL"} <= scripts
    assert any(unicodedata.bidirectional(char) == "AL" for row in ROWS for char in row["prompt"])


def test_a_reader_sees_the_difference_and_the_prompt_does_not_give_it_away() -> None:
    for row in ROWS:
        chosen = generate.visible(row["chosen"])
        assert chosen != generate.visible(row["rejected"]), row
        assert chosen not in generate.visible(row["prompt"]), row


def test_visible_leaves_out_what_cannot_be_seen() -> None:
    assert generate.visible("12\N{NO-BREAK SPACE}%") == generate.visible("12%")
    assert generate.visible("\N{RIGHT-TO-LEFT MARK}5") == generate.visible("5")
    assert generate.visible("1.234,5") != generate.visible("1,234.5")


def test_languages_conflict() -> None:
    """Some answers are chosen in one language and rejected in another."""
    chosen, rejected = defaultdict(set), defaultdict(set)
    for row in ROWS:
        chosen[row["chosen"]].add(row["language"])
        rejected[row["rejected"]].add(row["language"])
    conflicts = [text for text, languages in chosen.items() if rejected[text] - languages]
    assert len(conflicts) >= 20


@pytest.mark.parametrize(
    ("language", "number"),
    [
        ("de", "1.234.567,89"),
        ("en", "1,234,567.89"),
        ("hi", "12,34,567.89"),
        ("fr", "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567,89"),
        ("ar", "١٬٢٣٤٬٥٦٧٫٨٩"),
    ],
)
def test_numbers(language: str, number: str) -> None:
    assert questions.written_number(language, Decimal("1234567.89")) == number


@pytest.mark.parametrize(
    ("language", "numeric", "long"),
    [
        ("en", "3/5/2024", "March 5, 2024"),
        ("es", "5/3/2024", "5 de marzo de 2024"),
        ("de", "5.3.2024", "5. März 2024"),
        ("ja", "2024/3/5", "2024年3月5日"),
        ("ko", "2024. 3. 5.", "2024년 3월 5일"),
    ],
)
def test_dates(language: str, numeric: str, long: str) -> None:
    assert questions.numeric_date(language, date(2024, 3, 5)) == numeric
    assert questions.long_date(language, date(2024, 3, 5)) == long


def test_names_times_amounts_and_units() -> None:
    assert questions.locale("de").territories["DE"] == "Deutschland"
    assert questions.locale("ar").territories["EG"] == "مصر"
    assert questions.weekdays("th")[0] == "วันจันทร์"
    assert questions.months("ru")[2] == "март"
    assert questions.inflect("ru", "март") == "марта"
    assert questions.months("ko")[2] == "3월"
    assert questions.written_time("ko", time(15, 5)) == "오후 3:05"
    assert questions.written_time("de", time(15, 5)) == "15:05"
    assert questions.written_percent("tr", Decimal("0.125")) == "%12,5"
    assert questions.written_amount("de", Decimal("12345.60"), "EUR") == "12.345,60\N{NO-BREAK SPACE}€"
    assert questions.written_unit("ru", Decimal(5), "length-kilometer") == "5 километров"
    assert questions.written_unit("zh", Decimal(5), "length-kilometer") is None  # babel has no name for it


def test_a_reply_ends_in_one_stop() -> None:
    assert generate.reply("Η ώρα είναι {answer}.", "3:05 μ.μ.") == "Η ώρα είναι 3:05 μ.μ."
    assert generate.reply("Das ist der {answer}.", "Montag") == "Das ist der Montag."


@pytest.mark.parametrize("language", sorted(questions.FOREIGN))
def test_every_phrasing_names_what_it_asks_about(language: str) -> None:
    phrasings = questions.phrasings(language)
    assert set(phrasings) - {"forms"} == set(generate.TASKS)
    for task in generate.TASKS:
        for name, templates in phrasings[task].items():
            assert len(templates) == len(set(templates)) >= 2
            assert all(("{answer}" in template) == (name == "reply") and "{" in template for template in templates)
