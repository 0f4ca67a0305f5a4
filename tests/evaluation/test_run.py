"""The whole stage on two tiny models: what it writes, that it agrees with its parts, and the same after kills."""

import json
from pathlib import Path

import pytest
from tests.listening import counting

from congrad.errors import UserError
from congrad.evaluation.run import opponents, row_name, run_evaluate
from congrad.settings.engine import Engine
from congrad.settings.evaluation import Evaluate, LocalTask, WinRate
from congrad.settings.model import Model
from congrad.settings.selfreward import Prompts

FILES = ("evaluation.json", "evaluation.md", "verdicts.jsonl")


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def settings(tmp_path, make_rows) -> Evaluate:
    rows = make_rows(12)
    quiz = [{"q": row["prompt"], "a": row["chosen"], "b": row["rejected"], "label": 0, **row} for row in rows]
    template = tmp_path / "judge.txt"
    template.write_text("{prompt} {first} {second} Verdict:")
    return Evaluate(
        seen=("de", "en"),
        unseen=("sw",),
        pairs=write(tmp_path / "pairs.jsonl", rows),
        win_rate=WinRate(Prompts(write(tmp_path / "prompts.jsonl", rows[:4])), max_tokens=6, template=str(template)),
        tasks=(
            LocalTask("texts", write(tmp_path / "texts_de.jsonl", [{"text": "Haus Baum"}] * 3), kind="perplexity"),
            LocalTask(
                "quiz", write(tmp_path / "quiz.jsonl", quiz), "multiple-choice", prompt="{q}", choices=("a", "b")
            ),
            LocalTask(
                "sums",
                write(tmp_path / "sums.jsonl", [{"question": "1+1?", "answer": "2", "language": "en"}] * 2),
                layout="mgsm",
                max_tokens=4,
            ),
        ),
        engine=Engine(batch_size=2),
        draws=100,
    )


@pytest.fixture
def models(tiny_directory, other_directory) -> dict[str, Model]:
    return {
        "M0": Model(str(tiny_directory)),
        "random, round 1": Model(str(tiny_directory)),
        "ConGrad, round 1": Model(str(other_directory)),
    }


AGAINST = {"ConGrad, round 1": ["random, round 1"]}


def content(output: Path) -> dict[str, bytes]:
    outputs = {f"outputs/{path.name}": path.read_bytes() for path in (output / "outputs").iterdir()}
    return {name: (output / name).read_bytes() for name in FILES} | outputs


def test_the_stage_writes_one_table(models, settings, tmp_path):
    told: list[tuple[int, int]] = []
    listener = counting(lambda stage, done, total: told.append((done, total)))
    run_evaluate(models, settings, tmp_path / "run", against=AGAINST, listener=listener)
    # 3 models x (12 pairs + 3 texts + 12 questions + 2 sums + 4 prompts) + 3 contests x 4 prompts x 2 orders
    assert told[-1][1] == 3 * 33 + 24
    assert sorted(told) == told, "never backwards"
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    keys = [metric["key"] for metric in report["metrics"]]
    assert keys == [
        "preference-implicit",
        "preference-summed",
        "preference-per-token",
        "win-rate/M0",
        "win-rate/random, round 1",
        "task/texts/bits-per-byte",
        "task/texts/per-token",
        "task/quiz/accuracy",
        "task/quiz/accuracy-normalised",
        "task/sums/exact-match",
    ]
    metrics = dict(zip(keys, report["metrics"], strict=True))
    assert report["headline"] == "preference-implicit"
    implicit = metrics["preference-implicit"]["rows"]
    for name in ("M0", "random, round 1"):  # the same weights: no reward is above another
        assert implicit[name]["seen"]["value"] == implicit[name]["unseen"]["value"] == 0.5
    assert implicit["ConGrad, round 1"]["seen"]["count"] == 8
    # The same weights again: nothing differs, on any example.
    for key in ("preference-summed", "task/texts/bits-per-byte", "task/quiz/accuracy"):
        row = metrics[key]["rows"]["random, round 1"]["mean"]
        assert (row["delta"], row["delta_low"], row["delta_high"]) == (0, 0, 0)
    wins = metrics["win-rate/M0"]["rows"]
    assert wins["M0"]["mean"]["value"] == 0.5
    assert wins["random, round 1"]["mean"]["value"] == 0.5, "the same answers tie"
    (tie,) = [each for each in report["contests"] if each["model"] == "random, round 1"]
    assert tie["total"]["same_answer"] == 4
    tax = report["tax"]["accuracy"]["ConGrad, round 1"]
    quiz, sums = (metrics[key]["rows"]["ConGrad, round 1"]["mean"] for key in ("task/quiz/accuracy", keys[-1]))
    assert tax["value"] == pytest.approx((quiz["value"] + sums["value"]) / 2)
    assert report["tax"]["bits_per_byte"]["M0"]["value"] > 0

    page = (tmp_path / "run" / "evaluation.md").read_text()
    assert "| model | de | en | sw | seen mean | unseen mean | tasks | bits per byte ↓ |" in page
    assert page.count("| ConGrad, round 1 |") == len(keys)
    outputs = sorted((tmp_path / "run" / "outputs").iterdir())
    assert [path.name.rpartition("-")[0] for path in outputs] == ["ConGrad-round-1", "M0", "random-round-1"]
    exported = json.loads(outputs[0].read_text())
    assert [row["generator"] for row in exported] == ["ConGrad, round 1"] * 4
    assert set(exported[0]) == {"instruction", "output", "generator", "dataset", "language"}

    def untouched(stage: str, done: int, total: int) -> None:
        raise AssertionError("finished")

    run_evaluate(models, settings, tmp_path / "run", against=AGAINST, listener=counting(untouched))


