"""Conversations as text are read as they were written, and nothing else is taken for one."""

import json
import random
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest

from congrad.preferences.written import (
    Unreadable,
    begins_as_messages,
    read_texts,
    read_transcript,
    read_value,
)

ODD = [
    "'",
    '"',
    "\\",
    "\n",
    "\\n",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    "ä",
    "日",
    "\u200f",
    "\0",
    "\x1f",
    "😀",
    "a b",
    "",
]


def messages(draw: random.Random) -> list[dict]:
    def text() -> str:
        return "".join(draw.choices(ODD, k=draw.randrange(8)))

    return [{"role": role, "content": text()} for role in ("user", "assistant", "user")[: draw.randrange(1, 4)]]


def test_what_is_printed_is_read_back():
    draw = random.Random(0)
    for _ in range(300):
        said = messages(draw)
        for written in (
            repr(said),
            json.dumps(said),
            json.dumps(said, ensure_ascii=False),
            str(tuple(said)) if said[1:] else repr(said),
        ):
            assert read_value(written) == said
            assert begins_as_messages(written)
        array = np.array(said, dtype=object)
        assert read_value(str(array)) == said, "no commas between"
        assert read_value(repr(array)) == said, "array([...], dtype=object)"


def test_pandas_tables_are_read_back(tmp_path):
    draw = random.Random(1)
    said = [messages(draw) for _ in range(20)]
    pd.DataFrame({"chosen": said}).to_parquet(tmp_path / "x.parquet")
    pd.read_parquet(tmp_path / "x.parquet").to_csv(tmp_path / "x.csv", index=False)
    stored = pd.read_csv(tmp_path / "x.csv")["chosen"]
    assert [read_value(text) for text in stored] == said


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "]", "[1", "{'a'}", "{'a': 1, 2}", "{1: 2}", "[1] 2", "hello", "['a", "[__import__('os')]", "[a.b]"),
        *("[{'role': 'user', 'content': 'x'}", "array([1", "array(1)", "{'a':}", "[1}", "(1]", "1", "'a'", "[...]"),
        "[" * 5000,
        "[" * 150 + "]" * 150,
        "[(" * 5000,
    ],
)
def test_what_is_no_list_or_object_is_refused(text):
    with suppress(Unreadable):
        assert not isinstance(read_value(text), list | dict), "JSON of something else"


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("[{'role': 'user', 'content': 'x'}]", True),
        ('{"from": "human", "value": "x"}', True),
        (' [\n  {"content": "x", "role": "user"}]', True),
        ("array([{'role': 'user'", False),
        ("[{'name': 'x'}]", False),
        ("The role: user", False),
        ('"role": "user"', False),
        ("['a', 'b']", False),
    ],
)
def test_messages_are_known_by_their_beginning(text, is_so):
    assert begins_as_messages(text) is is_so


def test_lists_of_texts():
    assert read_texts('["a", null, "b"]') == ["a", None, "b"]
    assert read_texts("['a' 'b']") == ["a", "b"]
    assert read_texts("[1, 2]") is None
    assert read_texts("[]") is None
    assert read_texts("a") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nHuman: Hi\n\nAssistant: Ja\n\nmehr", ["user Hi", "assistant Ja\n\nmehr"]),
        ("Human: Hi\n\nAssistant:", ["user Hi"]),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: ", ["user a", "assistant b", "user c"]),
        ("\n\nHuman: a", None),
        ("He said Human: a\n\nAssistant: b", None),
        ("\n\nAssistant: b\n\nHuman: c", None),
    ],
)
def test_transcripts(text, said):
    found = read_transcript(text)
    assert found == (said and [dict(zip(("role", "content"), each.split(" ", 1), strict=True)) for each in said])
