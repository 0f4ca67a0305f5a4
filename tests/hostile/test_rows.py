"""Rows and files that mean harm: that run, open or fetch something, or take all memory or time."""

import bz2
import gzip
import json
import lzma
import time
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import make_tokenizer
from tests.files import write_jsonl

from congrad.errors import UserError
from congrad.evaluation.tasks import read_lines
from congrad.preferences import load_preferences
from congrad.preferences.tokenise import tokenise
from congrad.settings.input import Bounds
from congrad.training.pairs import check_template

CHATML = (
    "{% for message in messages %}<|{{ message.role }}|>{{ style }}{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TALK = {
    "prompt": [{"role": "user", "content": "Haus?"}],
    "chosen": [{"role": "assistant", "content": " Haus"}],
    "rejected": [{"role": "assistant", "content": " Baum"}],
    "language": "de",
}

# What a row sets for its template


def talk(**arguments: object) -> datasets.Dataset:
    rows = [{**TALK, "chat_template_kwargs": own} for own in (None, arguments)]
    return datasets.Dataset.from_list(rows)


RESERVED = {
    "chat_template": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "truncation": True,
    "max_length": 1,
    "padding": "max_length",
    "pad_to_multiple_of": 10**9,
    "tokenize": False,
    "return_dict": False,
    "return_tensors": "pt",
    "return_assistant_tokens_mask": True,
    "add_generation_prompt": False,
    "add_special_tokens": True,
    "continue_final_message": True,
    "sanitize_control_tokens": True,
    "tokenizer_kwargs": {"stride": 1},
    "conversation": [],
    "conversations": [],
    "messages": [{"role": "user", "content": "another"}],
    "eos_token": "another",
    "bos_token": None,
}


@pytest.mark.parametrize(("name", "value"), RESERVED.items(), ids=RESERVED)
def test_a_row_sets_variables_of_its_template_and_nothing_else(name, value):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML
    whole = tokenise(load_preferences(talk(style="")), tokenizer)
    dataset = talk(style="", **{name: value})
    if value is None:  # as Arrow fills what only other rows set
        same = tokenise(load_preferences(dataset), tokenizer)
        assert [each.tolist() for each in same.chosen_ids] == [each.tolist() for each in whole.chosen_ids]
        return
    message = f"row 1 .*: column 'chat_template_kwargs' sets '{name}', which is not a variable of the chat template"
    with pytest.raises(UserError, match=message):
        tokenise(load_preferences(dataset), tokenizer)
    with pytest.raises(UserError, match=message):
        check_template(dataset, tokenizer, "M")


def test_a_template_prints_no_more_than_memory_bears():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML
    many = {**TALK, "prompt": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}] * 20_000}
    rows = datasets.Dataset.from_list([{**many, "chat_template_kwargs": {"style": "x" * 10**5}}])
    with pytest.raises(UserError, match="may print for each of 40,002 messages; shorten it"):
        tokenise(load_preferences(rows), tokenizer)


TOOLS = {
    "deep": "[" * 10**5,
    "deep but whole": '[{"a": ' + "[" * 900 + "]" * 900 + "}]",
    "digits": "[" + "9" * 5000 + "]",
    "no list": '{"a": 1}',
    "functions": '["print"]',
}


@pytest.mark.parametrize("tools", TOOLS.values(), ids=TOOLS)
def test_tools_are_a_list_or_refused(tools):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML + "{{ tools | tojson }}"
    rows = datasets.Dataset.from_list([{**TALK, "tools": tools}])
    with pytest.raises(UserError, match="row 0"):
        tokenise(load_preferences(rows), tokenizer)


# Images and sounds that a row names, and bytes

PAIR = {"prompt": "Haus?", "chosen": " Haus", "rejected": " Baum", "language": "de"}
STORED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMED = {"bytes": None, "path": "http://127.0.0.1:9/x"}


