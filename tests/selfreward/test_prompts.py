"""Prompts from files: what is read, what is refused and with which words, and how a sample is drawn."""

import gzip

import datasets
import pytest

from congrad.errors import UserError
from congrad.selfreward.prompts import load_prompts
from congrad.settings.selfreward import Prompts
from congrad.stage import content_key

ROWS = [
    {"prompt": "Drei Flüsse?", "language": "de"},
    {"prompt": "Three rivers?", "language": "en"},
    {"prompt": "Drei Flüsse?", "language": "de"},
    {"prompt": "Drei Flüsse?", "language": "nl"},
    {"prompt": "Drei Flüsse?", "language": "de"},
]
TALK = {"prompt": [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Na?"}], "language": "de"}


def complaint(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        load_prompts(Prompts(*args, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv", "saved"])
def test_every_format_gives_the_same_prompts_each_once(tmp_path, form):
    path = tmp_path / f"prompts.{form}"
    data = datasets.Dataset.from_list(ROWS)
    {"jsonl": data.to_json, "parquet": data.to_parquet, "csv": data.to_csv, "saved": data.save_to_disk}[form](path)
    prompts = load_prompts(Prompts(str(path)))
    assert [(p.row, p.language, p.prompt, p.repeats) for p in prompts] == [
        (0, "de", "Drei Flüsse?", 2),
        (1, "en", "Three rivers?", 0),
        (3, "nl", "Drei Flüsse?", 0),
    ]
    assert [p.key for p in prompts] == [content_key(p.language, p.prompt) for p in prompts]


def test_columns_of_other_names_and_text_that_looks_like_none(tmp_path):
    (tmp_path / "x.csv").write_text("frage,tag\n7,no\nNA,no\n")
    prompts = load_prompts(Prompts(str(tmp_path / "x.csv"), columns={"prompt": "frage", "language": "tag"}))
    assert [(p.prompt, p.language) for p in prompts] == [("7", "no"), ("NA", "no")]


def test_a_folder_names_languages_and_rows_are_counted_through(tmp_path, save_rows):
    for name, rows in (("de", ["a", "b"]), ("zh-Hant", ["a"])):
        save_rows(tmp_path / f"{name}.jsonl", [{"prompt": row} for row in rows])
    prompts = load_prompts(Prompts(str(tmp_path)))
    assert [(p.row, p.language, p.prompt) for p in prompts] == [(0, "de", "a"), (1, "de", "b"), (2, "zh-Hant", "a")]


def test_conversations_keep_their_messages_and_no_null(tmp_path, save_rows):
    named = {"role": "user", "content": "Und?", "name": "Ada"}
    path = save_rows(tmp_path / "x.jsonl", [TALK, {**TALK, "prompt": [named]}, TALK])
    first, second = load_prompts(Prompts(str(path)))
    assert first.prompt == TALK["prompt"]
    assert second.prompt == [named]
    assert (first.repeats, second.repeats) == (1, 0)


TABLE = {
    "empty": ({"prompt": " \n"}, ["x.jsonl:2", "'prompt'", "empty prompt", "remove the row"]),
    "null": ({"prompt": None}, ["x.jsonl:2", "'prompt'", "null"]),
    "no language": ({"language": None}, ["x.jsonl:2", "'language'", "null or missing", "fill it"]),
    "blank language": ({"language": ""}, ["x.jsonl:2", "'language'", "empty language", "fill it"]),
    "image": ({"images": ["cat.png"]}, ["x.jsonl:2", "'images'", "holds an image", "remove the row"]),
}


@pytest.mark.parametrize(("change", "parts"), TABLE.values(), ids=TABLE)
def test_a_bad_row_is_named_by_file_line_and_column(tmp_path, save_rows, change, parts):
    message = complaint(str(save_rows(tmp_path / "x.jsonl", [ROWS[0], {**ROWS[1], **change}])))
    assert all(part in message for part in parts), message


TALK_TABLE = {
    "no messages": ([], ["empty conversation"]),
    "says nothing": ([{"role": "user", "content": " "}], ["empty prompt"]),
    "no content": ([{"role": "user"}], ["message 0", "no 'content'"]),
    "answered": ([*TALK["prompt"], {"role": "assistant", "content": "Ja"}], ["ends with an answer", "last message"]),
}


@pytest.mark.parametrize(("messages", "parts"), TALK_TABLE.values(), ids=TALK_TABLE)
def test_a_bad_conversation_is_named_by_file_line_and_column(tmp_path, save_rows, messages, parts):
    message = complaint(str(save_rows(tmp_path / "x.jsonl", [TALK, {**TALK, "prompt": messages}])))
    assert all(part in message for part in ["x.jsonl:2", "'prompt'", *parts]), message


def test_missing_columns_are_named_with_the_nearest_and_the_setting(tmp_path, save_rows):
    path = save_rows(tmp_path / "x.jsonl", [{"promt": "a", "tongue": "de"}])
    assert "no column 'prompt'" in (message := complaint(str(path)))
    assert "nearest is 'promt'" in message
    assert "prompts.columns.prompt" in message
    message = complaint(str(path), columns={"prompt": "promt"})
    assert "no column 'language'" in message
    assert "prompts.columns.language" in message


def test_settings_check_themselves():
    for options, part in (({}, "prompts.source is missing"), ({"source": "x", "limit": 0}, "prompts.limit 0")):
        with pytest.raises(UserError, match=part):
            Prompts(**options)
    assert "prompts.source is missing" in complaint(pairs="x")


def test_a_sample_has_every_language_by_its_share_and_depends_on_its_own_prompts_only(tmp_path, save_rows):
    counts = {"de": 60, "en": 30, "sw": 10}
    rows = [{"prompt": f"{language} {i}", "language": language} for language, n in counts.items() for i in range(n)]
    path = str(save_rows(tmp_path / "x.jsonl", rows + rows[:5]))
    drawn = load_prompts(Prompts(path, limit=20))
    assert {language: sum(p.language == language for p in drawn) for language in counts} == {"de": 12, "en": 6, "sw": 2}
    assert [p.row for p in drawn] == sorted(p.row for p in drawn)
    assert load_prompts(Prompts(path, limit=20)) == drawn
    assert load_prompts(Prompts(path, limit=20, seed=1)) != drawn
    assert len(load_prompts(Prompts(path, limit=1000))) == 100
    fewer = str(save_rows(tmp_path / "y.jsonl", rows[:60]))
    assert [p.prompt for p in load_prompts(Prompts(fewer, limit=12))] == [p.prompt for p in drawn[:12]]


def test_a_broken_line_is_refused_where_only_a_full_reading_finds_it(tmp_path):
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "a", "language": "de"}\n{"prompt": "b", "lang\n'))
    assert complaint(str(path)).startswith(f"{path}:2: not JSON (")
    path.write_bytes(gzip.compress(b'{"prompt": "a", "language": "de"}\n{"prompt"\n{\n'))
    assert complaint(str(path)).endswith("; fix them")


def test_a_row_without_a_language_is_refused_by_the_column_that_was_found(tmp_path):
    path = tmp_path / "prompts.parquet"
    datasets.Dataset.from_list([{"prompt": "a", "lang": "de"}, {"prompt": "b", "lang": None}]).to_parquet(path)
    assert "column 'lang' is null or missing" in complaint(str(path))
