"""`cd pairs && congrad filter .`, whose run lies inside the data; and again."""

import json
from pathlib import Path

from congrad.cli.filter import name_of

FAST = ("index.projection_size=8", "consensus.cross_fit=0", "report.write=false")


def test_a_folder_is_filtered_from_inside_again_and_again(tmp_path, monkeypatch, tiny_directory, congrad):
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for language in ("de", "fr"):
        rows = [
            {"prompt": f"{language} {i}", "chosen": f"good answer {i}", "rejected": f"bad {i} reply"} for i in range(4)
        ]
        (pairs / f"{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(pairs)
    for arguments in ((), (), ("--keep", "1"), ("--output", "runs/other", "--format", "trl")):
        called = congrad("filter", ".", "--model", tiny_directory, *arguments, *FAST)
        assert called.code == 0, called.err
        run = Path("runs/other" if "--output" in arguments else "runs/pairs")
        kept, dropped = ((run / name).read_text().splitlines() for name in ("kept.jsonl", "dropped.jsonl"))
        assert len(kept) + len(dropped) == 8
    assert sorted(path.name for path in Path("runs").iterdir()) == ["other", "pairs"]
    assert "no data ('runs/other', 'runs/pairs')" in congrad("filter", ".", "--model", tiny_directory, *FAST).err


def test_the_name_of_a_run_is_that_of_the_data(tmp_path, monkeypatch):
    (tmp_path / "pairs" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pairs" / "sub")
    names = [name_of(Path(each)) for each in (".", "..", "../../x.jsonl", "owner/data")]
    assert names == ["sub", "pairs", "x", "data"]
