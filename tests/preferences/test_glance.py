"""The glance says what the full check says, or nothing."""

import json
from typing import Any

import pytest
from tests.preferences.test_bad_input import COLUMN_TABLE, FILE_TABLE, FOLDER_TABLE, ROW, ROWS_TABLE, TALK, TALK_TABLE

from congrad.errors import UserError
from congrad.preferences import glance, load, load_preferences
from congrad.settings.input import Columns, Input

GOOD = json.dumps(ROW).encode()
UNNAMED = json.dumps({column: value for column, value in ROW.items() if column != "language"}).encode()


def with_field(field: bytes) -> bytes:
    return GOOD + b"\n" + GOOD[:-1] + b", " + field + b"}"


# What stands in a file after which lines only one of the two readers might stumble.
LAYOUTS = {
    "two rows in a line": GOOD + b" " + GOOD,
    "a row of two lines": GOOD + b"\n" + GOOD.replace(b", ", b",\n", 1),
    "indented": json.dumps(ROW, indent=1).encode(),
    "array": b"[" + GOOD + b"]",
    "array of two lines": b"[" + GOOD + b",\n" + GOOD + b"]",
    "Windows": GOOD + b"\r\n" + GOOD + b"\r\n",
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "comma between": GOOD + b",\n" + GOOD,
    "form feed": GOOD + b"\n\x0c\n" + GOOD,
    "no-break space": GOOD + b"\n\xc2\xa0\n" + GOOD,
    "NUL": GOOD + b"\n\x00\n",
    "null for a row": GOOD + b"\nnull\n",
    "true for a row": GOOD + b"\ntrue\n",
    "one brace more": GOOD + b"\n}",
    "empty object": b"{}",
    "NaN": with_field(b'"x": NaN'),
    "beyond 64 bits": with_field(b'"x": 123456789012345678901234567890'),
    "a key twice": with_field(b'"prompt": "x"'),
    "tabulator in a text": GOOD + b"\n" + GOOD.replace(b"Nein", b"N\tein"),
    "half a surrogate": GOOD + b"\n" + GOOD.replace(b"Nein", rb"\udc00"),
    "a column a row": b'{"prompt":"a"}\n{"chosen":"b"}\n{"lang":"de"}',
    "null after empty": b"\n".join(
        [GOOD, GOOD.replace(b"Hallo?", b""), GOOD.replace(b'"Hallo?"', b"null"), GOOD.replace(b'"de"', b'" "')]
    ),
    "space that is not ASCII": GOOD + b"\n" + GOOD.replace(b"Hallo?", b"\xe3\x80\x80\x1c"),
}
FOLDERS: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
    "languages": ({"de.jsonl": UNNAMED, "zh-Hant.jsonl": UNNAMED}, {}),
    "no languages": ({"de.jsonl": UNNAMED, "english.jsonl": UNNAMED}, {}),
    "a column in one": ({"de.jsonl": GOOD, "en.jsonl": UNNAMED}, {}),
    "another column": ({"de.jsonl": UNNAMED}, {"columns": Columns(language="lang")}),
    "splits": ({"train.jsonl": GOOD, "test.jsonl": b"{"}, {}),
    "another split": ({"de.jsonl": GOOD}, {"split": "test"}),
    "beside a README": ({"de.jsonl": GOOD, "README.md": b"x", "en.jsonl": b'{"a": 1}'}, {}),
    "deep": ({"a/de.jsonl": UNNAMED, "b/en.jsonl": b'{"a": 1}'}, {}),
}


def cases() -> dict[str, tuple[dict[str, bytes], dict[str, Any]]]:
    """Files by name, and options."""

    def rows(*several: dict[str, Any]) -> dict[str, bytes]:
        return {"x.jsonl": "\n".join(map(json.dumps, several)).encode()}

    def content(file: object) -> bytes:
        return file.encode() if isinstance(file, str) else json.dumps(file).encode()

    found: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {}
    found |= {f"row: {name}": (rows(ROW, row), {}) for name, (row, _) in ROWS_TABLE.items()}
    found |= {f"talk: {name}": (rows(TALK, TALK | change), {}) for name, (change, _) in TALK_TABLE.items()}
    found |= {f"column: {name}": (rows(row), options) for name, (row, options, _) in COLUMN_TABLE.items()}
    found |= {f"file: {name}": ({file: data}, {}) for name, (file, data, _) in FILE_TABLE.items()}
    found |= {
        f"files: {name}": ({each: content(file) for each, file in files.items()}, {})
        for name, (files, _) in FOLDER_TABLE.items()
    }
    for ending in ("jsonl", "json"):
        found |= {f"{ending}: {name}": ({f"x.{ending}": data}, {}) for name, data in LAYOUTS.items()}
    return found | {f"folder: {name}": case for name, case in FOLDERS.items()}


@pytest.mark.parametrize(("files", "options"), cases().values(), ids=cases())
def test_the_glance_changes_no_message(tmp_path, monkeypatch, files, options):
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = tmp_path / next(iter(files)) if len(files) == 1 and "split" not in options else tmp_path

    def said() -> str:
        try:
            return str(len(load_preferences(source, **options)))
        except UserError as error:
            return str(error)

    first = said()
    monkeypatch.setattr(load, "glance", lambda *arguments: None)
    assert said() == first


def test_a_great_file_is_left_to_the_reader(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl").write_bytes(UNNAMED)
    with pytest.raises(UserError, match="no column 'language'"):
        load.glance_at_pairs(tmp_path / "x.jsonl", Input("x"))
    monkeypatch.setattr(glance, "MOST_BYTES", len(UNNAMED) - 1)
    load.glance_at_pairs(tmp_path / "x.jsonl", Input("x"))
