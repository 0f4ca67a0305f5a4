"""`congrad groups` on a run of a tiny model."""

import json
import shutil

import numpy as np
import pytest
from tests.conftest import preference_rows
from tests.files import write_jsonl

from congrad.advice.folds import deal
from congrad.filtering.run import filter_preferences
from congrad.filtering.score import pair_inputs
from congrad.gradients.index import open_index
from congrad.settings.advice import Advice
from congrad.settings.consensus import Loss
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig


@pytest.fixture(scope="module")
def run(tiny_directory, tmp_path_factory):
    """A run of 60 pairs in three languages, one of them without a score."""
    place = tmp_path_factory.mktemp("groups")
    rows = preference_rows(60)
    rows[7]["rejected"] = rows[7]["chosen"]
    data = write_jsonl(place / "pairs.jsonl", rows)
    model = Model(str(tiny_directory), dtype="float32", device="cpu")
    filter_preferences(FilterConfig(Input(str(data)), model, PassSettings(projection_size=8)), place / "run")
    return place / "run"


def lines(path):
    return path.read_bytes().splitlines()


def test_every_group_has_the_kept_rows_of_its_languages_in_their_order(congrad, run, tmp_path):
    done = congrad("groups", run, "--groups", "2", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    said = json.loads((tmp_path / "out" / "groups.json").read_text(encoding="utf-8"))
    assert sorted(language for group in said["groups"] for language in group["languages"]) == ["de", "en", "sw"]
    kept = lines(run / "kept.jsonl")
    for group, line in zip(said["groups"], done.out.splitlines()[:2], strict=True):
        own = [row for row in kept if json.loads(row)["language"] in group["languages"]]
        assert lines(tmp_path / "out" / group["file"]) == own
        assert group["num_pairs"] == len(own)
        number = len(group["languages"])
        languages = f"{number} language{'s' if number > 1 else ''} ({', '.join(group['languages'])})"
        assert line == f"{tmp_path / 'out' / group['file']}: {len(own)} pairs, {languages}"
    assert "for 1 epoch in batches of 32" in done.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"group-1.jsonl", "group-2.jsonl", "groups.json"}


def test_all_pairs_are_those_that_have_a_score(congrad, run, tmp_path):
    done = congrad("groups", run, "-n", "3", "--all", "-o", tmp_path / "out", "--epochs", "3", "--batch-size", "8")
    assert done.code == 0, done.err
    assert "for 3 epochs in batches of 8" in done.out
    written = [row for number in (1, 2, 3) for row in lines(tmp_path / "out" / f"group-{number}.jsonl")]
    rows = lines(run / "kept.jsonl") + lines(run / "dropped.jsonl")
    scored = [row for row in rows if json.loads(row)["congrad_score"] is not None]
    assert len(scored) == 59
    assert sorted(written) == sorted(scored)
    for number in (1, 2, 3):  # in the order of the input
        ids = [int(json.loads(row)["id"].split("-")[1]) for row in lines(tmp_path / "out" / f"group-{number}.jsonl")]
        assert ids == sorted(ids)


def test_the_gain_is_that_of_a_loop_over_the_index(congrad, run, tmp_path):
    assert congrad("groups", run, "-n", "2", "-o", tmp_path / "out", "--batch-size", "8").code == 0
    said = json.loads((tmp_path / "out" / "groups.json").read_text(encoding="utf-8"))
    index = open_index(run / "index")
    inputs = pair_inputs(index, Loss())
    gradient_PD = (index[:].double() * (inputs["weight_P"] * inputs["scale_P"].double())[:, None]).numpy()
    language_P = inputs["language_P"].numpy()
    fold_P = deal(inputs["group_P"], Advice().num_folds, Advice().seed, inputs["language_P"]).numpy()
    gain_P = np.empty((len(language_P), 2))
    for i in range(len(language_P)):
        train_KD = gradient_PD[fold_P != fold_P[i]]
        mean_D = train_KD.mean(0)
        inner, squared = gradient_PD[i] @ mean_D, mean_D @ mean_D
        batch = squared + ((train_KD**2).sum(1).mean() - squared) / 8
        gain_P[i] = len(language_P) / 8 * inner / batch**0.5, inner / squared**0.5
    expected = np.mean([gain_P[language_P == language].mean(0) for language in range(3)], axis=0)
    together = said["cuts"][0]["gain"]
    assert [together[measure]["value"] for measure in ("budget", "equal_length")] == pytest.approx(expected, rel=1e-4)


def test_nothing_is_written_over(congrad, run, tmp_path):
    assert congrad("groups", run, "--groups", "2", "--output", tmp_path / "out").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = congrad("groups", run, "--groups", "3", "--output", tmp_path / "out")
    assert (again.code, len(again.err.splitlines())) == (2, 1)
    assert "holds groups already; choose another output directory" in again.err
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert congrad("groups", run, "--groups", "2", "--output", run).code == 2  # not even the run itself


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "no division of the 3 languages is predicted to gain clearly over none"),
        (["--groups", "4"], "--groups 4: must be 2 to 3, the number of languages"),
        (["--groups", "1"], "--groups 1: must be 2 to 3, the number of languages"),
        (["--epochs", "0"], "--epochs 0: must be above 0"),
        (["advice.batch_size=0"], "advice.batch_size=0: must be 1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(congrad, run, tmp_path, options, complaint):
    done = congrad("groups", run, "--output", tmp_path / "out", *options)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert complaint in done.err
    assert not (tmp_path / "out").exists()


def test_the_index_of_another_run_is_refused(congrad, run, tiny_directory, tmp_path):
    data = write_jsonl(tmp_path / "pairs.jsonl", preference_rows(60, ("de", "en")))
    model = Model(str(tiny_directory), dtype="float32", device="cpu")
    filter_preferences(FilterConfig(Input(str(data)), model, PassSettings(projection_size=8)), tmp_path / "other")
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("index"))
    (tmp_path / "other" / "index").rename(tmp_path / "run" / "index")
    done = congrad("groups", tmp_path / "run", "--groups", "2", "--output", tmp_path / "out")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "not the index of this run: its languages are others" in done.err


def test_rows_that_are_not_the_runs_are_refused(congrad, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    kept = lines(tmp_path / "run" / "kept.jsonl")
    for damaged, complaint in ((kept[:-1], "do not hold all rows"), (kept[::-1], "does not match its row")):
        (tmp_path / "run" / "kept.jsonl").write_bytes(b"\n".join(damaged) + b"\n")
        done = congrad("groups", tmp_path / "run", "--groups", "2", "--output", tmp_path / "out")
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert complaint in done.err
        assert not list((tmp_path / "out").glob("*"))
