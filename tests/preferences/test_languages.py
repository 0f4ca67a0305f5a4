"""Languages of rows: names become tags, once and said; groups that are no languages stay; names of files are judged."""

import json
import random
from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.languages.tags import tag_of
from congrad.preferences.languages import names_that_are_languages, normalised
from congrad.preferences.load import load_preferences
from congrad.settings.input import Input

SIX = ["de", " de", "de\n", "DE", "German", "de"]


def write(path: Path, languages: list[str | None]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": f"p {row}", "chosen": "yes", "rejected": "no"} | ({"language": name} if name is not None else {})
        for row, name in enumerate(languages)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path.parent)


def test_ways_to_write_one_language_are_one_and_said() -> None:
    named = normalised([SIX, ["en-US", None]])
    assert named.languages == (["de"] * 6, ["en-US", None])
    assert named.tags == {" de": "de", "de\n": "de", "DE": "de", "German": "de"}
    assert named.notes == (r"languages: ' de', 'de\n', 'DE' and 'German' are de (4 rows)",)


def test_tags_change_nothing_and_nothing_is_said() -> None:
    raw = ["de", "en-US", "zh-Hans", "pt-BR", "quy", "sr-Latn"]
    named = normalised([raw])
    assert (named.languages, named.tags, named.notes) == ((raw,), {}, ())


@pytest.mark.parametrize(
    "raw", [["0", "1", "2"], ["python", "java", "lua"], ["even", "odd", "prime"], ["helpful", "no", "x"]]
)
def test_groups_that_are_no_languages_stay(raw: list[str]) -> None:
    named = normalised([raw])
    assert (named.languages, named.tags) == ((raw,), {})


def test_what_is_no_language_among_languages_is_said() -> None:
    named = normalised([["German", "French", "code"]])
    assert named.languages == (["de", "fr", "code"],)
    assert named.notes[1] == "languages: 'code' are no known languages, and stay as they are"


def test_regions_are_joined_on_request_and_scripts_are_not() -> None:
    raw = ["pt-BR", "pt_PT", "pt", "zh-Hans", "zh-Hant"]
    assert normalised([raw], merge=True).languages == (["pt", "pt", "pt", "zh-Hans", "zh-Hant"],)
    assert normalised([raw]).languages == (["pt-BR", "pt-PT", "pt", "zh-Hans", "zh-Hant"],)


def test_a_note_is_short_however_many_names_there_are() -> None:
    names = [f"{' ' * n}{tag}" for tag in ("de", "en", "fr", "es", "it", "pt", "nl") for n in range(1, 9)]
    (note,) = normalised([names]).notes
    assert len(note) < 400
    assert note.endswith("2 more are changed, too")


def test_normalising_twice_is_normalising_once() -> None:
    draw = random.Random(0)
    names = ["DE", "German", "x", "zho_Hans", "pt-br", "python", "1", "Deutsch", "en_US", "", "no", "iw", None]
    for _ in range(200):
        once = normalised([draw.choices(names, k=draw.randint(0, 12))])
        again = normalised(once.languages)
        assert len(once.languages[0]) == len(again.languages[0])
        assert all(tag_of(tag) == tag for tag in once.tags.values())
        if once.tags:
            assert not again.tags


def test_names_of_sources() -> None:
    auto, name = Input(source="x"), Input(source="x", languages="name")
    assert names_that_are_languages([("de.jsonl", ["de"]), ("a.jsonl", ["a", "fr"])], auto) == ["de", "fr"]
    for settings in (auto, name):
        with pytest.raises(UserError, match=r"no language is named by 'test.jsonl', as by others \(de\).*input.files"):
            names_that_are_languages([("de.jsonl", ["de"]), ("test.jsonl", ["test"])], settings)
    assert names_that_are_languages([("min.jsonl", ["min"])], name) == ["min"]


def test_a_folder_of_languages_by_name(tmp_path: Path) -> None:
    write(tmp_path / "German.jsonl", [None] * 2)
    preferences = load_preferences(write(tmp_path / "fr.jsonl", [None]))
    assert sorted(preferences.languages) == ["de", "de", "fr"]
    assert preferences.tags == {"German": "de"}


def test_a_folder_that_mixes_languages_and_others_names_the_others(tmp_path: Path) -> None:
    write(tmp_path / "de.jsonl", [None])
    with pytest.raises(UserError, match=r"dpo\.jsonl"):
        load_preferences(write(tmp_path / "dpo.jsonl", [None]))


@pytest.mark.parametrize("name", ["dpo", "new_data", "train", "rm"])
def test_a_file_that_is_no_language_needs_a_column(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="language"):
        load_preferences(write(tmp_path / f"{name}.jsonl", [None]))


def test_languages_of_a_column_are_normalised_when_loaded(tmp_path: Path) -> None:
    preferences = load_preferences(write(tmp_path / "x.jsonl", [*SIX]))
    assert set(preferences.languages) == {"de"}
    assert any("are de" in note for note in preferences.notes)
    assert preferences.dataset["language"][4] == "German"


def test_detected_languages_and_those_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    german = "Die Sonne geht am Morgen auf und am Abend hinter den fernen Bergen unter."
    rows = [
        {"prompt": german, "chosen": german, "rejected": "Nein, das ist leider nicht richtig."},
        {"prompt": "42", "chosen": "1", "rejected": "2"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with pytest.raises(UserError, match="language that is in doubt"):
        load_preferences(str(path), languages="detect")
    preferences = load_preferences(str(path), languages="detect", on_bad_row="drop")
    assert preferences.languages == ["de"]
    assert [each.mistake.reason for each in preferences.left_out] == ["language in doubt"]


def test_the_column_of_languages_is_named_only_where_they_were_read_from_it(tmp_path: Path) -> None:
    path = tmp_path / "de.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "c", "rejected": "r", "lang": "fr"}) + "\n", "utf-8")
    assert load_preferences(str(path)).language_column == "lang"
    named = load_preferences(str(path), languages="name")
    assert (named.languages, named.language_column) == (["de"], None)
