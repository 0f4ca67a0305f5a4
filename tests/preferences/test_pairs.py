"""Rows in every published form become the prompt and the two responses that a trainer would read."""

import json
from typing import Any

import datasets
import pyarrow as pa
import pytest

from congrad.errors import UserError
from congrad.preferences import load_preferences
from congrad.preferences.bad_rows import settle
from congrad.preferences.load import read_preferences
from congrad.preferences.pairs import find_pairs
from congrad.settings.input import Columns, Input
from congrad.sources.part import Part
from congrad.sources.source import Source

PROMPT = "Was ist das Wasser?"


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


ASKED, GOOD, BAD = [user(PROMPT)], [assistant("Nass")], [assistant("Rot")]
TALK = {"prompt": ASKED, "chosen": GOOD, "rejected": BAD}
TEXT = {"prompt": PROMPT, "chosen": "Nass", "rejected": "Rot"}


def part_of(rows: list[dict] | datasets.Dataset) -> Part:
    dataset = datasets.Dataset.from_list(rows) if isinstance(rows, list) else rows
    return Part(Source("dataset", len(dataset)), dataset, range(len(dataset)))


def found(rows: list[dict] | datasets.Dataset, **settings: Any) -> Part:
    config = Input("x", **settings)
    parts = find_pairs([part_of(rows)], config)
    settle(parts, config)
    return parts[0]


def pair(row: dict) -> dict:
    return {name: row[name] for name in ("prompt", "chosen", "rejected") if name in row}


def turns(*said: str) -> list[dict]:
    return [{"from": speaker, "value": text} for speaker, text in zip(("human", "gpt") * 4, said, strict=False)]


TALKS = {
    "the prompt as text": {**TALK, "prompt": PROMPT},
    "the prompt at the head of both": {"prompt": PROMPT, "chosen": ASKED + GOOD, "rejected": ASKED + BAD},
    "the prompt as messages at the head of both": {"prompt": ASKED, "chosen": ASKED + GOOD, "rejected": ASKED + BAD},
    "at the head of one": {"chosen": ASKED + GOOD, "rejected": "Rot"},
    "a conversation as a whole, and the other answer": {"messages": ASKED + GOOD, "rejected_response": "Rot"},
    "the chosen answer at the end of the prompt": {"messages": ASKED + GOOD, "chosen": GOOD[0], "rejected": BAD[0]},
    "responses as text": {"prompt": ASKED, "chosen": "Nass", "rejected": "Rot"},
    "single messages": {"prompt": ASKED, "chosen": GOOD[0], "rejected": BAD[0]},
    "from and value": {"conversations": turns(PROMPT), "chosen": turns("", "Nass")[1], "rejected": turns("", "Rot")[1]},
    "from and value as a whole": {"chosen": turns(PROMPT, "Nass"), "rejected": turns(PROMPT, "Rot")},
    "JSON": {name: json.dumps(side) for name, side in TALK.items()},
    "as Python prints it": {name: repr(side) for name, side in TALK.items()},
    "a prompt in text beside JSON": {
        "prompt": PROMPT,
        "chosen": json.dumps(ASKED + GOOD),
        "rejected": json.dumps(ASKED + BAD),
    },
    "transcripts": {
        "chosen": f"\n\nHuman: {PROMPT}\n\nAssistant: Nass",
        "rejected": f"\n\nHuman: {PROMPT}\n\nAssistant: Rot",
    },
    "a transcript as the prompt": {
        "prompt": f"\n\nHuman: {PROMPT}\n\nAssistant:",
        "chosen": " Nass",
        "rejected": " Rot",
    },
    "contents in parts": {
        **TALK,
        "prompt": [{"role": "user", "content": [{"type": "text", "text": PROMPT, "image": None}]}],
    },
    "names of speakers": {**TALK, "prompt": [{"role": "human", "content": PROMPT}]},
    "turns of input and output": {
        "chosen": [{"input": PROMPT, "output": "Nass"}],
        "rejected": [{"input": PROMPT, "output": "Rot"}],
    },
    "an object with messages": {
        "input": {"messages": ASKED, "tools": []},
        "preferred_output": GOOD,
        "non_preferred_output": BAD,
    },
    "keys that are null": {**TALK, "prompt": [{**ASKED[0], "name": None}], "chosen": GOOD[0]},
    "lists of turns": {"prompt": [PROMPT], "chosen": ["Nass"], "rejected": ["Rot"]},
    "lists of turns as text": {"prompt": json.dumps([PROMPT]), "chosen": '["Nass"]', "rejected": '["Rot"]'},
}


