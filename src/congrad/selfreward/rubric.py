"""What a judge is asked, and how its score is read: a template in, a number or nothing out.

The packaged templates are an additive five-point rubric after Self-Rewarding Language Models (Yuan et al. 2024, arXiv
2401.10020), in our own words and for answers in any language: `rubric.txt` to instruct a chat model, `rubric_plain.txt`
with examples for a base model to continue.
"""

import re
import unicodedata
from importlib.resources import files
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.settings.evaluation import PLACEHOLDER

TEMPLATE = "judge.template"
HIGHEST = 5.0
NORMALISED_AT_ONCE = 500  # characters; sorting a run of combining marks takes the square of its length

# What Markdown, JSON and quotation put around a score.
AROUND = str.maketrans(dict.fromkeys("*_`#>\"'“”„«»[]{}()<|~$", " "))
# "Score:" at the start of a line or of a sentence. "Relevance score:" is another one.
SCORE = re.compile(
    r"(?:^(?:[-+•]\s+)?|[.!?。:;]\s+|\s[-–—]\s+)"
    r"(?:(?:my|the|so|final|total|overall|judgement|judgment)[,\s]+)*"
    r"score\s*(?:(?:0\s*[-–—]\s*5|/\s*5|out of 5)\s*)?[:=]",
    re.IGNORECASE,
)
VALUE = re.compile(r"(\d(?:[.,]\d)?)(?:\s*(?:/|out of|of)\s*5(?:[.,]0)?)?(?:\s*points?)?\s*[.。!,;]?", re.IGNORECASE)


def read_template(path: str | None, *, chat: bool = True) -> str:
    """The judge's template: a file of the user's, or a packaged one: instructions for `chat`, else examples.

    White space after a `Score:` at its end is taken off: a base model would continue after the line end of the file.
    """
    if path is None:
        packaged = files("congrad.selfreward").joinpath("rubric.txt" if chat else "rubric_plain.txt")
        template = packaged.read_text(encoding="utf-8")
        return template.rstrip() if ends_open(template) else template
    try:
        template = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", "check the path", key=TEMPLATE, value=path) from error
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8", "convert it: iconv -f ITS-ENCODING -t UTF-8", key=TEMPLATE, value=path) from error
    for name in ("prompt", "response"):
        if f"{{{name}}}" not in template:
            raise UserError(f"has no {{{name}}}", f"write it where the {name} goes", key=TEMPLATE, value=path)
    if not re.search(r"(?<!\w)score\s*[:：=]", template, re.IGNORECASE):
        problem = "does not ask for a line like 'Score: N', which is what is read"
        raise UserError(problem, "add it", key=TEMPLATE, value=path)
    return template.rstrip() if ends_open(template) else template


def fill(template: str, **values: str) -> str:
    """The template with its placeholders replaced, all in one go: braces in what they stand for mean nothing."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def as_text(prompt: str | list[dict[str, Any]]) -> str:
    """A prompt for a judge to read: a single user message is its content, a longer conversation names the roles."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0]["role"] == "user":
        return str(prompt[0]["content"])
    return "\n\n".join(f"[{message['role']}]\n{message.get('content') or ''}" for message in prompt)


def ends_open(text: str) -> bool:
    """Whether a text stops after `Score:`, so that the number is all that is left to write."""
    return _after_score(text.rstrip().rpartition("\n")[2]) == ""


def read_score(text: str, *, cut: bool = False, opened: bool = False) -> float | None:
    """The score that a judgement gives, in 0, 0.5, ..., 5, or None where it gives none that is beyond doubt.

    The last `Score:` decides, and one number alone may follow on its line (or on the next): `Score: 4`,
    `**Score:** 4/5`, `Score: ٤`, `final score = 3,5`. What is out of range, out of another number than 5, between
    halves, or says two things is None; so is a score in reasoning that never ended.

    Args:
        text: what the judge wrote.
        cut: the length limit ended it, so a score at its very end may lack a digit.
        opened: the judge was given a text that stops after `Score:`, so that its first line is the score.
    """
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return None
    if opened:
        text = f"Score: {text.lstrip()}"
    lines = [line for line in text.splitlines() if line.strip()]
    places = [number for number, line in enumerate(lines) if _after_score(line) is not None]
    if not places:
        return None
    place = 0 if opened else places[-1]
    value = _after_score(lines[place])
    if not value and place + 1 < len(lines):
        place += 1
        value = _plain(lines[place])
    at_the_end = place == len(lines) - 1 and not text.endswith(("\n", "\r"))
    match = VALUE.fullmatch(value or "")
    if match is None or (cut and at_the_end):
        return None
    score = float(match[1].replace(",", "."))
    return score if score <= HIGHEST and (2 * score).is_integer() else None


def _after_score(line: str) -> str | None:
    """What follows the last `Score:` of a line; None where there is none."""
    line = _plain(line)
    found = list(SCORE.finditer(line))
    return line[found[-1].end() :].strip() if found else None


def compatible(text: str) -> str:
    """Text in Unicode's compatibility form NFKC, in time that grows with its length only."""
    starts = range(0, len(text), NORMALISED_AT_ONCE)
    return "".join(unicodedata.normalize("NFKC", text[start : start + NORMALISED_AT_ONCE]) for start in starts)


def _plain(line: str) -> str:
    """A line in compatibility form, with the digits of every script as 0 to 9 and no marks around the words."""
    kept = (c for c in compatible(line) if unicodedata.category(c) not in ("Cc", "Cf") or c == "\t")
    digits = "".join(str(unicodedata.decimal(c, c)) for c in kept)
    return digits.replace("\N{ARABIC DECIMAL SEPARATOR}", ".").translate(AROUND).strip()
