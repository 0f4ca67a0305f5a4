"""The bad-input table: one line that names the file, the row, the column and the mend."""

import json
import re
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from congrad.errors import UserError
from congrad.preferences import load_preferences
from congrad.settings.input import Columns

ROW = {"prompt": "Hallo?", "chosen": "Guten Tag", "rejected": "Nein", "language": "de"}
USER = {"role": "user", "content": "Hallo?"}
ANSWER = {"role": "assistant", "content": "Guten Tag"}
TALK = {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER], "language": "de"}


def complaint(source: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_preferences(source, **options)
    message = str(caught.value)
    assert message.isprintable(), "one line, nothing that a terminal acts on"
    assert len(message) < 700
    return message


def renamed(old: str, new: str, row: dict = ROW) -> dict:
    return {new if column == old else column: value for column, value in row.items()}


# Two rows are written to x.jsonl; the second is the mistake.
ROWS_TABLE = {
    "null": ({**ROW, "chosen": None}, ["x.jsonl:2", "'chosen'", "null or missing", "remove the row"]),
    "absent": (renamed("rejected", "id"), ["x.jsonl:2", "'rejected'", "null or missing"]),
    "number": ({**ROW, "chosen": 7}, ["x.jsonl:2", "'chosen'", "holds 7", "text"]),
    "list for text": ({**ROW, "rejected": ["a"]}, ["x.jsonl:2", "'rejected'", "['a']", "text"]),
    "empty prompt": ({**ROW, "prompt": ""}, ["x.jsonl:2", "'prompt'", "empty prompt", "fill it"]),
    "blank prompt": ({**ROW, "prompt": " \n\u3000"}, ["x.jsonl:2", "'prompt'", "empty prompt"]),
    "empty language": ({**ROW, "language": " "}, ["x.jsonl:2", "'language'", "empty language", "fill it"]),
    "null language": ({**ROW, "language": None}, ["x.jsonl:2", "'language'", "null"]),
    "number among languages": ({**ROW, "language": 7}, ["x.jsonl:2", "'language'", "holds 7"]),
}


@pytest.mark.parametrize(("row", "parts"), ROWS_TABLE.values(), ids=ROWS_TABLE)
def test_a_bad_field_is_named_by_line_and_column(tmp_path, row, parts):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(row) + "\n")
    message = complaint(path)
    assert all(part in message for part in parts), message


IMAGES = {
    "path": {"image": "cat.png"},
    "list": {"images": ["cat.png"]},
    "stored": {"image": {"bytes": None, "path": "cat.png"}},
    "conversation": {**TALK, "images": ["a.png", "b.png"]},
}


@pytest.mark.parametrize("change", IMAGES.values(), ids=IMAGES)
def test_a_row_with_an_image_is_named(tmp_path, change):
    """Its text alone would be scored as if it had none."""
    row, (column,) = {**ROW, **change}, change.keys() & {"image", "images"}
    nothing = {"image": None if isinstance(row[column], dict) else "", "images": []}[column]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({**row, column: value}) + "\n" for value in (nothing, None, row[column])))
    fix = f"remove the row, or leave the column unread with input.ignore=[{column}]"
    assert complaint(path) == f"{path}:3: column '{column}' holds an image, and text alone is read; {fix}"
    path.write_text("".join(json.dumps({**row, column: value}) + "\n" for value in (nothing, None)))
    assert len(load_preferences(path)) == 2


def test_a_stored_image_is_named(tmp_path):
    rows = datasets.Dataset.from_list([{**ROW, "image": None}, {**ROW, "image": {"bytes": b"png", "path": None}}])
    rows.to_parquet(tmp_path / "x.parquet")
    for source in (tmp_path / "x.parquet", rows):
        assert re.search("row 1.*: column 'image' holds an image, and text alone is read", complaint(source))


TALK_TABLE = {
    "an image among its parts": (
        {"prompt": [{**USER, "content": [{"type": "image"}, {"type": "text", "text": "Was ist das?"}]}]},
        ["'prompt' has the content [{", "in message 0", "{'role': 'user', 'content': '...'}"],
    ),
    "no role": ({"prompt": [{"content": "a"}]}, ["'prompt' has no 'role' in message 0", "{'role': 'user'"]),
    "blank role": ({"prompt": [USER, {**USER, "role": ""}]}, ["'prompt' has the role '' in message 1"]),
    "no content": ({"chosen": [{"role": "assistant"}]}, ["'chosen' has no 'content' in message 0"]),
    "null content": ({"rejected": [ANSWER, {**ANSWER, "content": None}]}, ["'rejected' has no 'content' in message 1"]),
    "empty conversation": ({"chosen": []}, ["'chosen'", "empty conversation", "fill it"]),
    "null conversation": ({"chosen": None}, ["'chosen'", "null"]),
    "empty prompt": ({"prompt": [{**USER, "content": " "}]}, ["'prompt'", "empty prompt"]),
}