@pytest.mark.parametrize("row", TALKS.values(), ids=TALKS)
def test_every_form_of_a_conversation_is_the_same_pair(row):
    made = found([row, row])
    assert [pair(each) for each in made.dataset] == [TALK, TALK]
    assert set(row) <= set(made.dataset.column_names), "the columns that were there stay"


def test_what_is_right_already_is_not_copied():
    for row in (TEXT, TALK, {"chosen": ASKED + GOOD, "rejected": ASKED + BAD}, {"chosen": "p: a", "rejected": "p: b"}):
        dataset = datasets.Dataset.from_list([row] * 3)
        assert found(dataset).dataset is dataset


def test_other_columns_keep_their_types():
    table = {"instruction": ["a b", "c d"], "chosen": ["x", "y"], "rejected": ["z", "w"], "n": [1, None]}
    columns = pa.table({**table, "big": pa.array([2**63, 1], pa.uint64()), "day": pa.array([1, 2], pa.date32())})
    dataset = datasets.Dataset(columns)
    made = found(dataset).dataset
    assert {name: made.features[name] for name in dataset.column_names} == dataset.features
    assert made.column_names == [*dataset.column_names, "prompt"]
    assert made["prompt"] == table["instruction"]


def test_text_stays_text():
    made = found([{"question": PROMPT, "response_j": "Nass", "response_k": "Rot", "system": ""}] * 2)
    assert [pair(row) for row in made.dataset] == [TEXT, TEXT]
    assert made.notes == ("columns: prompt from `question`, chosen from `response_j`, rejected from `response_k`",)


def test_a_system_message_makes_conversations():
    made = found([{**TEXT, "system": "Sei nett"}, {**TEXT, "system": " "}, {**TEXT, "system": None}])
    assert [row["prompt"] for row in made.dataset] == [[system("Sei nett"), *ASKED], ASKED, ASKED]
    assert made.dataset[1]["chosen"] == GOOD
    assert made.notes == ("messages before the prompt are made of `system`, in 1 row",)
    talks = found(
        [{**TALK, "system": "Sei nett"}, {**TALK, "prompt": [system("Sei nett"), *ASKED], "system": "Sei nett"}]
    )
    assert [row["prompt"] for row in talks.dataset] == [[system("Sei nett"), *ASKED]] * 2


