"""JSON whose columns change their type, and lines that are none."""

import json

import pytest

from congrad.preferences import load_preferences
from congrad.sources.json_lines import read_json

VALUES = [
    1,
    "7",
    None,
    {"a": 1},
    {"b": "x"},
    [1, "a", {"c": None}],
    2**64 - 1,
    -5,
    1.5,
    True,
    "",
    [],
    {},
    "null",
    '"q"',
]


def test_a_column_of_all_types_comes_out_as_it_went_in(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"v": value, "n": [number, None]} for number, value in enumerate(VALUES)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, numbers, left = read_json(path)
    assert list(found) == rows
    assert (numbers, left) == (list(range(len(rows))), [])


@pytest.mark.parametrize("values", [VALUES, [1, "1"], ["1", {"a": 1}], [{"a": "1"}, {"b": 1}], [["1"], [1]]])
def test_every_value_comes_out_as_it_went_in_however_the_file_is_read(tmp_path, values):
    pair = {"prompt": "Haus?", "chosen": " Haus", "rejected": " Baum", "language": "de"}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(pair | {"v": value}) + "\n" for value in values))
    assert [json.dumps(row["v"]) for row in load_preferences(path).dataset] == [json.dumps(value) for value in values]


def test_broken_lines_are_left_out_with_their_places(tmp_path):
    pair = {"prompt": "Haus?", "chosen": " Haus", "rejected": " Baum", "language": "de"}
    good = json.dumps(pair).encode() + b"\n"
    path = tmp_path / "de.jsonl"
    path.write_bytes(good + b'broken\n\n[1]\n{"v": "\\ud800"}\n{"v": "\xff"}\n' + good)
    found = load_preferences(path, on_bad_row="drop")
    assert [(each.spot.line, each.row, each.mistake.reason) for each in found.left_out] == [
        (2, 1, "not JSON"),
        (4, 2, "not a JSON object"),
        (5, 3, "half a surrogate pair"),
        (6, 4, "not UTF-8"),
    ]
    assert found.rows == [0, 5]