def test_kills_change_nothing(models, settings, tmp_path):
    run_evaluate(models, settings, tmp_path / "whole", against=AGAINST)
    kills, done_before = 0, -1
    while True:
        limit = done_before + 28  # a few batches further every time

        def kill(stage: str, done: int, total: int, limit: int = limit) -> None:
            nonlocal done_before
            if done > limit:
                done_before = done
                raise KeyboardInterrupt

        try:
            run_evaluate(models, settings, tmp_path / "run", against=AGAINST, listener=counting(kill))
            break
        except KeyboardInterrupt:
            kills += 1
            for path in (tmp_path / "run" / "parts").iterdir():  # the kernel may have written half a line
                with path.open("ab") as file:
                    file.write(b'{"key": "half')
    assert kills >= 3
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_other_models_and_settings_are_refused(models, settings, tmp_path):
    run_evaluate(models, Evaluate(pairs=settings.pairs, draws=100), tmp_path / "run")
    with pytest.raises(UserError, match=r"begun with draws 100, now 200"):
        run_evaluate(models, Evaluate(pairs=settings.pairs, draws=200), tmp_path / "run")
    swapped = {**models, "M0": models["ConGrad, round 1"]}
    with pytest.raises(UserError, match=r"begun with other content of models\.M0"):
        run_evaluate(swapped, Evaluate(pairs=settings.pairs, draws=100), tmp_path / "run")
    moved = Path(settings.pairs).rename(tmp_path / "moved.jsonl")
    run_evaluate(models, Evaluate(pairs=str(moved), draws=100), tmp_path / "run")


def test_mistakes_show_before_any_model_is_loaded(settings, tmp_path):
    models = {"M0": Model(str(tmp_path / "none"))}
    with pytest.raises(UserError, match="evaluate measures nothing; set its"):
        run_evaluate(models, Evaluate(), tmp_path / "run")
    with pytest.raises(UserError, match="no model to measure"):
        run_evaluate({}, settings, tmp_path / "run")
    bad = LocalTask("x", str(tmp_path / "none.jsonl"), kind="perplexity")
    with pytest.raises(UserError, match="no JSON Lines file for the task x"):
        run_evaluate(models, Evaluate(pairs=settings.pairs, tasks=(bad,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_languages_that_fit_no_list_are_named(models, settings, tmp_path):
    chosen = Evaluate(seen=("de", "fr"), pairs=settings.pairs, draws=100)
    run_evaluate({"M0": models["M0"]}, chosen, tmp_path / "run")
    notes = json.loads((tmp_path / "run" / "manifest.json").read_text())["warnings"]
    assert notes == [
        "evaluate.seen names fr, for which there is nothing to measure",
        "en, sw: not in any mean, because neither evaluate.seen nor evaluate.unseen names them",
        "fewer than 20 held-out pairs in de, en, sw: their intervals of differences are too narrow",
    ]


def test_a_language_that_is_named_in_words_is_there(models, settings, tmp_path):
    chosen = Evaluate(seen=("German", "en"), unseen=("Swahili",), pairs=settings.pairs, draws=100)
    run_evaluate({"M0": models["M0"]}, chosen, tmp_path / "run")
    notes = json.loads((tmp_path / "run" / "manifest.json").read_text())["warnings"]
    assert notes == ["fewer than 20 held-out pairs in de, en, sw: their intervals of differences are too narrow"]


def test_names_of_rows_and_opponents():
    assert [row_name(method, 2) for method in ("none", "loss", "congrad")] == [
        "unfiltered, round 2",
        "loss, round 2",
        "ConGrad, round 2",
    ]
    assert opponents(["congrad", "none", "random"], [1, 2]) == {
        "ConGrad, round 1": ["unfiltered, round 1", "random, round 1"],
        "ConGrad, round 2": ["unfiltered, round 2", "random, round 2"],
    }
    assert opponents(["none", "random"], [1]) == {}


def test_a_judge_that_nobody_can_read_leaves_the_rest_of_the_table(models, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("congrad.evaluation.winrate.read_verdict", lambda *arguments, **options: None)
    chosen = Evaluate(win_rate=settings.win_rate, engine=settings.engine, draws=100)
    run_evaluate(models, chosen, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert report["headline"] == "win-rate/M0"
    row = report["metrics"][0]["rows"]["ConGrad, round 1"]
    assert {language: own["value"] for language, own in row["languages"].items()} == dict.fromkeys(("de", "en", "sw"))
    assert row["mean"]["value"] is None
    assert "ConGrad, round 1 against M0: 4 of 4 prompts are missing" in " ".join(report["notes"])
    assert "| ConGrad, round 1 | – | – | – | – |" in (tmp_path / "run" / "evaluation.md").read_text()
