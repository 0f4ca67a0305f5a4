"""Columns of all types come back as they went in: in kept.jsonl, or in kept.parquet where JSON has no type for them."""

import base64
import csv
import datetime
import decimal
import json
import math
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from congrad import FilterConfig, Input, Model, UserError, filter_preferences
from congrad.filtering.exact import inexact_columns, inexact_in_words, is_exact
from congrad.filtering.left_out import input_record
from congrad.filtering.outputs import write_selection
from congrad.filtering.rankings import judge_margins
from congrad.preferences import load_preferences
from congrad.settings.input import Columns

ALPHABET = string.ascii_letters + string.digits + " \t\n\"',;{}[]\\/é中🦉\u200d"
ODD_TEXT = ("", "NA", "null", "None", "00000", "007", "1e5", "-0", "1.0", "true", "nan", "inf", " x ", "2026-11-21")


def text(draw: random.Random) -> str:
    if draw.random() < 0.5:
        return draw.choice(ODD_TEXT)
    return "".join(draw.choices(ALPHABET, k=draw.randrange(12)))


def blob(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(6))


def moment(draw: random.Random) -> datetime.datetime:
    return datetime.datetime(2000, 1, 1) + datetime.timedelta(microseconds=draw.randrange(10**15))


def whole(low: int, high: int) -> Callable[[random.Random], int]:
    return lambda draw: draw.choice([low, high, 0, draw.randint(low, high)])


JSON_TYPES: list[tuple[pa.DataType, Callable[[random.Random], Any]]] = [
    (pa.string(), text),
    (pa.large_string(), text),
    (pa.bool_(), lambda draw: draw.random() < 0.5),
    (pa.int8(), whole(-(2**7), 2**7 - 1)),
    (pa.int64(), whole(-(2**63), 2**63 - 1)),
    (pa.uint32(), whole(0, 2**32 - 1)),
    (pa.uint64(), whole(0, 2**64 - 1)),
    (pa.float32(), lambda draw: float(np.float32(draw.gauss(0, 1e5)))),
    (pa.float64(), lambda draw: draw.choice([0.1, 1e300, 5e-324, draw.gauss(0, 1)])),
]
OTHER_TYPES: list[tuple[pa.DataType, Callable[[random.Random], Any]]] = [
    (pa.binary(), blob),
    (pa.large_binary(), blob),
    (pa.binary(3), lambda draw: draw.randbytes(3)),
    (pa.decimal128(12, 3), lambda draw: decimal.Decimal(draw.randrange(10**9)).scaleb(-3)),
    (pa.decimal256(50, 2), lambda draw: decimal.Decimal(draw.randrange(10**27)).scaleb(-2)),
    (pa.timestamp("us"), moment),
    (pa.timestamp("ms", "Europe/Berlin"), lambda draw: draw.randrange(10**12)),
    (pa.timestamp("ns"), lambda draw: draw.randrange(10**18)),
    (pa.timestamp("ms"), lambda draw: draw.choice([10**17, 1])),  # after the year 9999
    (pa.date32(), lambda draw: draw.randrange(20_000)),
    (pa.time64("ns"), lambda draw: draw.randrange(86_400 * 10**9)),
    (pa.duration("us"), lambda draw: draw.randrange(10**12)),
    (pa.float64(), lambda draw: draw.choice([math.inf, -math.inf, math.nan, 1.5])),
    (pa.float32(), lambda draw: draw.choice([math.nan, 0.5])),
]


def nested(
    kind: pa.DataType, value: Callable[[random.Random], Any], draw: random.Random
) -> tuple[pa.DataType, Callable[[random.Random], Any]]:
    """The type itself, or a list or an object of it."""
    match draw.randrange(4):
        case 0:
            return pa.list_(kind), lambda draw: [value(draw) for _ in range(draw.randrange(3))]
        case 1:
            return pa.struct([("a", kind), ("b", pa.int32())]), lambda draw: {"a": value(draw), "b": None}
        case _:
            return kind, value


def generated(seed: int, types: list[tuple[pa.DataType, Callable[[random.Random], Any]]]) -> pa.Table:
    """A table of pairs with columns of these types."""
    draw = random.Random(seed)
    count = draw.randrange(2, 40)
    columns = {
        "prompt": pa.array([f"Haus {number}?" for number in range(count)]),
        "chosen": pa.array([f" a{text(draw)}" for _ in range(count)]),
        "rejected": pa.array([f" b{text(draw)}" for _ in range(count)]),
        "language": pa.array([draw.choice(["de", "sw"]) for _ in range(count)]),
    }
    for number in range(draw.randrange(1, 6)):
        kind, value = nested(*draw.choice(types), draw)
        rows = [None if draw.random() < 0.2 else value(draw) for _ in range(count)]
        columns[f"c{number}"] = pa.array(rows, kind)
    return pa.table(columns)


