"""Every kind of input gives the same rows, and a row keeps its place in its file."""

import gzip
import json
import os
import shutil
from pathlib import Path

import datasets
import pytest
from tests.files import write_jsonl

from congrad.errors import UserError
from congrad.preferences import load_preferences, sample
from congrad.preferences.load import read_preferences
from congrad.settings.input import Columns, Input

ROWS = [
    {"id": 1, "prompt": "Hallo?", "chosen": "Guten Tag", "rejected": "NA", "language": "de"},
    {"id": 2, "prompt": "Wie viel\nist 3+4?", "chosen": "007", "rejected": "", "language": "de"},
    {"id": 3, "prompt": "Hva er «7»?", "chosen": "et tall", "rejected": "null", "language": "no"},
    {"id": 4, "prompt": '質問, "引用"', "chosen": "答え", "rejected": " x", "language": "ja"},
]


def without(row: dict, *columns: str) -> dict:
    return {column: value for column, value in row.items() if column not in columns}


def save(kind: str, folder: Path):
    data = datasets.Dataset.from_list(ROWS)
    path = folder / f"pairs.{kind}"
    match kind:
        case "jsonl":
            return write_jsonl(path, ROWS)
        case "json":
            path.write_text(json.dumps(ROWS, indent=1))
        case "jsonl.gz":
            path.write_bytes(gzip.compress(write_jsonl(folder / "plain", ROWS).read_bytes()))
        case "csv":
            data.to_pandas().to_csv(path, index=False)
        case "tsv":
            data.to_pandas().to_csv(path, index=False, sep="\t")
        case "parquet":
            data.to_pandas().to_parquet(path)
        case "saved":
            data.save_to_disk(path)
        case "saved-splits":
            datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(path)
        case "folder":
            path.mkdir()
            for start, name in ((0, "a"), (2, "b")):
                write_jsonl(path / f"{name}.jsonl", ROWS[start : start + 2])
            (path / "README.md").write_text("not data")
            (path / ".hidden.csv").write_text("not data")
        case "memory":
            return data
        case "memory-indices":
            return datasets.Dataset.from_list(ROWS[::-1]).select([3, 2, 1, 0])
    return path


