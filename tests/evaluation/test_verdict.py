"""The judge of two answers: what it is asked, and what of its reply is a verdict."""

import pytest

from congrad.errors import UserError
from congrad.evaluation.verdict import PLAIN_ENDING, ends_open, read_template, read_verdict
from congrad.selfreward.rubric import fill


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is right.\nVerdict: A", "first"),
        ("**Verdict:** B", "second"),
        ("verdict: [[tie]]", "tie"),
        ("Verdict： Ｂ", "second"),
        ("Verdict:\nA\n", "first"),
        ("Verdict: B at first sight.\nNo. Verdict: A.", "first"),
        ("Verdict: Answer B", "second"),
        ("<think>Verdict: A</think>Verdict: B", "second"),
        ("", None),
        ("A is better", None),
        ("Verdict: A or B", None),
        ("Verdict: both", None),
        ("Verdict: X", None),
        ("Verdict:", None),
        ("<think>Verdict: A", None),
        ("Verdict: A\nVerdict: none", None),
    ],
)
def test_verdicts(text, verdict):
    assert read_verdict(text) == verdict


def test_a_verdict_that_was_cut_off_is_none():
    assert read_verdict("Verdict: A", cut=True) is None, "it may have gone on as 'Answer B'"
    assert read_verdict("Verdict: A\n", cut=True) == "first"
    assert read_verdict("Verdict: A\nbecau", cut=True) == "first"


def test_a_plain_model_writes_the_verdict_alone():
    template = read_template(None)
    assert not ends_open(template)
    assert ends_open(template + PLAIN_ENDING)
    assert read_verdict(" B\n\nAnother request", cut=True, opened=True) == "second"
    assert read_verdict(" tie", opened=True) == "tie"
    assert read_verdict(" Both are fine. Verdict: A", opened=True) is None


def test_braces_in_an_answer_mean_nothing():
    template = "{prompt}|{first}|{second}|{language}|{other}"
    filled = fill(template, prompt="{first}", first="{second}", second="{prompt}{x", language="de")
    assert filled == "{first}|{second}|{prompt}{x|de|{other}"


def test_the_packaged_template_asks_for_what_is_read():
    text = fill(read_template(None), prompt="P", first="F", second="S", language="sw")
    assert text.index("P\n</request>") < text.index("F\n</answer_a>") < text.index("S\n</answer_b>")
    assert "{" not in text


def test_templates_that_cannot_work(tmp_path):
    path = tmp_path / "judge.txt"
    with pytest.raises(UserError, match=r"template .*judge.txt: cannot be read"):
        read_template(str(path))
    path.write_text("{prompt} {first} Verdict: A")
    with pytest.raises(UserError, match=r"has no {second}"):
        read_template(str(path))
    path.write_text("{prompt} {first} {second}")
    with pytest.raises(UserError, match="does not ask for a line like 'Verdict: A'"):
        read_template(str(path))
    path.write_text("{prompt} {first} {second} Verdict: A or B")
    assert read_template(str(path)).startswith("{prompt}")