def selected(path: Path, output: Path, seed: int) -> tuple[list[int], list[int]]:
    """Writes a selection of a file's rows, and gives the rows that are kept and dropped."""
    preferences = load_preferences(path)
    draw = np.random.default_rng(seed)
    keep_N = draw.random(len(preferences)) < 0.5
    score_N = np.where(draw.random(len(preferences)) < 0.2, np.nan, draw.random(len(preferences))).astype(np.float32)
    output.mkdir()
    write_selection(output, preferences, score_N, keep_N, "congrad_score")
    return np.flatnonzero(keep_N).tolist(), np.flatnonzero(~keep_N).tolist()


def lines(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    for row in rows:
        assert list(row)[-1] == "congrad_score"
        del row["congrad_score"]
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_a_parquet_table_comes_back_with_its_types(tmp_path, seed):
    table = generated(seed, JSON_TYPES + OTHER_TYPES)
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=7)
    in_two = selected(tmp_path / "in.parquet", tmp_path / "out", seed)
    exact = all(is_exact(column.combine_chunks()) for column in table.columns)
    for rows, name in zip(in_two, ("kept", "dropped"), strict=True):
        wanted = table.take(pa.array(rows, pa.int64()))
        found = lines(tmp_path / "out" / f"{name}.jsonl")
        assert [list(row) for row in found] == [table.column_names] * len(rows)
        assert (tmp_path / "out" / f"{name}.parquet").exists() == (not exact)
        if exact:
            assert found == wanted.to_pylist()
            continue
        back = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert back.schema.field("congrad_score").type == pa.float32()
        back = back.drop_columns("congrad_score").combine_chunks()
        assert back.schema.remove_metadata() == table.schema
        for column in table.column_names:  # formatted, as NaN is not equal to itself
            assert str(back[column].cast(plain(back[column].type)).to_pylist()) == str(
                wanted[column].cast(plain(wanted[column].type)).to_pylist()
            )
            if is_exact(table[column].combine_chunks()):
                assert [row[column] for row in found] == wanted[column].to_pylist()


def plain(kind: pa.DataType) -> pa.DataType:
    """The type with numbers in place of times, all of which Python can hold."""
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    return pa.list_(plain(kind.value_type)) if pa.types.is_list(kind) else kind


@pytest.mark.parametrize("seed", range(8))
def test_json_lines_come_back_as_the_same_values(tmp_path, seed):
    rows = generated(seed, [each for each in JSON_TYPES if each[0] != pa.uint64()]).to_pylist()
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, dropped = selected(tmp_path / "in.jsonl", tmp_path / "out", seed)
    assert lines(tmp_path / "out" / "kept.jsonl") == [rows[row] for row in kept]
    assert lines(tmp_path / "out" / "dropped.jsonl") == [rows[row] for row in dropped]
    assert not (tmp_path / "out" / "kept.parquet").exists()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("end", ["csv", "tsv"])
def test_fields_of_a_table_come_back_as_the_same_text(tmp_path, seed, end):
    draw = random.Random(seed)
    rows = [
        {"id": text(draw), "prompt": "Haus?", "chosen": f"a{text(draw)}", "rejected": "b", "language": "de"}
        | {f"c{number}": text(draw) for number in range(4)}
        for _ in range(draw.randrange(2, 30))
    ]
    with (tmp_path / f"in.{end}").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if end == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
    kept, dropped = selected(tmp_path / f"in.{end}", tmp_path / "out", seed)
    assert lines(tmp_path / "out" / "kept.jsonl") == [rows[row] for row in kept]
    assert lines(tmp_path / "out" / "dropped.jsonl") == [rows[row] for row in dropped]


def test_languages_and_prompts_of_a_table_are_text(tmp_path):
    (tmp_path / "in.csv").write_text("prompt,chosen,rejected,grp,lang\nHaus?,a,b,007,01\nHund?,a,b,7,1\n")
    found = load_preferences(tmp_path / "in.csv", columns=Columns(language="lang", group="grp"))
    assert found.languages == ["01", "1"]
    assert found.dataset["grp"][:] == ["007", "7"]


def test_a_table_whose_rows_have_more_fields_than_names_is_refused(tmp_path):
    (tmp_path / "in.csv").write_text("prompt,chosen,rejected,language\nHaus?,a,b,c,de\nHund?,a,b,c,de\n")
    with pytest.raises(UserError, match=r"in\.csv: the rows have more fields than the header has names; quote"):
        load_preferences(tmp_path / "in.csv")
    (tmp_path / "in.csv").write_text("prompt,chosen,rejected,language,__index_level_0__\nHaus?,a,b,de,c\n")
    assert load_preferences(tmp_path / "in.csv").dataset[0]["__index_level_0__"] == "c"


