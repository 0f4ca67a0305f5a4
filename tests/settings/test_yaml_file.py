"""YAML as 1.2 reads it: values, lines, and what is refused."""

import pytest

from congrad.errors import UserError
from congrad.settings.yaml_file import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("FALSE", False),
        ("1e-5", 1e-5),
        ("5.0e-6", 5e-6),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("-.inf", float("-inf")),
        ("[a, 1, {b: off}]", ["a", 1, {"b": "off"}]),
        ("|\n  one\n  two\n", "one\ntwo\n"),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    found = parse_yaml(text, "x")
    assert (found, type(found)) == (value, type(value))


def test_lines_are_those_of_the_keys(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("# a run\nmodel:\n  name: x\n\ngenerate: {samples: 2,\n  seed: 3}\n", encoding="utf-8")
    values, lines = read_yaml(path)
    assert values == {"model": {"name": "x"}, "generate": {"samples": 2, "seed": 3}}
    assert lines[("model",)] == 2
    assert lines[("model", "name")] == 3
    assert lines[("generate", "seed")] == 6


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3\n", "run.yaml:3: a is given twice, first in line 1; keep one"),
        ("a:\n  b: 1\n  b: 1\n", "run.yaml:3: a.b is given twice, first in line 2; keep one"),
        ("a: [1, 2\nb: 3\n", "run.yaml:2: not YAML"),
        ("\tx: 1\n", "run.yaml:1: not YAML"),
        ("- a\n", "holds no sections"),
        ("a: !!python/object:os.system x\n", "run.yaml:1: the tag"),
        ("a: !secret x\n", "run.yaml:1: the tag"),
        ("a: &x\n  b: *x\n", "run.yaml:1: an alias that refers to itself"),
        ("? [1, 2]\n: 3\n", "run.yaml:1: a key that is not a word"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("a: \x07\n", "not YAML"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_by_line(tmp_path, text, complaint):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_yaml(path)
    assert complaint in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_one_of_other_bytes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\n")
    with pytest.raises(UserError, match=r"latin\.yaml: not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


def test_what_is_dumped_is_read_back_by_any_reader():
    import yaml

    content = {
        "words": ["off", "no", "1e-5", "010", "null", "1:30", "2024-01-01", "a: b", "#", "ü\n", ""],
        "numbers": [1e-5, 1.0, 3, float("inf")],
        "none": None,
        "true": True,
    }
    assert parse_yaml(dump_yaml(content), "x") == content
    assert yaml.safe_load(dump_yaml(content)) == content
