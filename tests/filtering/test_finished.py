"""What is read of a run: arrays with NaN for null, the texts that belong to each row, and damage by name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from congrad.errors import UserError
from congrad.filtering.finished import read_run, rows_at


def test_a_run_is_read_as_it_was_written(run_directory, tmp_path):
    run = read_run(run_directory(tmp_path / "run", each=30))
    table = pq.read_table(tmp_path / "run" / "scores.parquet").to_pydict()
    assert [None if np.isnan(score) else score for score in run.score_N.tolist()] == table["score"]
    assert [run.languages[code] for code in run.language_N] == table["language"]
    assert run.keep_N.tolist() == table["keep"]
    assert run.reason_N.tolist() == table["reason"]
    assert run.prompt_N.tolist() == table["group"]
    assert run.chosen_N.tolist() == table["chosen_tokens"]
    np.testing.assert_array_equal(
        run.cosine_NL[:, 3], np.array(table[f"cosine_{run.languages[3]}"], dtype=float).astype(np.float32)
    )
    assert np.isnan(run.compared.corrected_LL[0]).all()
    assert run.compared.low_LL[1, 2] < run.compared.cosine_LL[1, 2] < run.compared.high_LL[1, 2]
    assert len(run) == 390


def test_rows_are_those_of_their_positions(run_directory, tmp_path):
    run = read_run(run_directory(tmp_path / "run"))
    positions = [640, 0, 3, 100, 17]
    rows = rows_at(run, positions)
    assert [row["chosen"] for row in rows] == [f"yes {position}" for position in positions]
    assert rows[2]["congrad_score"] is None  # row 3 has no score


def test_files_that_do_not_belong_together_are_refused(run_directory, tmp_path):
    directory = run_directory(tmp_path / "run", each=10)
    lines = (directory / "kept.jsonl").read_text().splitlines(keepends=True)
    run = read_run(directory)
    everything = range(len(run))
    (directory / "kept.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=r"kept.jsonl:\d+: does not match its row of scores.parquet; filter .* again"):
        rows_at(run, everything)
    (directory / "kept.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="do not hold all rows"):
        rows_at(run, everything)
    (directory / "kept.jsonl").write_text("[]\n")
    with pytest.raises(UserError, match="cannot be read"):
        rows_at(run, everything)


def test_what_is_missing_or_damaged_is_named(run_directory, tmp_path):
    with pytest.raises(UserError, match="is not a run of congrad"):
        read_run(tmp_path)
    directory = run_directory(tmp_path / "run", each=5)
    table = pq.read_table(directory / "scores.parquet")
    pq.write_table(table.drop_columns("group"), directory / "scores.parquet")
    with pytest.raises(UserError, match=r"scores.parquet or languages.json cannot be read .*group"):
        read_run(directory)
    pq.write_table(table.set_column(1, "language", pa.array(["xx"] * len(table))), directory / "scores.parquet")
    with pytest.raises(UserError, match="xx"):
        read_run(directory)
    (directory / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"scores.parquet or languages.json cannot be read"):
        read_run(directory)
    (directory / "languages.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match=r"languages.json"):
        read_run(directory)
