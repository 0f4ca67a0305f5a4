"""Local tasks: rows to items by hand, likelihoods and choices as by a plain forward pass, mistakes by file and line."""

import json
import math
from pathlib import Path

import pytest
import torch

from congrad.errors import UserError
from congrad.evaluation.tasks import (
    Item,
    continuation,
    cut,
    is_match,
    load_task,
    right_choices,
    windows,
)
from congrad.gradients.logps import batch_logps
from congrad.models.load import load_model, load_tokenizer
from congrad.settings.evaluation import LocalTask

DATA = Path("/work/shared/data/tasks")


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def test_xcopa_by_hand(tmp_path):
    row = {"premise": "Lampu padam.", "choice1": "Ani tidur.", "choice2": "Hari siang.", "label": 1}
    write(tmp_path / "xcopa_id.jsonl", {**row, "question": "cause"}, {**row, "question": "effect"})
    write(tmp_path / "xcopa_zh.jsonl", {**row, "premise": "停电了。", "question": "cause"})
    items = load_task(LocalTask("xcopa", str(tmp_path / "xcopa_*.jsonl"), layout="xcopa"))
    assert [(item.language, item.prompt, item.options, item.answer) for item in items] == [
        ("id", "Lampu padam karena", (" ani tidur.", " hari siang."), 1),
        ("id", "Lampu padam maka", (" ani tidur.", " hari siang."), 1),
        ("zh", "停电了 因为", (" ani tidur.", " hari siang."), 1),
    ]
    assert len({item.key for item in items}) == 3


def test_mgsm_and_limits(tmp_path):
    rows = [{"language": language, "question": f"{n}+{n}?", "answer": n + n} for language in "ab" for n in range(3)]
    path = write(tmp_path / "sums.jsonl", *rows)
    items = load_task(LocalTask("sums", path, layout="mgsm", limit=2))
    assert [(item.language, item.prompt, item.answer) for item in items] == [
        ("a", "Question: 0+0?\nAnswer:", "0"),
        ("a", "Question: 1+1?\nAnswer:", "2"),
        ("b", "Question: 0+0?\nAnswer:", "0"),
        ("b", "Question: 1+1?\nAnswer:", "2"),
    ]
    own = load_task(LocalTask("sums", path, layout="mgsm", prompt="{language}: {question} { x }"))
    assert own[0].prompt == "a: 0+0? { x }"
    assert load_task(LocalTask("sums", path, kind="perplexity", text_column="question"))[0].options == ("0+0?",)


def test_columns_of_ones_own(tmp_path):
    row = {"lang": "de", "q": "{a} 1?", "a": "ja", "b": "nein", "right": 0}
    path = write(tmp_path / "quiz.jsonl", row)
    columns = {"language_column": "lang", "choices": ("a", "b"), "label_column": "right"}
    task = LocalTask("quiz", path, kind="multiple-choice", prompt="Q: {q}", **columns)
    (item,) = load_task(task)
    assert item.prompt == "Q: {a} 1?", "what a row says is no template"
    assert (item.language, item.options, item.answer) == ("de", (" ja", " nein"), 0)
    assert str(item.where) == f"{path}:1"


@pytest.mark.parametrize(
    ("row", "task", "message"),
    [
        ({"premise": "A.", "question": "why"}, {"layout": "xcopa"}, "quiz_id.jsonl:1: column 'question' holds 'why'"),
        ({"language": "xx"}, {"layout": "xcopa"}, "has no connectors for 'xx'"),
        ({"question": "1?"}, {"layout": "mgsm"}, "column 'answer' must hold text, but is null or missing"),
        ({"question": "1?", "answer": "two"}, {"layout": "mgsm"}, "holds 'two', not a number; set rule to text"),
        ({"text": " "}, {"kind": "perplexity"}, "column 'text' must hold text, but holds ' '"),
        (
            {"q": "1?", "o": ["a", "b"], "label": 2},
            {"kind": "multiple-choice", "prompt": "{q}", "choices": ("o",)},
            "column 'label' holds 2; it must be the right choice's position, 0 to 1",
        ),
        (
            {"q": "1?", "o": ["a"], "label": 0},
            {"kind": "multiple-choice", "prompt": "{q}", "choices": ("o",)},
            "1 choice; there must be two",
        ),
    ],
)
def test_rows_that_are_none_of_the_tasks(tmp_path, row, task, message):
    path = write(tmp_path / "quiz_id.jsonl", row)
    with pytest.raises(UserError, match=message):
        load_task(LocalTask("quiz", path, **task))


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="no JSON Lines file for the task x"):
        load_task(LocalTask("x", str(tmp_path / "nothing*"), kind="perplexity"))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n[1]\n')
    with pytest.raises(UserError, match=r"a.jsonl:2: '?\[1\]'? is not a JSON object"):
        load_task(LocalTask("x", str(tmp_path), kind="perplexity"))
    (tmp_path / "a.jsonl").write_text("\n{\n")
    with pytest.raises(UserError, match=r"a.jsonl:2: not JSON"):
        load_task(LocalTask("x", str(tmp_path), kind="perplexity"))
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no rows for the task x"):
        load_task(LocalTask("x", str(tmp_path), kind="perplexity"))


