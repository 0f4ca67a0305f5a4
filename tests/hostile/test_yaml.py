"""YAML that means harm: a few lines that stand for millions of values, or that take long to read."""

import resource
import time

import pytest

from congrad.errors import UserError
from congrad.settings.read import read
from congrad.settings.yaml_file import MOST_CHARACTERS, MOST_VALUES, dump_yaml, parse_yaml, read_yaml

LAUGHS = "\n".join(
    [f"a{0}: &a{0} [x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9))]
)
MERGED = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 30))])
HOSTILE = {
    "laughs": LAUGHS,
    "keys": MERGED,
    "keys of one": MERGED.replace("\n", ", ").join(("{", "}")),
    "long": "a: [" + "1," * MOST_CHARACTERS + "]",
    "many": "a: " + "[1," * 400 + "1" + "]" * 400,
    "deep": "a: " + "[" * 90_000,
    "deep keys": "{a: " * 20_000,
    "long number": "a: " + "9" * 5000,
    "long float": "a: 1e" + "9" * 5000,
    "anchors": "a: &a [" + "*a, " * 20_000 + "]",
    "tags": "a: !!python/object/apply:os.system ['true']",
    "quotes": "a: '" + "''" * 40_000,
    "indents": "\n".join(" " * n + "a:" for n in range(300)),
    "comments": "#\n" * 49_000,
    "folded": "a: >\n" + " \n" * 49_000,
    "escapes": 'a: "' + "\\x41" * 24_000 + '"',
    "dense": "a: [" + "1," * 49_000 + "1]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_whatever_is_read_is_one_line_or_a_value_soon_and_in_little_memory(text, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    message = ""
    try:
        read_yaml(path)
    except UserError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 500
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


def test_what_aliases_stand_for_is_counted():
    with pytest.raises(UserError, match=rf"run\.yaml: holds more than {MOST_VALUES:,} values.*; write fewer aliases"):
        parse_yaml(LAUGHS, "run.yaml")
    with pytest.raises(UserError, match=r"generate\.stop=.*more than"):
        read(None, ["generate.stop=" + "{" + LAUGHS.replace("\n", ", ") + "}"])


def test_a_file_of_settings_is_no_longer_than_settings_are(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("a: " + "x" * MOST_CHARACTERS)
    with pytest.raises(UserError, match=rf"has 100,003 characters, and settings have at most {MOST_CHARACTERS:,}"):
        read_yaml(path)


def test_ordinary_aliases_and_numbers_keep_working():
    text = "engine: &e {kind: openai, url: 'http://x'}\ngenerate: {engine: *e}\njudge: {engine: *e}\n"
    value = parse_yaml(text, "run.yaml")
    assert value["generate"]["engine"] == value["judge"]["engine"] == {"kind": "openai", "url": "http://x"}
    many = {"a": list(range(10_000))}
    assert parse_yaml(dump_yaml(many), "run.yaml") == many
    assert parse_yaml("9" * 400, "x") == int("9" * 400)
