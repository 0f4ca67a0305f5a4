"""The judge's template and the score line: what is read as a score, and above all what is not."""

from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.selfreward.rubric import as_text, ends_open, fill, read_score, read_template


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("It helps.\nScore: 4", 4),
        ("Score: 0", 0),
        ("score:5.", 5),
        ("**Score:** 3", 3),
        ("**Score: 3**", 3),
        ("### Final Score: `2`", 2),
        ("- Score: 4/5", 4),
        ("Score: 4 / 5 points", 4),
        ("Score: [4]", 4),
        ("Score: 4 (out of 5)", 4),
        ("Score: 4.0/5.0", 4),
        ("Score: 3.5", 3.5),
        ("Score: 3,5", 3.5),
        ('{"score": 4}', 4),
        ("Score：４", 4),
        ("Score: ٤", 4),
        ("Score: \u200f٣٫٥\u200f", 3.5),
        ("Score: ۲/۵", 2),
        ("Score: ४", 4),
        ("Score: ④", 4),
        ("Score (0-5): 4", 4),
        ("Score (out of 5): 4", 4),
        ("Score:\n\n4", 4),
        ("It is short but right. Score: 4", 4),
        ("Score: 2\nOn reflection that was harsh.\nOverall score: 4", 4),
        ("Score: 4\nRelevance score: 2", 4),
        ("Score: 4\nThis score is fair: it answers the question.", 4),
        ("<think>Score: 1?\nScore: 2</think>\nScore: 3", 3),
        ("Score: 4\r\n", 4),
    ],
)
def test_a_score_that_is_beyond_doubt_is_read(text: str, score: float) -> None:
    assert read_score(text) == score


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A fine answer, 4 of 5.",
        "Score: N",
        "Score:",
        "Score: 6",
        "Score: 5.5",
        "Score: -1",
        "Score: −1",
        "Score: 45",
        "Score: 4\u200b5",
        "Score: 4⁵",
        "Score: 3½",
        "Score: 4.25",
        "Score: 4.3",
        "Score: 3-4",
        "Score: 3 or 4",
        "Score: 3~4",
        "Score: 4/10",
        "Score (0-10): 4",
        "Score: 4/4",
        "Score: 8/10",
        "Score: four",
        "Score: 4, though 3 would do",
        "Score: 4\nScore: 3 or 4",  # the last decides, and it is in doubt
        "Score: 4\nScore: 9",
        "Relevance score: 3, clarity score: 4",
        "Underscore: 4",
        "<think>Perhaps Score: 3\nScore: 3\n",
    ],
)
def test_what_is_in_doubt_is_missing(text: str) -> None:
    assert read_score(text) is None


def test_a_reply_that_was_cut_may_lack_a_digit_at_its_end() -> None:
    assert read_score("Score: 4", cut=True) is None
    assert read_score("Score:\n4", cut=True) is None
    assert read_score("Score: 4\n", cut=True) == 4
    assert read_score("Score: 4\n\nAnother request", cut=True) == 4


def test_a_template_that_ends_in_score_is_answered_by_a_first_line() -> None:
    assert ends_open("Judge.\n\nScore:")
    assert ends_open("Judge.\n**Score:** ")
    assert ends_open("判断。\nScore：\n")
    assert not ends_open("Judge.\nScore: N")
    assert not ends_open("")
    assert read_score(" 4\n\nAnswer: it rains\nScore: 1", opened=True) == 4
    assert read_score("4/5\nBecause", opened=True, cut=True) == 4
    assert read_score("4", opened=True) == 4
    assert read_score("4", opened=True, cut=True) is None
    assert read_score("I would say\nScore: 3", opened=True) is None
    assert read_score("", opened=True) is None


def test_placeholders_are_replaced_once_and_text_in_braces_is_left_alone() -> None:
    filled = fill(
        "{prompt}|{response}|{language}|{0}|{prompt.__class__}|{{x}}|{prompt}",
        prompt="{response} {language} {0} \\1",
        response="{prompt} {score!r}",
        language="{x",
    )
    first = "{response} {language} {0} \\1"
    assert filled == first + "|{prompt} {score!r}|{x|{0}|{prompt.__class__}|{{x}}|" + first


def test_the_packaged_examples_end_where_the_number_is_to_stand() -> None:
    template = read_template(None, chat=False)
    assert template.endswith("Answer: {response}\nScore:")
    examples = [line for line in template.splitlines() if line.startswith("Score: ")]
    assert [read_score(line) for line in examples] == [5, 3, 0, 5, 1, 4]


def test_the_packaged_template_asks_for_what_is_read() -> None:
    template = read_template(None)
    assert all(name in template for name in ("{prompt}", "{response}", "{language}"))
    last = template.splitlines()[-1]
    assert read_score(last) is None
    assert read_score(last.replace("N", "3")) == 3
    assert not ends_open(template)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{response} Score: N", "has no {prompt}"),
        (b"{prompt} Score: N", "has no {response}"),
        (b"{prompt} {response} {{Rating}}", "does not ask for a line like 'Score: N'"),
        (b"{prompt} {response} \xff Score: N", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_template_that_cannot_work_is_refused(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "judge.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_template(str(path))
    assert complaint in str(error.value)
    assert str(error.value).startswith(f"judge.template {path}: ")


def test_a_template_of_the_users_is_read_as_it_is(tmp_path: Path) -> None:
    for content in ("{prompt}\n{response}\nScore:", " {prompt} {response} Score: N \n\n"):
        (tmp_path / "judge.txt").write_text(content, encoding="utf-8")
        assert read_template(str(tmp_path / "judge.txt")) == content


def test_the_line_end_of_a_file_does_not_stand_between_score_and_number(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_text("{prompt}\n{response}\nScore: \n", encoding="utf-8")
    assert read_template(str(tmp_path / "judge.txt")) == "{prompt}\n{response}\nScore:"


def test_conversations_are_told_by_role() -> None:
    assert as_text("Hallo") == "Hallo"
    assert as_text([{"role": "user", "content": "Hallo"}]) == "Hallo"
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hallo"},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "user", "content": "Ja?"},
    ]
    assert as_text(turns) == "[system]\nBe short.\n\n[user]\nHallo\n\n[assistant]\n\n\n[user]\nJa?"