def plain(model, context: list[int], response: list[int]) -> float:
    logits = model(torch.tensor([context + response])).logits[0].log_softmax(-1)
    return sum(float(logits[len(context) - 1 + place, token]) for place, token in enumerate(response))


def measured(directory: Path, triples) -> list[float]:
    found = [math.nan] * len(triples)
    for batch, logps_B2 in batch_logps(load_model(str(directory)), triples, budget=64):
        for position, (one, two) in zip(batch, logps_B2.tolist(), strict=True):
            assert one == two
            found[position] = one
    return found


def test_every_token_of_a_text_is_predicted_once(tiny_directory):
    tokenizer, model = load_tokenizer(str(tiny_directory)), load_model(str(tiny_directory))
    text = "Haus Baum Straße nyumba 日本"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = windows(text, tokenizer, 5)
    assert [token for _, response, _ in found for token in response] == ids
    assert [context.tolist() for context, _, _ in found] == [[0], *([ids[end]] for end in range(4, len(ids) - 1, 5))]
    expected = [plain(model, context.tolist(), response.tolist()) for context, response, _ in found]
    assert measured(tiny_directory, found) == pytest.approx(expected, abs=1e-4)
    (whole,) = windows(text, tokenizer, 1000)
    assert measured(tiny_directory, [whole]) == pytest.approx([plain(model, [0], ids)], abs=1e-4)


def test_choices_are_weighed_after_the_prompt(tiny_directory):
    tokenizer, model = load_tokenizer(str(tiny_directory)), load_model(str(tiny_directory))
    prompt, options = "12: Haus?", (" Baum", " Haus Haus", " K")
    triples = [continuation(prompt, option, tokenizer, 100) for option in options]
    context = tokenizer(prompt)["input_ids"]
    for option, (before, response, _) in zip(options, triples, strict=True):
        assert before.tolist() == context
        assert tokenizer.decode(response) == option
    expected = [plain(model, context, tokenizer(option)["input_ids"]) for option in options]
    assert measured(tiny_directory, triples) == pytest.approx(expected, abs=1e-4)


def test_a_prompt_that_leaves_no_room_loses_its_start(tiny_directory):
    tokenizer = load_tokenizer(str(tiny_directory))
    context, response, _ = continuation("a b c d e f", " Haus", tokenizer, 4)
    whole = tokenizer("a b c d e f Haus")["input_ids"]
    assert [*context, *response] == whole[-4:]
    context, response, _ = continuation("", " Haus", tokenizer, 4)
    assert context.tolist() == [0]
    long_context, long_response, _ = continuation("a", " b c d e f", tokenizer, 3)
    assert len(long_response) == 3
    assert len(long_context) == 1


def test_right_choices_by_hand():
    item = Item("k", "w", "de", "p", (" ab", " abcd"), 1)
    assert right_choices([item], [[-2.0, -3.0]]) == {"raw": [0.0], "normalised": [1.0]}  # -1 and -0.75 a character
    assert right_choices([item], [[-2.0, -1.0]]) == {"raw": [1.0], "normalised": [1.0]}
    assert right_choices([item], [[-2.0, -2.0]]) == {"raw": [0.0], "normalised": [1.0]}


@pytest.mark.parametrize(
    ("text", "rule", "right"),
    [
        (" 16 - 3 = 13 eggs, so 26 dollars.", "last-number", True),
        (" 26\nQuestion: and 5?", "last-number", True),
        (" 26,00 €", "last-number", True),
        (" 62", "last-number", False),
        (" I do not know", "last-number", False),
        (" 26 \n", "text", True),
        (" 26 dollars", "text", False),
    ],
)
def test_exact_match(text, rule, right):
    task = LocalTask("x", "p", kind="exact-match", prompt="{q}", rule=rule, stop=("\nQuestion:",))
    assert is_match(task, Item("k", "w", "de", "p", (), "26"), text) == right


def test_an_answer_ends_before_the_first_mark():
    assert cut("abc STOP d END e", ("END", "STOP")) == "abc "
    assert cut("abc", ("END",)) == "abc"


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_the_layouts_fit_the_datasets():
    items = load_task(LocalTask("xcopa", str(DATA / "xcopa_*.jsonl"), layout="xcopa"))
    assert len(items) == 9 * 250
    assert {item.language for item in items} == {"et", "id", "it", "sw", "ta", "th", "tr", "vi", "zh"}
    maths = load_task(LocalTask("mgsm", str(DATA / "mgsm_*.jsonl"), layout="mgsm"))
    assert len(maths) == 11 * 125
    assert {item.language for item in maths} == {"bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"}