def test_what_json_cannot_hold_is_said(tmp_path):
    table = pa.table(
        {
            **{name: [f"{name} {row}" for row in range(2)] for name in ("prompt", "chosen", "rejected")},
            "language": ["de", "de"],
            "blob": pa.array([b"\x00\xff", None]),
            "when": pa.array([10**15, 0], pa.timestamp("s")),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    preferences = load_preferences(tmp_path / "in.parquet")
    assert inexact_columns(preferences.dataset) == input_record(preferences)["inexact"] == ["blob", "when"]
    write_selection(tmp_path, preferences, np.array([0.5, 0.25]), np.array([True, True]), "congrad_score")
    first, second = lines(tmp_path / "kept.jsonl")
    assert base64.b64decode(first["blob"]) == b"\x00\xff"
    assert second["blob"] is None
    assert (first["when"], second["when"]) == (10**18, "1970-01-01 00:00:00")  # read as milliseconds
    assert pq.read_table(tmp_path / "dropped.parquet").num_rows == 0
    again = datasets.Dataset.from_parquet(str(tmp_path / "kept.parquet"), cache_dir=str(tmp_path))
    assert again.features == {**preferences.dataset.features, "congrad_score": datasets.Value("float64")}
    assert inexact_in_words(["a"]) == (
        "column `a` holds what JSON has no type for: it is text or null in kept.jsonl (bytes are base64), and as it "
        "was in kept.parquet"
    )
    assert inexact_in_words(["a", "b"]).startswith("columns `a`, `b` hold what JSON has no type for: they are text")


def test_a_score_that_is_replaced_is_not_said_to_be_kept(tmp_path):
    """A column of the score's name is not among the columns of the selection."""
    columns = {name: [f"{name} {row}" for row in range(2)] for name in ("prompt", "chosen", "rejected")}
    table = pa.table({**columns, "language": ["de", "de"], "congrad_score": [math.nan, 1.0]})
    pq.write_table(table, tmp_path / "in.parquet")
    preferences = load_preferences(tmp_path / "in.parquet")
    write_selection(tmp_path, preferences, np.array([0.5, 0.25]), np.array([True, True]), "congrad_score")
    assert not (tmp_path / "kept.parquet").exists()
    assert input_record(preferences, "congrad_score")["inexact"] == []
    assert input_record(preferences, "baseline_score")["inexact"] == ["congrad_score"]


def test_a_run_with_bytes_says_so_and_is_filtered_again(tmp_path, congrad, make_rows, tiny_directory):
    rows = pa.Table.from_pylist(make_rows(12)).append_column("blob", pa.array([b"\xff"] * 12))
    pq.write_table(rows, tmp_path / "in.parquet")
    filter_preferences(FilterConfig(Input(str(tmp_path / "in.parquet")), Model(str(tiny_directory))), tmp_path / "run")
    before = (tmp_path / "run" / "kept.parquet").read_bytes()
    called = congrad("filter", tmp_path / "run")
    assert called.code == 0, called.err
    assert " ".join(called.err.split()).count("column `blob` holds what JSON has no type for") == 1
    assert (tmp_path / "run" / "kept.parquet").read_bytes() == before
    kept = pq.read_table(tmp_path / "run" / "kept.parquet")
    assert kept["blob"].to_pylist() == [b"\xff"] * kept.num_rows


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1], pa.int64())),
        (pa.array([2**60 + 1], pa.int64()), pa.array([0.5], pa.float64())),
    ],
)
def test_numbers_that_files_have_in_other_types_never_change(tmp_path, first, second):
    row = {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"], "language": ["de"]}
    for name, values in (("a", first), ("b", second)):
        pq.write_table(pa.table({**row, "x": values}), tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: column 'x' holds numbers that change .*; give it one type"):
        load_preferences(tmp_path)


def test_scores_of_a_table_are_numbers_that_are_text(tmp_path):
    header = "prompt,chosen,rejected,language,chosen_score,rejected_score\n"
    (tmp_path / "in.csv").write_text(f"{header}a,b,c,de,4.5,2\nd,e,f,de,,2\n")
    margins = judge_margins(load_preferences(tmp_path / "in.csv"))
    assert margins[0] == 2.5
    assert math.isnan(margins[1])
    (tmp_path / "in.csv").write_text(f"{header}a,b,c,de,4.5,good\n")
    with pytest.raises(UserError, match=r"in\.csv:2: column 'rejected_score' holds 'good', not a number"):
        judge_margins(load_preferences(tmp_path / "in.csv"))