def declared(path: Path, kind: pa.DataType, value: object, feature: object) -> Path:
    """Two pairs and a column "x", whose features the file's metadata declare."""
    features = {**{key: {"dtype": "string", "_type": "Value"} for key in PAIR}, "x": feature}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = {**{key: pa.array([text] * 2) for key, text in PAIR.items()}, "x": pa.array([None, value], kind)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


PLACES = {
    "plain": lambda feature, kind, value: (feature, kind, value),
    "list": lambda feature, kind, value: ({"feature": feature, "_type": "List"}, pa.list_(kind), [value]),
    "large list": lambda feature, kind, value: (
        {"feature": feature, "_type": "LargeList"},
        pa.large_list(kind),
        [value],
    ),
    "struct": lambda feature, kind, value: ({"a": feature}, pa.struct([("a", kind)]), {"a": value}),
    "both": lambda feature, kind, value: (
        {"feature": {"a": {"feature": feature, "_type": "List"}}, "_type": "List"},
        pa.list_(pa.struct([("a", pa.list_(kind))])),
        [{"a": [value]}],
    ),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("kind", ["Image", "Audio", "Video", "Pdf", "Nifti"])
def test_what_a_row_names_is_not_opened(tmp_path, monkeypatch, kind, place):
    """Neither by reading the rows nor by giving them out as the results do."""

    def opened(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    for feature in (datasets.Image, datasets.Audio, datasets.Video, datasets.Pdf, datasets.Nifti):
        monkeypatch.setattr(feature, "decode_example", opened)
    feature, arrow, value = place({"_type": kind}, STORED, NAMED)
    found = load_preferences(declared(tmp_path / "x.parquet", arrow, value, feature))
    assert found.dataset[1]["x"] == value
    assert list(found.dataset)[1]["x"] == value
    feature, arrow, value = place({"_type": kind}, STORED, {"bytes": b"x", "path": None})
    assert load_preferences(declared(tmp_path / "bytes.parquet", arrow, value, feature)).dataset[1]["x"] == value


def test_a_saved_dataset_declares_images_that_are_not_opened(tmp_path):
    saved = pa.table({**{key: [text] for key, text in PAIR.items()}, "x": pa.array([NAMED], STORED)})
    datasets.Dataset(saved).save_to_disk(tmp_path / "saved")
    path = tmp_path / "saved" / "dataset_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "features": {**info["features"], "x": {"_type": "Image"}}}))
    assert list(load_preferences(tmp_path / "saved").dataset) == [{**PAIR, "x": NAMED}]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(1)], ids=str)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_bytes_that_are_not_read_go_through(tmp_path, kind, place):
    _, arrow, value = place({}, kind, b"x")
    columns = {**{key: [text] * 2 for key, text in PAIR.items()}, "x": pa.array([None, value], arrow)}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert load_preferences(tmp_path / "x.parquet").dataset["x"][:] == [None, value]


def with_bytes(column: str) -> pa.Table:
    """Two conversations, of which the second has bytes in a column."""
    talk = pa.struct([("role", pa.string()), ("content", pa.string()), ("name", pa.binary())])
    columns = {
        key: pa.array([[{**turn, "name": None} for turn in TALK[key]]] * 2, pa.list_(talk))
        for key in ("prompt", "chosen", "rejected")
    }
    if column in columns:
        filled = [{**turn, "name": b"x"} for turn in TALK[column]]
        columns[column] = pa.array([columns[column][0].as_py(), filled], pa.list_(talk))
    else:
        columns[column] = pa.array([None, {"style": b"x"}], pa.struct([("style", pa.binary())]))
    return pa.table({**columns, "language": ["de"] * 2})


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected", "chat_template_kwargs"])
def test_bytes_that_would_be_read_are_refused_before_the_pass(tmp_path, congrad, column):
    pq.write_table(with_bytes(column), tmp_path / "x.parquet")
    called = congrad("filter", tmp_path / "x.parquet", "--model", "none", "--output", tmp_path / "out")
    assert called.refused
    message = f"x.parquet, row 1 (counted from 0): column '{column}' holds bytes, and text alone is read; write it as"
    assert message in called.err


@pytest.mark.parametrize("column", PAIR)
def test_text_stored_as_bytes_is_refused(tmp_path, column):
    columns = {key: pa.array([text.encode()] if key == column else [text]) for key, text in PAIR.items()}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=rf"x.parquet, row 0 .*: column '{column}' holds b'.*', not text"):
        load_preferences(tmp_path / "x.parquet")


# What is much larger, or deeper, than ordinary data

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
LINE = json.dumps(PAIR).encode() + b"\n"


def measured(source: object, **bounds: int) -> str:
    """What is said of a source, within a time."""
    began = time.process_time()
    with pytest.raises(UserError) as refused:
        load_preferences(source, bounds=Bounds(**bounds))
    assert time.process_time() - began < 5
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", [".jsonl", ".csv"])
@pytest.mark.parametrize(("suffix", "pack"), PACK.items(), ids=PACK)
def test_a_packed_file_holds_no_more_than_files_do(tmp_path, name, suffix, pack):
    path = tmp_path / f"de{name}{suffix}"
    path.write_bytes(pack(LINE * 20_000 if name == ".jsonl" else b"prompt,chosen,rejected\n" + b"a,b,c\n" * 300_000))
    assert "holds more than 1.0 MB when it is unpacked; unpack it" in measured(path, unpacked_bytes=10**6)


def test_a_small_file_does_not_become_a_large_one(tmp_path):
    path = tmp_path / "de.jsonl.gz"
    path.write_bytes(gzip.compress(LINE * 500_000, compresslevel=6))
    assert measured(path) == (
        f"{path}: holds more than 33.6 MB when it is unpacked; unpack it yourself, or raise input.bounds.unpacked_bytes"
    )


