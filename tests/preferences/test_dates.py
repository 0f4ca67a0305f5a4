"""Text that looks like a date, in columns of the user's and in the text itself, comes out as it went in."""

import gzip
import json

import pytest

from congrad.preferences import load_preferences

DATED = [
    {
        "prompt": f"2026-11-2{day}",
        "chosen": [{"role": "assistant", "content": "yes", "sent": f"2026-11-2{day}T08:30:00+02:00"}],
        "rejected": [{"role": "assistant", "content": "no", "sent": "2026-11-21"}],
        "language": "de",
        "written": "2026-11-21" if day else None,
        "meta": {"when": f"2026-11-2{day}T08:30:00Z", "version": day},
    }
    for day in range(3)
]
for row in DATED:
    row["prompt"] = [{"role": "user", "content": row["prompt"]}]


@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz"])
def test_dates_stay_as_they_were_written(tmp_path, ending):
    path = tmp_path / f"pairs.{ending}"
    data = "".join(json.dumps(row) + "\n" for row in DATED).encode()
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    assert list(load_preferences(path).dataset) == DATED


def test_a_prompt_that_is_a_date_is_text(tmp_path):
    rows = [{"prompt": "2026-11-21", "chosen": "yes", "rejected": "no", "language": "de"}]
    (tmp_path / "pairs.jsonl").write_text(json.dumps(rows[0]) + "\n")
    assert list(load_preferences(tmp_path / "pairs.jsonl").dataset) == rows


def test_dates_in_a_list_stay_too(tmp_path):
    (tmp_path / "pairs.json").write_text(json.dumps(DATED, indent=1))
    assert list(load_preferences(tmp_path / "pairs.json").dataset) == DATED
