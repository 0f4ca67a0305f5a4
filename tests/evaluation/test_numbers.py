"""Numbers as people write them in many languages."""

from decimal import Decimal

import pytest

from congrad.evaluation.numbers import last_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("first 3, then 18.", "18"),
        ("18.00", "18"),
        ("70.000 US-Dollar", "70000"),
        ("it is 70,000.", "70000"),
        ("1 234 567 €", "567"),  # a plain space may as well part two numbers
        ("1\u202f234\u202f567 €", "1234567"),
        ("1’000", "1000"),
        ("12.5", "12.5"),
        ("12,5 Euro", "12.5"),
        ("0.125", "0.125"),
        ("1,2345", "1.2345"),
        ("1,234.567", "1234.567"),
        ("1.234.567,89", "1234567.89"),
        ("x = -5", "-5"),
        ("−5", "-5"),
        ("10-5", "5"),
        ("costs $18!", "18"),
        ("20%", "20"),
        ("答案是70,000元。", "70000"),
        ("৩ টি", "3"),
        ("١٬٢٣٤٫٥", "1234.5"),
        ("๑๘ บาท", "18"),
        ("1000000", "1000000"),
    ],
)
def test_the_last_number(text, number):
    assert last_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none at all", "三", "."])
def test_no_number(text):
    assert last_number(text) is None
