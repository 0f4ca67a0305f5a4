"""A stored run of index format 3, of 74a319e: it can be filtered again, and it cannot be gone on with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from congrad import FilterConfig, Input, Model, PassSettings, Selection, UserError, filter_preferences, refilter
from congrad.gradients import open_index

FIGURES = ("cosine", "cosine_interval", "cosine_corrected", "cosine_after_surgery", "consensus_weights")
STORED = Path(__file__).parent / "data" / "format-3"


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    shutil.copytree(STORED, tmp_path / "stored")
    monkeypatch.chdir(tmp_path / "stored")
    return tmp_path / "stored" / "run"


def test_it_is_filtered_again_to_the_same_results(run, tmp_path):
    """The same rows; scores to the last digits, which differ from one make of processor to another."""
    refilter(run, output=tmp_path / "new")
    for name in ("kept.jsonl", "dropped.jsonl"):
        new, old = (
            [*map(json.loads, (place / name).read_text("utf-8").splitlines())] for place in (tmp_path / "new", run)
        )
        scores = [[row.pop("congrad_score") for row in rows] for rows in (new, old)]
        assert new == old
        assert scores[0] == pytest.approx(scores[1], rel=1e-4, abs=1e-6)
    new, old = (pq.read_table(place / "scores.parquet") for place in (tmp_path / "new", run))
    assert new.schema == old.schema
    for name, of_new, of_old in zip(new.column_names, new.columns, old.columns, strict=True):
        if pa.types.is_floating(of_new.type):
            assert of_new.to_pylist() == pytest.approx(of_old.to_pylist(), rel=1e-4, abs=1e-6), name
        else:
            assert of_new == of_old, name
    before, after = (json.loads((place / "languages.json").read_bytes()) for place in (run, tmp_path / "new"))
    for name, content in before.items():  # and what came later
        if name in FIGURES:
            figures, same = (np.array(each[name], float) for each in (before, after))
            assert same == pytest.approx(figures, rel=1e-4, abs=1e-6, nan_ok=True), name
        else:
            assert after[name] == content, name
    result = refilter(run, selection=Selection(keep=0.25))
    assert int(result.keep_N.sum()) == 3
    assert json.loads((run / "manifest.json").read_text())["plan"]["format"] == 3


@pytest.mark.parametrize("finished", [True, False])
def test_it_cannot_be_gone_on_with(run, tiny_directory, finished):
    assert len(open_index(run / "index")) == 12
    if not finished:
        (run / "manifest.json").unlink()
        (run / "index" / "index.json").unlink()
        (run / "index" / "reference-00000.safetensors").unlink()
    model = Model(str(tiny_directory), dtype="float32", reference=str(tiny_directory))
    with pytest.raises(UserError) as raised:
        filter_preferences(FilterConfig(Input("pairs.jsonl"), model, index=PassSettings(projection_size=4)), run)
    assert str(raised.value) == (
        f"{run / 'index' / 'plan.json'}: the index has format 3, and this version reads format 4; filter the data "
        "again with a new output directory"
    )
