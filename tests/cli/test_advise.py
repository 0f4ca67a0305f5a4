"""`congrad advise RUN` says what the filter said, for another budget if asked; `--keep auto` follows it."""

import json
from pathlib import Path

import pytest

from congrad.filtering.advised import AdviceFile
from congrad.stage import read_json


@pytest.fixture
def run(congrad, pairs_file, tiny_directory, tmp_path, monkeypatch) -> Path:
    """A finished run. From here on loading a model fails the test."""
    done = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    assert done.code == 0, done.err
    assert "advice: " in done.out

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("congrad.models.load.load_model", load)
    return tmp_path / "run"


def advice(run: Path) -> dict:
    return read_json(run / "advice.json", AdviceFile)


def test_the_filter_and_advise_say_the_same(congrad, run):
    before = (run / "advice.json").read_bytes()
    done = congrad("advise", run)
    assert done.code == 0, done.err
    assert (run / "advice.json").read_bytes() == before
    verdict = advice(run)["verdict"]
    assert done.out.splitlines()[0] == f"advice: {verdict['sentence']}"
    assert "for 1 epoch in batches of 32" in verdict["basis"]
    assert "all pairs" in done.out


def test_another_budget(congrad, run):
    done = congrad("advise", run, "--epochs", 2, "--batch-size", 8, "advice.seed=1", "--json", "-q")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown == advice(run)
    assert (shown["epochs"], shown["batch_size"]) == (2, 8)
    assert "for 2 epochs in batches of 8" in shown["verdict"]["basis"]


def test_what_was_kept_is_shown_and_what_is_advised_is_the_next_command(congrad, run):
    share = advice(run)["verdict"]["share"]
    done = congrad("filter", run, "--keep", 0.7)
    assert "ConGrad, 70%" in done.out
    assert f"keep what is advised, in seconds:\n  congrad filter {run} --keep auto\n" in done.err
    followed = congrad("filter", run, "--keep", share)
    assert f"next: train on {run / 'kept.jsonl'}\n" in followed.err
    assert "ConGrad, 100%" not in followed.out
    other = congrad("advise", run, "--batch-size", 8, "--epochs", 0.5)
    assert f"next: congrad filter {run} --keep auto advice.epochs=0.5 advice.batch_size=8\n" in other.err
    words = other.err.split("next: congrad ")[1].split()
    assert congrad(*words).code == 0
    assert (advice(run)["epochs"], advice(run)["batch_size"]) == (0.5, 8)


def test_every_option_has_figures_or_says_what_is_missing(run):
    found = advice(run)
    assert found["options"][0]["title"] == "all pairs"
    for option in found["options"]:
        assert bool(option["missing"]) != bool(option["gains"])
        for gains in option["gains"].values():
            assert len(gains["languages"]) == len(found["languages"]) == 3
    named = {option["ranking"] for option in found["options"]}
    assert named >= {"congrad", "mean", "random", "reward-margin", "loss", "longest", "difficulty", "medium-influence"}


def test_languages_have_figures(run):
    found = advice(run)
    between, three = found["between_languages"], len(found["languages"])
    assert [len(cut["groups"]) for cut in between["groups"]["budget"]["cuts"]] == list(range(1, three + 1))
    assert len(between["transfer"]["pairs"]["budget"]["value"]) == three
    together = between["groups"]["budget"]["cuts"][0]["gain"]["budget"]["value"]
    assert together == pytest.approx(found["options"][0]["gains"]["budget"]["mean"]["value"], rel=1e-4)
    assert any(note.startswith("Twice as many pairs like these") for note in found["verdict"]["notes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", 0], "--epochs 0: must be above 0"),
        (["advice.batch_size=0"], "advice.batch_size=0: must be 1 or more"),
    ],
)
def test_mistakes(congrad, run, words, message):
    done = congrad("advise", run, *words)
    assert done.refused
    assert message in done.err


def test_what_is_no_run(congrad, tmp_path):
    assert congrad("advise", tmp_path).refused


def test_auto_keeps_what_is_advised(congrad, run):
    done = congrad("filter", run, "--keep", "auto")
    assert done.code == 0, done.err
    manifest = json.loads((run / "manifest.json").read_text())
    share = advice(run)["verdict"]["share"]
    assert manifest["config"]["selection"]["keep"] == manifest["auto"]["share"] == share
    assert [point["share"] for point in manifest["auto"]["curve"]] == [tenth / 10 for tenth in range(1, 11)]
    kept = len((run / "kept.jsonl").read_text().splitlines())
    assert kept == manifest["kept"] == sum(max(1, int(10 * share + 0.5)) for _ in range(3))
    assert "auto" not in json.loads((run / "manifest.json").read_text())["config"]["selection"].values()


def test_auto_is_of_every_language(congrad, run):
    done = congrad("filter", run, "--keep", "auto", "selection.scope=global")
    assert done.refused
    assert "is not chosen for by selection.keep auto" in done.err


def test_too_few_prompts(congrad, tmp_path, make_rows, save_rows, tiny_directory):
    pairs = save_rows(tmp_path / "few.jsonl", make_rows(6))
    done = congrad("filter", pairs, "-m", tiny_directory, "-o", tmp_path / "few", "-q", "--keep", "auto")
    assert done.code == 0, done.err
    assert "advice: There are too few pairs to tell whether filtering helps: 6 prompts" in done.out
    assert "kept 6 of 6 pairs" in done.out
    assert advice(tmp_path / "few")["options"] == []