KINDS = [
    "jsonl",
    "json",
    "jsonl.gz",
    "csv",
    "tsv",
    "parquet",
    "saved",
    "saved-splits",
    "folder",
    "memory",
    "memory-indices",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gives_the_same_rows_and_fingerprint(tmp_path, kind):
    preferences = load_preferences(save(kind, tmp_path))
    in_text = kind in ("csv", "tsv")  # which have no other type
    assert preferences.dataset.to_list() == [{**row, "id": str(row["id"])} if in_text else row for row in ROWS]
    assert preferences.languages == ["de", "de", "no", "ja"]
    assert preferences.rows == [0, 1, 2, 3]
    assert preferences.fingerprint == load_preferences(datasets.Dataset.from_list(ROWS)).fingerprint


WHERE = {
    "jsonl": "pairs.jsonl:3",
    "json": "pairs.json, row 2 (counted from 0)",
    "jsonl.gz": "pairs.jsonl.gz:3",
    "csv": "pairs.csv:5",
    "parquet": "pairs.parquet, row 2 (counted from 0)",
    "folder": "pairs.folder/b.jsonl:1",
    "memory": "dataset, row 2 (counted from 0)",
}


@pytest.mark.parametrize(("kind", "place"), WHERE.items())
def test_a_row_is_named_by_file_and_line(tmp_path, kind, place):
    assert str(load_preferences(save(kind, tmp_path)).where(2)).endswith(place)


def test_blank_lines_count_as_lines_but_not_as_rows(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n" + json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[1]))
    assert str(load_preferences(path).where(1)) == f"{path}:4"


def test_file_names_with_glob_characters_are_read_as_they_are(tmp_path):
    folder = tmp_path / "runs[1]"
    folder.mkdir()
    assert len(load_preferences(write_jsonl(folder / "a*[x]?.jsonl", ROWS))) == len(ROWS)


def test_a_changed_file_is_read_anew_even_with_its_old_time(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    before, times = load_preferences(path), path.stat()
    write_jsonl(path, [{**ROWS[0], "chosen": "Guten Xag"}, *ROWS[1:]])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = load_preferences(path)
    assert after.dataset[0]["chosen"] == "Guten Xag"
    assert before.fingerprint != after.fingerprint
    assert before.dataset[0]["chosen"] == "Guten Tag"


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected", "language"])
def test_the_fingerprint_sees_every_column_that_matters(column):
    def fingerprint(rows: list[dict]) -> str:
        return load_preferences(datasets.Dataset.from_list(rows)).fingerprint

    assert fingerprint(ROWS) != fingerprint([{**ROWS[0], column: ROWS[0][column] + "!"}, *ROWS[1:]])
    assert fingerprint(ROWS) == fingerprint([{**row, "id": 0} for row in ROWS])
    assert fingerprint(ROWS) != fingerprint(ROWS[::-1])


def test_the_fingerprint_of_conversations_ignores_keys_that_the_format_fills_with_null():
    def fingerprint(message: dict) -> str:
        said = [{"role": "assistant", "content": "Ja"}]
        row = {"prompt": [message], "chosen": said, "rejected": said, "language": "de"}
        return load_preferences(datasets.Dataset.from_list([row])).fingerprint

    message = {"role": "user", "content": "Ja?"}
    assert fingerprint(message) == fingerprint({"content": "Ja?", "name": None, "role": "user"})
    assert fingerprint(message) != fingerprint({**message, "name": "Eva"})


def test_languages_come_from_file_names_where_no_file_has_the_column(tmp_path):
    for name, rows in (("zh-Hant", ROWS[3:]), ("de", ROWS[:2])):
        write_jsonl(tmp_path / f"{name}.jsonl", [without(row, "language") for row in rows])
    preferences = load_preferences(tmp_path)
    assert preferences.languages == ["de", "de", "zh-Hant"]
    assert "language" not in preferences.dataset.column_names
    write_jsonl(tmp_path / "en.jsonl", ROWS[:1])
    with pytest.raises(UserError, match=r"de\.jsonl: no column 'language'"):
        load_preferences(tmp_path)


def test_file_names_that_are_no_languages_are_not_taken_for_them(tmp_path):
    write_jsonl(tmp_path / "train-00000-of-00001.jsonl", [without(row, "language") for row in ROWS])
    with pytest.raises(UserError, match="no column 'language'"):
        load_preferences(tmp_path)


@pytest.mark.parametrize("feature", [datasets.ClassLabel(names=["no", "de"]), datasets.Value("int64")])
def test_any_column_will_do_as_the_group(feature):
    data = datasets.Dataset.from_list(
        [{**without(row, "language"), "task": number % 2} for number, row in enumerate(ROWS)]
    )
    preferences = load_preferences(data.cast_column("task", feature), columns=Columns(language="task"))
    names = ["no", "de"] if isinstance(feature, datasets.ClassLabel) else ["0", "1"]
    assert preferences.languages == names * 2


def test_splits_of_a_folder_are_those_of_datasets(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    write_jsonl(tmp_path / "test.jsonl", ROWS[:1])
    assert len(load_preferences(tmp_path)) == 4
    assert len(load_preferences(tmp_path, split="test")) == 1
    with pytest.raises(UserError, match="no split 'dev'; there are 'train', 'test'"):
        load_preferences(tmp_path, split="dev")


def test_files_whose_columns_differ_are_joined(tmp_path):
    write_jsonl(tmp_path / "de.jsonl", [{**row, "note": "x", "share": 1} for row in ROWS[:2]])
    write_jsonl(tmp_path / "en.jsonl", [{**row, "share": 0.5} for row in ROWS[2:]])
    write_jsonl(tmp_path / "fr.jsonl", [{**row, "share": None} for row in ROWS[2:]])
    preferences = load_preferences(tmp_path)
    assert preferences.dataset["note"] == ["x", "x", None, None, None, None]
    assert preferences.dataset["share"] == [1.0, 1.0, 0.5, 0.5, None, None]


def test_conversations_whose_keys_differ_between_files_and_messages_are_joined(tmp_path):
    said = [{"role": "assistant", "content": "Ja"}]
    prompts = {
        "de": [{"role": "user", "content": "a", "name": "Eva"}, {"role": "user", "content": "b"}],
        "en": [{"content": "c", "role": "user"}],
        "fr": [{"role": "user", "content": "d", "name": "Eve"}],
    }
    for name, prompt in prompts.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [{"prompt": prompt, "chosen": said, "rejected": said}])
    preferences = load_preferences(tmp_path)
    contents = [[message["content"] for message in prompt] for prompt in preferences.dataset["prompt"]]
    assert contents == [["a", "b"], ["c"], ["d"]]


def test_the_users_progress_bars_and_log_level_are_left_alone(tmp_path, capfd):
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    level = datasets.logging.get_verbosity()
    load_preferences(path)
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(UserError):
        load_preferences(tmp_path / "bad.jsonl")
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")
    datasets.disable_progress_bars()
    load_preferences(shutil.copy(path, tmp_path / "y.jsonl"))
    assert datasets.are_progress_bars_disabled()
    datasets.enable_progress_bars()


def many(counts: dict[str, int]) -> datasets.Dataset:
    languages = [language for language, count in counts.items() for _ in range(count)]
    rows = [{**ROWS[0], "id": number, "language": language} for number, language in enumerate(languages)]
    return datasets.Dataset.from_list(rows)


@pytest.mark.parametrize(
    ("limit", "counts"),
    [
        (20, {"a": 10, "b": 8, "c": 2}),  # exact shares
        (10, {"a": 5, "b": 4, "c": 1}),
        (3, {"a": 1, "b": 1, "c": 1}),  # at least one each
        (2, {"a": 1, "b": 1}),  # too few for one each
        (7, {"a": 3, "b": 3, "c": 1}),  # shares 3.5, 2.8, 0.7: b and c have the largest remainders
        (99, {"a": 49, "b": 40, "c": 10}),  # shares 49.5, 39.6, 9.9: a has the smallest remainder
    ],
)
def test_a_sample_is_stratified_by_largest_remainder(limit, counts):
    preferences = load_preferences(many({"a": 50, "b": 40, "c": 10}))
    taken = sample(preferences, limit, seed=1)
    assert {language: taken.languages.count(language) for language in set(taken.languages)} == counts
    assert taken.rows == sorted(taken.rows)
    assert taken.dataset["id"] == taken.rows
    assert str(taken.where(limit - 1)) == f"dataset, row {taken.rows[-1]} (counted from 0)"


def test_a_sample_depends_on_the_seed_alone():
    preferences = load_preferences(many({"a": 50, "b": 40}))
    assert sample(preferences, 20).rows == sample(preferences, 20).rows
    assert sample(preferences, 20).rows != sample(preferences, 20, seed=1).rows
    assert sample(preferences, 90) is preferences
    with pytest.raises(UserError, match="limit: 0 rows"):
        sample(preferences, 0)


def test_the_column_of_prompts_must_be_there(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b", "language": "de", "topic": "t"}\n')
    assert len(read_preferences(Input(str(path), columns=Columns(group="topic")))) == 1
    with pytest.raises(UserError, match=r"no column 'topics' among .*the nearest is 'topic'.*input.columns.group"):
        read_preferences(Input(str(path), columns=Columns(group="topics")))