def test_what_is_packed_otherwise_than_its_name_says_is_refused(tmp_path):
    for name, data in {"a.jsonl": gzip.compress(LINE * 9), "b.csv": bz2.compress(b"a"), "c.jsonl.gz": LINE}.items():
        (tmp_path / name).write_bytes(data)
        assert ": is " in measured(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "d.jsonl", "w") as archive:
        archive.writestr("de.jsonl", LINE)
    assert "d.jsonl: is zip inside, and plain by its name; unpack it, or name" in measured(tmp_path / "d.jsonl")


@pytest.mark.parametrize("end", ["jsonl", "json", "csv", "parquet", "arrow", "saved"])
@pytest.mark.parametrize("column", ["prompt", "note"])
def test_a_row_is_no_longer_than_rows_are(tmp_path, end, column):
    rows = [PAIR | {"note": ""}, PAIR | {"note": ""} | {column: "x" * 20_000_000}]
    assert " a row of more than 4.2 MB; shorten it or remove it, or raise input.bounds.row_bytes" in measured(
        written(tmp_path / f"pairs.{end}", rows)
    )


@pytest.mark.parametrize("end", ["jsonl", "json", "csv", "parquet", "arrow", "saved"])
def test_a_file_has_no_more_columns_than_files_have(tmp_path, end):
    path = written(tmp_path / f"pairs.{end}", [PAIR | {f"c{number}": "" for number in range(60)}] * 2)
    assert measured(path, columns=50).endswith(
        "64 columns, which begin with 'prompt', 'chosen', 'rejected', 'language', 'c0'; "
        "remove those that are not needed, or raise input.bounds.columns"
    )
    assert len(load_preferences(path)) == 2


def test_thousands_of_columns_are_refused_soon(tmp_path):
    columns = {**PAIR, **{f"c{number}": "" for number in range(4000)}}
    assert "4,004 columns" in measured(write_jsonl(tmp_path / "pairs.jsonl", [columns] * 2))
    pq.write_table(pa.table({name: [value] for name, value in columns.items()}), tmp_path / "pairs.parquet")
    assert "4,004 columns" in measured(tmp_path / "pairs.parquet")


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    data = datasets.Dataset.from_list(rows)
    match path.suffix:
        case ".jsonl":
            write_jsonl(path, rows)
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            data.to_csv(path)
        case ".parquet":
            data.to_parquet(path)
        case ".arrow":
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.data.table.schema) as writer:
                writer.write_table(data.data.table)
        case _:
            data.save_to_disk(path)
    return path


START = json.dumps(PAIR)[:-1]
NESTED = {
    "lists": START + ', "x": ' + "[" * 10**5 + "]" * 10**5 + "}",
    "objects": START + ', "x": ' + '{"a":' * 10**5 + "1" + "}" * 10**5,
    "never closed": "[" * 10**5,
    "a line each": START + ', "x": ' + '{"a":\n' * 10**5,
    "after strings": START + ', "x": ["\\"[", "\\\\", ' + "[" * 10**5,
    "after an open string": '{"a": "\n' + '{"a":' * 10**5,
    "after what is closed": "}" * 10**5 + "\n" + '{"a":' * 10**5,
    "tools": START + ', "tools": [' + '{"a":' * 150 + "1" + "}" * 150 + "]}",
}


@pytest.mark.parametrize("first", ["", LINE.decode() * 12_000, "[" + json.dumps(PAIR) + ",\n", "\ufeff", "\n\n"])
@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED)
def test_deep_json_ends_in_one_line(tmp_path, text, first):
    path = tmp_path / "pairs.jsonl"
    path.write_text(first + text + "\n", encoding="utf-8")
    assert "nested too deeply (more than 100 lists and objects that are not closed); close" in measured(path)
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert "nested too deeply" in measured(packed)


def test_brackets_in_text_are_not_counted(tmp_path):
    brackets = '[{"' * 200 + "\\" * 3
    rows = [PAIR | {"chosen": brackets}, PAIR | {"rejected": "\\" * 101 + brackets}] * 3
    for end in ("jsonl", "json"):
        assert len(load_preferences(written(tmp_path / f"pairs.{end}", rows))) == 6
    (tmp_path / "lines.json").write_text(json.dumps(rows, indent=1))
    assert len(load_preferences(tmp_path / "lines.json")) == 6


