"""What the judge of two answers is asked, and how its verdict is read: a template in, a verdict or nothing out."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Literal

from congrad.errors import UserError
from congrad.selfreward.rubric import AROUND, compatible

Verdict = Literal["first", "second", "tie"]
TEMPLATE = "evaluate.win_rate.template"
PLAIN_ENDING = "\nVerdict:"  # for a model that is not chatted with: the verdict is all that is left to write
OPEN_TOKENS = 16  # room for one, where it is all that is left
MEANING: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}
VERDICT = re.compile(r"verdict\s*[:=]\s*(.*)", re.IGNORECASE)
VALUE = re.compile(r"(?:(?:answer|assistant|response)\s+)?(a|b|tie)\s*[.!,;]?", re.IGNORECASE)


def read_template(path: str | None) -> str:
    """The judge's template: a file of the user's, or the packaged one."""
    if path is None:
        return files("congrad.evaluation").joinpath("judge_pair.txt").read_text(encoding="utf-8")
    try:
        template = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", "check the file", key=TEMPLATE, value=path) from error
    for name in ("prompt", "first", "second"):
        if f"{{{name}}}" not in template:
            fix = "write {prompt}, {first} and {second} where the request and the two answers go"
            raise UserError(f"has no {{{name}}}", fix, key=TEMPLATE, value=path)
    if not re.search(r"verdict\s*[:=]", template, re.IGNORECASE):
        problem = "does not ask for a line like 'Verdict: A', which is what is read"
        raise UserError(problem, "add it", key=TEMPLATE, value=path)
    return template


def ends_open(text: str) -> bool:
    """Whether a text stops after `Verdict:`, so that A, B or tie is all that is left to write."""
    return re.search(r"verdict\s*[:=]\s*\Z", text, re.IGNORECASE) is not None


def read_verdict(text: str, *, cut: bool = False, opened: bool = False) -> Verdict | None:
    """The verdict that a judgement ends in, None where it ends in none.

    The last `Verdict:` decides, and `A`, `B` or `tie` alone may follow on its line (or on the next): anything else,
    and a verdict in reasoning that never ended, is missing data.

    Args:
        text: what the judge wrote.
        cut: the length limit ended it, so a verdict at its very end may lack the rest of a word.
        opened: the judge was given a text that stops after `Verdict:`, so that its first line is the verdict.
    """
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return None
    text = compatible(f"Verdict: {text.lstrip()}" if opened else text).translate(AROUND)
    lines = [line for line in text.splitlines() if line.strip()]
    places = [(number, match[1]) for number, line in enumerate(lines) if (match := VERDICT.search(line))]
    if not places:
        return None
    number, value = places[0] if opened else places[-1]
    if not value.strip() and number + 1 < len(lines):
        number, value = number + 1, lines[number + 1]
    match = VALUE.fullmatch(value.strip())
    if match is None or (cut and number == len(lines) - 1 and not text.endswith(("\n", "\r"))):
        return None
    return MEANING[match[1].lower()]