@pytest.mark.parametrize(("change", "parts"), TALK_TABLE.values(), ids=TALK_TABLE)
def test_a_bad_message_is_named_by_line_column_and_place(tmp_path, change, parts):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(TALK) + "\n" + json.dumps({**TALK, **change}) + "\n")
    message = complaint(path)
    assert all(part in message for part in ["x.jsonl:2", *parts]), message


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("Ja", "Nein"), ([ANSWER], [{**ANSWER, "content": "b"}]), (" a", " b"), ("\nJa", "\nNo")]
)
def test_responses_that_share_no_prompt_are_refused_where_there_is_no_prompt_column(chosen, rejected):
    good = {"chosen": "Ja? Ja", "rejected": "Ja? Nein"}
    if isinstance(chosen, list):
        good = {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "b"}]}
    rows = [{**good, "language": "de"}, {"chosen": chosen, "rejected": rejected, "language": "de"}]
    message = complaint(datasets.Dataset.from_list(rows))
    assert message.startswith("dataset, row 1 (counted from 0): columns 'chosen' and 'rejected' do not begin with")


# The content of a whole file, and what the message says.
FILE_TABLE: dict[str, tuple[str, bytes, list[str]]] = {
    "not JSON": ("x.jsonl", json.dumps(ROW).encode() + b"\n{'a': 1}", ["x.jsonl:2", "not JSON", "property name"]),
    "cut off": (
        "x.jsonl",
        json.dumps(ROW).encode() + b"\n\n" + json.dumps(ROW)[:-9].encode(),
        ["x.jsonl:3", "not JSON"],
    ),
    "no object": ("x.jsonl", json.dumps(ROW).encode() + b'\n["a"]', ["x.jsonl:2", "['a']", "not a JSON object"]),
    "array cut off": ("x.json", b"[" + json.dumps(ROW, indent=1).encode(), ["x.json:6", "not JSON"]),
    "half a surrogate": ("x.jsonl", rb'{"prompt": "\ud800"}', ["x.jsonl:1", "surrogate", "remove"]),
    "deep": ("x.jsonl", b'{"a": ' + b"[" * 100_000, ["x.jsonl:1", "deep"]),
    "Latin-1": (
        "x.jsonl",
        (json.dumps(ROW) + "\n").encode() + json.dumps({**ROW, "prompt": "ä"}, ensure_ascii=False).encode("latin-1"),
        ["x.jsonl:2", "not UTF-8", "iconv"],
    ),
    "Latin-1 in another column": (
        "x.jsonl",
        json.dumps({**ROW, "id": "a"}).encode().replace(b'"a"', b'"\xe4"'),
        ["x.jsonl:1", "not UTF-8"],
    ),
    "Latin-1 CSV": (
        "x.csv",
        "prompt,chosen\na,ä\n".encode("latin-1"),
        ["x.csv:2", "not UTF-8", "0xe4 at offset 16", "iconv"],
    ),
    "UTF-16": ("x.jsonl", json.dumps(ROW).encode("utf-16"), ["x.jsonl:1", "not UTF-8", "iconv"]),
    "empty": ("x.jsonl", b"", ["x.jsonl: no rows"]),
    "blank": ("x.jsonl", b"\n \n", ["x.jsonl: no rows"]),
    "empty array": ("x.json", b"[]", ["x.json: no rows"]),
    "empty CSV": ("x.csv", b"", ["x.csv: no rows"]),
    "header only": ("x.csv", b"prompt,chosen,rejected,language\n", ["x.csv: no rows"]),
    "long CSV row": ("x.csv", b"prompt,chosen,rejected,language\na,b,c,de\na,b,c,de,x\n", ["x.csv", "line 3, saw 5"]),
    "short CSV row": ("x.csv", b"prompt,chosen,rejected,language\na,b,c,de\na,b,c\n", ["x.csv:3", "'language'"]),
    "empty CSV prompt": (
        "x.csv",
        b'prompt,chosen,rejected,language\n"a\nb",b,c,de\n,b,c,de\n',
        ["x.csv:4", "'prompt'"],
    ),
    "no Parquet": ("x.parquet", b"junk", ["x.parquet", "cannot read it", "check that the file"]),
    "unknown type": ("x.txt", b"junk", ["x.txt", "unknown file type", ".jsonl"]),
    "nothing but null": (
        "x.jsonl",
        json.dumps({**ROW, "rejected": None}).encode(),
        ["x.jsonl:1", "'rejected'", "null"],
    ),
}