def test_columns_are_no_deeper_than_arrow_bears(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text((START + ', "x": ' + "[" * 50 + "1" + "]" * 50 + "}\n") * 2)
    assert len(load_preferences(path)) == 2
    path.write_text((START + ', "x": ' + "[" * 90 + "1" + "]" * 90 + "}\n") * 2)
    assert measured(path).startswith(f"{path}: `datasets` cannot read it (Recursion level in ArrowSchema")


@pytest.mark.parametrize("times", [90, 150, 5000])
def test_features_are_no_deeper_than_columns(tmp_path, times):
    feature = '{"_type": "List", "feature": ' * times + '{"dtype": "string", "_type": "Value"}' + "}" * times
    schema = pa.schema([(key, pa.string()) for key in PAIR]).with_metadata(
        {"huggingface": '{"info": {"features": {"x": ' + feature + "}}}"}
    )
    table = pa.Table.from_pylist([PAIR] * 2, schema=schema)
    pq.write_table(table, tmp_path / "x.parquet")
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    for path in (tmp_path / "x.parquet", tmp_path / "x.arrow"):
        assert measured(path).startswith(f"{path}: ")


NINES = "9" * 5000


@pytest.mark.parametrize(
    "text",
    [
        *(f'{{"a": {NINES}}}', f'[{{"a": {NINES}}}]', f'{{"a": -{NINES}}}', f'{{"a": 1e{NINES}}}'),
        *(f'{START}, "x": 1e{NINES}}}', f'[{START}, "x": {NINES}}}]', f'{{"a":\n{NINES}}}', f"[{NINES}]", NINES),
    ],
)
def test_numbers_of_many_digits_end_in_one_line(tmp_path, text):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text + "\n")
    assert measured(path).startswith(f"{path}")


def test_a_header_of_thousands_of_columns_is_read_alone(tmp_path):
    names = ["prompt", "chosen", "rejected", "language", *(f"c{number}" for number in range(200_000))]
    for end, separator in {"csv": ",", "tsv": "\t", "csv.gz": ","}.items():
        table = "\n".join([separator.join(names), separator.join("x" for _ in names)]).encode()
        (tmp_path / f"pairs.{end}").write_bytes(gzip.compress(table) if end.endswith("gz") else table)
        assert " columns, which begin with 'prompt', 'chosen'" in measured(tmp_path / f"pairs.{end}")
    quoted = tmp_path / "quoted.csv"
    quoted.write_text('prompt,chosen,rejected,language,"' + "," * 3000 + '"\n' + "a,b,c,de,x\n" * 2)
    assert len(load_preferences(quoted)) == 2


def test_a_parquet_file_holds_no_more_than_files_do(tmp_path):
    """Each distinct value of a row group is stored once."""
    path = tmp_path / "pairs.parquet"
    rows = pa.table({name: [text] * 20_000 for name, text in (PAIR | {"prompt": "x" * 2000}).items()})
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for _ in range(3):
            writer.write_table(rows)
    assert path.stat().st_size < 300_000
    assert "holds more than 33.6 MB when it is unpacked; unpack it" in measured(path)
    assert len(load_preferences(path, bounds=Bounds(unpacked_bytes=2**28))) == 60_000


@pytest.mark.parametrize(("number", "offset"), [(2, -4000), (5, 3000), (5, 3_000_000), (5, 1_900_000_000)])
def test_a_saved_dataset_whose_values_lie_elsewhere_is_not_read(tmp_path, number, offset):
    """It is mapped into memory: to read such a value ends the process, or reads what belongs to others."""
    chosen = ["first", "second one", "third", "4", "the fifth"]
    folder = tmp_path / "saved"
    datasets.Dataset.from_list([PAIR | {"chosen": text} for text in chosen]).save_to_disk(folder)
    offsets = np.cumsum([0, *map(len, chosen)], dtype=np.int32)
    damaged = offsets.copy()
    damaged[number] = offset
    path = next(folder.glob("*.arrow"))
    data = path.read_bytes()
    assert data.count(offsets.tobytes()) == 1
    path.write_bytes(data.replace(offsets.tobytes(), damaged.tobytes()))
    assert "saved: cannot be read as a saved dataset (" in measured(folder)


@pytest.mark.parametrize(("suffix", "pack"), PACK.items(), ids=PACK)
def test_a_mistake_in_a_packed_file_has_its_line(tmp_path, suffix, pack):
    path = tmp_path / f"de.jsonl{suffix}"
    path.write_bytes(pack(LINE + b"{\n" + LINE))
    assert measured(path).startswith(f"{path}:2: not JSON (")


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.txt"])
def test_a_line_of_a_task_is_bounded_whatever_the_file_is_called(tmp_path, name):
    for text, said in {"[" * 100_000: "nested too deeply", '{"a": "' + "x" * 5_000_000 + '"}': "a row of more"}.items():
        (tmp_path / name).write_text(f'{{"a": 1}}\n{text}\n')
        with pytest.raises(UserError, match=rf"{name}:2: {said}"):
            list(read_lines(tmp_path / name, Bounds()))