HISTORIES = {
    "pairs": [["Hallo", "Guten Tag"]],
    "texts": ["Hallo", "Guten Tag"],
    "messages": [user("Hallo"), assistant("Guten Tag")],
    "from and value": turns("Hallo", "Guten Tag"),
    "JSON": '[["Hallo", "Guten Tag"]]',
    "a transcript": "Human: Hallo\n\nAssistant: Guten Tag",
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_earlier_turns_come_before_the_prompt(history):
    earlier = [user("Hallo"), assistant("Guten Tag")]
    made = found([{**TEXT, "history": history, "system": "S"}]).dataset[0]
    assert pair(made) == {"prompt": [system("S"), *earlier, *ASKED], "chosen": GOOD, "rejected": BAD}
    assert found([{**TEXT, "history": type(history)()}]).dataset[0]["prompt"] == PROMPT


def test_several_turns_are_split_where_the_responses_part():
    head = [user("a"), assistant("b"), user("c")]
    row = {"prompt": "c", "chosen": [*head, *GOOD, user("d"), *BAD], "rejected": [*head, *BAD, user("d"), *BAD]}
    made = found([row]).dataset[0]
    assert made["prompt"] == head
    assert made["chosen"] == [*GOOD, user("d"), *BAD]
    lists = {"prompt": ["a", "c"], "chosen": ["b", "e"], "rejected": ["b", "f"]}
    made = found([lists]).dataset[0]
    assert pair(made) == {"prompt": head, "chosen": [assistant("e")], "rejected": [assistant("f")]}


def test_a_text_prompt_at_the_head_of_both_responses_is_cut_once():
    made = found([{"prompt": PROMPT, "chosen": f"{PROMPT} Nass", "rejected": f"{PROMPT} Rot"}] * 2)
    assert pair(made.dataset[0]) == {"prompt": PROMPT, "chosen": " Nass", "rejected": " Rot"}
    assert made.notes == ("the prompt stands at the head of both responses in 2 of 2 rows: it is read once",)


def test_a_response_that_quotes_its_prompt_is_not_cut():
    quoting = {
        "prompt": "Hallo, wer ist denn da draußen?",
        "chosen": "Hallo, wer ist denn da draußen? A",
        "rejected": "Hallo, wer ist denn da draußen? B",
    }
    made = found([quoting, TEXT, TEXT])
    assert pair(made.dataset[0]) == quoting
    assert "in 1 of 3 rows: nothing is cut" in made.notes[0]
    short = {"prompt": "Hi", "chosen": "Hi du", "rejected": "Hi ihr"}
    assert pair(found([short, short]).dataset[0]) == short


def test_rows_that_are_an_exception_are_not_cut():
    repeated = {"prompt": PROMPT, "chosen": f"{PROMPT} Nass", "rejected": f"{PROMPT} Rot"}
    made = found([*[repeated] * 39, TEXT])
    assert made.notes == ("the prompt stands at the head of both responses in 39 of 40 rows: it is read once",)
    assert made.dataset[39]["chosen"] == "Nass"
    assert made.dataset[0]["chosen"] == " Nass"


BAD_ROWS = {
    "a conversation among texts": (
        {**TEXT, "chosen": json.dumps(GOOD)},
        "column 'chosen' holds a conversation, [{'role'",
    ),
    "cut off": ({**TEXT, "chosen": "[{'role': 'user', 'cont"}, "column 'chosen' begins as messages do"),
    "no role": (
        {**TEXT, "rejected": '[{"role": "", "content": "x"}]'},
        "column 'rejected' has the role '' in message 0",
    ),
    "null": ({**TEXT, "chosen": None}, "column 'chosen' is null or missing; fill it or remove the row"),
    "empty prompt": ({**TEXT, "prompt": " "}, "column 'prompt' holds an empty prompt; fill it or remove the row"),
}


@pytest.mark.parametrize(("row", "said"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_among_texts_is_named_or_left_out(row, said):
    with pytest.raises(UserError, match=r"^dataset, row 1 ") as caught:
        found([TEXT, row, TEXT])
    assert said in str(caught.value)
    made = found([TEXT, row, TEXT], on_bad_row="drop")
    assert made.dataset.to_list() == [TEXT, TEXT]
    assert made.rows == (0, 2)
    assert [(each.row, each.mistake.is_bad) for each in made.left_out] == [(1, True)]


BAD_TALKS = {
    "text among conversations": (
        {"chosen": json.dumps(ASKED + GOOD), "rejected": json.dumps(ASKED + BAD)},
        {"chosen": "a", "rejected": "b"},
    ),
    "another prompt": ({**TALK, "prompt": PROMPT}, {"prompt": "x", "chosen": ASKED + GOOD, "rejected": ASKED + BAD}),
    "no answer": ({**TALK, "prompt": PROMPT}, {"prompt": PROMPT, "chosen": ASKED, "rejected": BAD}),
    "no shared prompt": ({"chosen": ASKED + GOOD, "rejected": ASKED + BAD}, {"chosen": GOOD, "rejected": BAD}),
    "another system message": ({**TALK, "system": ""}, {**TALK, "prompt": [system("a"), *ASKED], "system": "b"}),
    "turns that do not match": (
        {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]},
        {"prompt": ["a", "b"], "chosen": ["b"], "rejected": ["c"]},
    ),
}


@pytest.mark.parametrize(("good", "bad"), BAD_TALKS.values(), ids=BAD_TALKS)
def test_a_bad_row_among_conversations_is_named_or_left_out(good, bad):
    rows = [*[good] * 30, bad]
    with pytest.raises(UserError, match=r"^dataset, row 30 "):
        found(rows)
    made = found(rows, on_bad_row="drop")
    assert len(made.dataset) == 30
    assert [each.row for each in made.left_out] == [30]


def test_the_first_ten_bad_rows_are_listed_with_the_counts_of_their_reasons():
    rows = [TEXT, *[{**TEXT, "prompt": ""}] * 9, *[{**TEXT, "rejected": None}] * 3]
    with pytest.raises(UserError) as caught:
        found(rows)
    message = str(caught.value)
    assert message.startswith(
        "12 rows cannot be used (empty prompt: 9, rejected is null or missing: 3): dataset, row 1 "
    )
    assert message.endswith("; fix them, or leave them out with input.on_bad_row=drop")
    assert message.count("(counted from 0)") == 10


READ_OTHERWISE = {
    "images": ({"images": ["a.png"]}, "'images' holds an image"),
    "a video": ({"videos": [b"x"]}, "'videos' holds a video"),
    "tools": ({"tools": '[{"name": "f"}]'}, "'tools' holds tools"),
}


@pytest.mark.parametrize(("more", "said"), READ_OTHERWISE.values(), ids=READ_OTHERWISE)
def test_what_would_change_the_loss_is_refused_unless_it_is_ignored(more, said):
    (column,) = more
    rows = [{**TEXT, column: None}, {**TEXT, **more}]
    with pytest.raises(UserError, match=rf"row 1 .*{said}, and text alone is read; .*input\.ignore=\[{column}\]"):
        found(rows)
    assert len(found(rows, ignore=(column,)).dataset) == 2
    assert len(found([{**TEXT, column: type(more[column])()}]).dataset) == 1


def test_tools_of_conversations_are_rendered_as_before():
    dataset = datasets.Dataset.from_list([{**TALK, "tools": '[{"name": "f"}]'}])
    assert found(dataset).dataset is dataset


def test_set_columns_win():
    row = {"a": PROMPT, "b": "Rot", "c": "Nass", "chosen": "x", "rejected": "y"}
    made = found([row], columns=Columns(prompt="a", chosen="c", rejected="b"))
    assert pair(made.dataset[0]) == TEXT


def test_tool_calls_stay():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    row = {"prompt": PROMPT, "chosen": [call, {"role": "tool", "content": "1", "name": "f"}, *GOOD], "rejected": BAD}
    made = found([{**row, "chosen": json.dumps(row["chosen"])}]).dataset[0]
    assert made["chosen"] == row["chosen"]


def test_what_templates_render_cannot_be_left_unread(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({**TALK, "tools": [{"name": "f"}], "language": "de"}) + "\n")
    with pytest.raises(UserError, match=r"input\.ignore column 'tools' of conversations is rendered"):
        read_preferences(Input(str(path), ignore=("tools",)))
    assert len(read_preferences(Input(str(path)))) == 1


def test_what_is_left_out_is_said(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{**TEXT, "language": "de"}, {**TEXT, "language": " "}, {**TEXT, "prompt": "", "language": "de"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = load_preferences(path, on_bad_row="drop")
    assert (kept.rows, kept.languages) == ([0], ["de"])
    assert kept.notes == ("2 rows are left out (empty language: 1, empty prompt: 1)",)
    assert [str(each.spot) for each in kept.left_out] == [f"{path}:2", f"{path}:3"]
    with pytest.raises(
        UserError, match=r"^2 rows cannot be used \(empty language: 1, empty prompt: 1\): .*x\.jsonl:2: "
    ):
        load_preferences(path)
    path.write_text(json.dumps({**rows[0], "prompt": ""}))
    with pytest.raises(UserError, match=r"x\.jsonl: no pair is left \(empty prompt: 1\)"):
        load_preferences(path, on_bad_row="drop")


def test_a_prompt_that_the_responses_only_imply_is_said():
    row = {"language": "de", "q": "Farbe?", "good": "Es ist blau.", "bad": "Es ist rot."}
    said = "no column of prompts is known: the prompt is what both responses of a row begin with"
    assert any(note.startswith(said) for note in found([row]).notes)
    assert not any("no column of prompts" in note for note in found([row], columns=Columns(prompt="q")).notes)
    assert not any(
        "no column of prompts" in note for note in found([{"chosen": ASKED + GOOD, "rejected": ASKED + BAD}]).notes
    )
