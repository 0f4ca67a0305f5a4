"""The last number of an answer, as people write numbers: 70,000 and 70.000, 12.5 and 12,5, ٣ and ৩.

One separator before exactly three digits groups thousands, so 3.141 is three thousand and something: right for the
whole numbers of grade-school maths, wrong for decimals of three digits.
"""

import re
from decimal import Decimal

GROUPS = ".,'’\u066c\u00a0\u202f\u2009"
NUMBER = re.compile(
    r"(?:(?<!\w)(?P<sign>[-−]))?"
    rf"(?:(?!0)(?P<grouped>\d{{1,3}}(?P<group>[{GROUPS}])\d{{3}}(?:(?P=group)\d{{3}})*)(?!\d)|(?P<plain>\d+))"
    r"(?:[.,\u066b](?P<decimals>\d+))?"
)


def last_number(text: str) -> Decimal | None:
    """The last number in a text, None where there is none."""
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    parts = found[-1].groupdict()
    whole = parts["plain"] or "".join(digit for digit in parts["grouped"] if digit not in GROUPS)
    return Decimal(f"{'-' if parts['sign'] else ''}{whole}.{parts['decimals'] or 0}")