@pytest.mark.parametrize(("name", "data", "parts"), FILE_TABLE.values(), ids=FILE_TABLE)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, data, parts):
    path = tmp_path / name
    path.write_bytes(data)
    message = complaint(path)
    assert all(part in message for part in parts), message


COLUMN_TABLE: dict[str, tuple[dict, dict[str, Any], list[str]]] = {
    "misspelt": (renamed("chosen", "chosn"), {}, ["no column 'chosen'", "nearest is 'chosn'", "rename"]),
    "case": (renamed("rejected", "Rejected"), {}, ["no column 'rejected'", "nearest is 'Rejected'"]),
    "misspelt prompt": (renamed("prompt", "promt"), {}, ["no column 'prompt'", "'promt'", "rename"]),
    "language": (renamed("language", "langage"), {}, ["no column 'language'", "'langage'", "input.columns.language"]),
    "nothing near": (renamed("language", "x"), {}, ["no column 'language'", "'prompt', 'chosen'", "add it"]),
    "other language column": (ROW, {"columns": Columns(language="langage")}, ["no column 'langage'", "'language'"]),
    "untrusted name": (renamed("chosen", "\x1b[31m\n"), {}, ["no column 'chosen'", r"'\x1b[31m\n'"]),
    "two prompts": (
        {**renamed("prompt", "query"), "question": "Was?"},
        {},
        ["'query' and 'question' could", "set input"],
    ),
}


@pytest.mark.parametrize(("row", "options", "parts"), COLUMN_TABLE.values(), ids=COLUMN_TABLE)
def test_a_bad_column_is_named_with_the_nearest(tmp_path, row, options, parts):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    message = complaint(path, **options)
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in parts), message


def folder(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return root


FOLDER_TABLE: dict[str, tuple[dict[str, object], list[str]]] = {
    "nothing": ({"README.md": "x"}, ["no rows", ".jsonl"]),
    "mixed types": ({"a.jsonl": ROW, "b.csv": "x"}, ["mixed file types (a.jsonl, b.csv)", "keep one type"]),
    "types that clash": (
        {"a.jsonl": {**ROW, "id": 1}, "b.jsonl": {**ROW, "id": "b1"}},
        ["column 'id'", "int64 in", "a.jsonl", "string in", "b.jsonl", "one type"],
    ),
    "layouts that clash": ({"a.jsonl": ROW, "b.jsonl": TALK}, ["column 'prompt'", "a.jsonl", "b.jsonl"]),
    "one file lacks a column": ({"a.jsonl": ROW, "b.jsonl": renamed("chosen", "x")}, ["b.jsonl", "no column 'chosen'"]),
    "one file lacks the prompt": (
        {"a.jsonl": ROW, "b.jsonl": renamed("prompt", "x")},
        ["b.jsonl", "'chosen' and 'rejected'"],
    ),
    "one file is empty": ({"a.jsonl": ROW, "b.jsonl": ""}, ["b.jsonl: no rows"]),
    "one file is no JSON": ({"a.jsonl": ROW, "b.jsonl": "{"}, ["b.jsonl:1", "not JSON"]),
}


@pytest.mark.parametrize(("files", "parts"), FOLDER_TABLE.values(), ids=FOLDER_TABLE)
def test_a_bad_folder_is_named_with_the_file(tmp_path, files, parts):
    message = complaint(folder(tmp_path, files))
    assert str(tmp_path) in message
    assert all(part in message for part in parts), message


def test_paths_and_splits_that_do_not_exist_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert complaint(tmp_path / "no.jsonl") == f"{tmp_path}/no.jsonl: no such file or folder; check the path"
    assert "no such file or folder" in complaint(f"{tmp_path}/no")
    assert "no such file or folder" in complaint("no.jsonl")
    assert complaint("nobody/nothing").startswith("'nobody/nothing': neither a file or folder here nor a hub dataset")
    data = datasets.Dataset.from_list([ROW])
    data.to_parquet(tmp_path / "x.parquet")
    assert "no split 'test'" in complaint(tmp_path / "x.parquet", split="test")
    assert "no split 'test'" in complaint(data, split="test")
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    assert "no split 'test'; there are 'train'" in complaint(tmp_path / "saved", split="test")
    (tmp_path / "saved" / "train" / "state.json").write_text("{")
    assert "cannot be read as a saved dataset" in complaint(tmp_path / "saved")


def test_what_can_only_not_be_scored_is_no_mistake():
    rows = [{**ROW, "chosen": "", "rejected": "a"}, {**ROW, "chosen": "a", "rejected": "a"}]
    assert load_preferences(datasets.Dataset.from_list(rows)).languages == ["de", "de"]
