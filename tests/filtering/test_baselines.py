"""Baselines: what they rank by, worked by hand and by a plain forward pass; the same size; taken up after a kill."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.listening import counting

from congrad import UserError
from congrad.consensus.loss import pair_weights
from congrad.filtering import filter_preferences
from congrad.filtering.baselines import filter_baseline
from congrad.filtering.directory import is_run
from congrad.filtering.rankings import Baseline, LogProbabilities, model_scores
from congrad.gradients import open_index
from congrad.gradients.check import own_logps
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import load_preferences, tokenise
from congrad.progress import Listener
from congrad.settings.consensus import Loss
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.selection import Selection
from congrad.settings.tree import FilterConfig


@pytest.fixture
def rows(make_rows):
    rows = make_rows(30)
    rows[4]["chosen"] = ""
    for number, row in enumerate(rows):
        row["chosen_score"], row["rejected_score"] = 3 + (number * 7 % 11) / 2, 2.5
    rows[9]["chosen_score"] = None
    return rows


def write(path: Path, rows: list[dict], without: tuple[str, ...] = ()) -> Input:
    lines = ({key: value for key, value in row.items() if key not in without} for row in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return Input(str(path))


@pytest.fixture
def source(tmp_path, rows) -> Input:
    return write(tmp_path / "pairs.jsonl", rows, without=("chosen_score", "rejected_score"))


@pytest.fixture
def judged(tmp_path, rows) -> Input:
    return write(tmp_path / "judged.jsonl", rows)


@pytest.fixture
def model(tiny_directory) -> Model:
    return Model(str(tiny_directory))


def table(run: Path) -> dict[str, list]:
    return pq.read_table(run / "scores.parquet").to_pydict()


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_none_keeps_everything_as_it_is(source, rows, model, tmp_path):
    filter_baseline(Baseline("none"), source, model, tmp_path / "run")
    kept = read(tmp_path / "run" / "kept.jsonl")
    assert [row.pop("baseline_score") for row in kept] == [None] * 30
    assert [row["id"] for row in kept] == [row["id"] for row in rows]
    assert (tmp_path / "run" / "dropped.jsonl").read_bytes() == b""
    assert is_run(tmp_path / "run")


def test_random_keeps_as_many_of_every_language_as_the_filter(source, model, tmp_path):
    selection = Selection(keep=0.35)
    filter_preferences(FilterConfig(source, model, selection=selection), tmp_path / "congrad")
    filter_baseline(Baseline("random", selection), source, model, tmp_path / "random")
    found = {}
    for name in ("congrad", "random"):
        columns = table(tmp_path / name)
        kept = [language for language, keep in zip(columns["language"], columns["keep"], strict=True) if keep]
        found[name] = {language: kept.count(language) for language in sorted(set(kept))}
    assert found["random"] == found["congrad"] == {"de": 4, "en": 3, "sw": 4}  # 0.35 of 10, of 9 that are usable, of 10
    assert table(tmp_path / "random")["reason"][4] == "empty response"


def test_random_depends_on_its_seed_alone(source, model, tmp_path):
    kept = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        filter_baseline(Baseline("random", seed=seed), source, model, tmp_path / name)
        kept[name] = (tmp_path / name / "kept.jsonl").read_bytes()
    assert kept["a"] == kept["b"]
    assert kept["a"] != kept["c"]


def test_the_judges_margin_is_the_difference_of_the_scores(judged, rows, model, tmp_path):
    selection = Selection(keep=0.2, scope="global")
    assert filter_baseline(Baseline("reward-margin", selection), judged, model, tmp_path / "run") == []
    columns = table(tmp_path / "run")
    for number, (row, score) in enumerate(zip(rows, columns["score"], strict=True)):
        if number in (4, 9):
            assert score is None
        else:
            assert score == pytest.approx(row["chosen_score"] - row["rejected_score"])
    assert columns["reason"][9] == "no judge's score"
    # 0.2 of 28 is 5.6; the scores are 0.5 + (7 n mod 11) / 2, and n = 3, 14, 25 have the remainder 10, 6 and 17 have 9,
    # 28 has 9 as well.
    assert [row for row, keep in enumerate(columns["keep"]) if keep] == [3, 6, 14, 17, 25, 28]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["reward"] == "judge"


def test_a_reward_is_chosen_and_named(source, judged, model, tmp_path):
    said = filter_baseline(Baseline("reward-margin"), source, model, tmp_path / "run")
    assert said == [
        "reward-margin: the pairs have no judge's scores, so the reward is the mean log-probability per token "
        "(SimPO's reward)"
    ]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["reward"], manifest["warnings"]) == ("likelihood", said)
    with pytest.raises(UserError, match="no columns chosen_score, rejected_score"):
        filter_baseline(Baseline("reward-margin", reward="judge"), source, model, tmp_path / "x")
    with pytest.raises(UserError, match="zero for every pair"):
        filter_baseline(Baseline("reward-margin", reward="implicit"), judged, model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "los"}, "filter.methods 'los': must be one of none, random"),
        ({"method": "loss", "reward": "judge"}, "has no reward"),
        ({"method": "loss", "selection": Selection(min_score=0.1)}, "set selection.keep"),
        ({"method": "reward-margin", "reward": "simpo"}, "the reward 'simpo' is unknown"),
    ],
)
def test_a_choice_that_would_be_ignored_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Baseline(**arguments)


def test_half_a_score_and_a_score_that_is_none(rows, model, tmp_path):
    half = write(tmp_path / "half.jsonl", rows, without=("rejected_score",))
    with pytest.raises(UserError, match="a column chosen_score but not both"):
        filter_baseline(Baseline("reward-margin"), half, model, tmp_path / "run")
    for row in rows:
        row["chosen_score"] = "good"
    words = write(tmp_path / "words.jsonl", rows)
    with pytest.raises(UserError, match=r"words.jsonl:1: column 'chosen_score' holds 'good', not a number"):
        filter_baseline(Baseline("reward-margin"), words, model, tmp_path / "run")


@pytest.mark.parametrize("method", ["loss", "reward-margin"])
def test_margins_are_those_of_a_plain_forward_pass(source, tiny_directory, model, tmp_path, method):
    filter_baseline(Baseline(method), source, model, tmp_path / "run")
    columns = table(tmp_path / "run")
    pairs = tokenise(load_preferences(source.source), load_tokenizer(str(tiny_directory)))
    plain = load_model(str(tiny_directory))
    for row in range(30):
        if row == 4:
            assert columns["score"][row] is None
            continue
        sides = [own_logps(plain, pairs.prompt_ids[row], ids[row])[0] for ids in (pairs.chosen_ids, pairs.rejected_ids)]
        reduced = [logp.sum() if method == "loss" else logp.mean() for logp in sides]
        assert columns["score"][row] == pytest.approx(0.1 * float(reduced[0] - reduced[1]), abs=1e-5)
    kept = [score for score, keep in zip(columns["score"], columns["keep"], strict=True) if keep]
    assert len(kept) == 15  # 5 of 10, 5 of 9 (4.5 rounds up), 5 of 10
    assert min(kept) > min(score for score in columns["score"] if score is not None)


def test_an_index_saves_the_pass(source, model, tmp_path, monkeypatch):
    filter_preferences(FilterConfig(source, model), tmp_path / "congrad")
    filter_baseline(Baseline("loss"), source, model, tmp_path / "pass")
    monkeypatch.setattr("congrad.gradients.logps.batch_logps", None)
    index = open_index(tmp_path / "congrad" / "index")
    filter_baseline(Baseline("loss"), source, model, tmp_path / "index", index=index)
    assert table(tmp_path / "index")["keep"] == table(tmp_path / "pass")["keep"]
    found, expected = (table(tmp_path / name)["score"] for name in ("index", "pass"))
    assert np.array(found, float) == pytest.approx(np.array(expected, float), abs=1e-5, nan_ok=True)
    other = write(tmp_path / "other.jsonl", read(Path(source.source))[:12])
    with pytest.raises(UserError, match="is an index of other pairs"):
        filter_baseline(Baseline("loss"), other, model, tmp_path / "other", index=index)


def test_a_pass_that_was_killed_goes_on(source, model, tmp_path, monkeypatch):
    filter_baseline(Baseline("loss"), source, model, tmp_path / "whole")
    monkeypatch.setattr("congrad.gradients.logps.default_token_budget", lambda device: 40)
    counted: list[int] = []

    def killed(stage: str, done: int, total: int) -> None:
        counted.append(done)
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filter_baseline(Baseline("loss"), source, model, tmp_path / "run", listener=counting(killed))
    before = len(read(tmp_path / "run" / "logps.jsonl"))
    assert not (tmp_path / "run" / "manifest.json").exists()
    steps: list[int] = []
    filter_baseline(
        Baseline("loss"),
        source,
        model,
        tmp_path / "run",
        listener=counting(lambda _, done, total: steps.append(done)),
    )
    assert before == counted[-1] == steps[0] < steps[1]
    assert steps[-1] == 29
    assert (tmp_path / "run" / "kept.jsonl").read_text().count("\n") == 15
    assert table(tmp_path / "run")["keep"] == table(tmp_path / "whole")["keep"]
    filter_baseline(
        Baseline("loss"), source, model, tmp_path / "run", listener=Listener(on_progress=killed)
    )  # finished: nothing is done
    with pytest.raises(UserError, match=r"begun with baseline\.seed 0, now 1"):
        filter_baseline(Baseline("loss", seed=1), source, model, tmp_path / "run")


def test_lowest_loss_by_hand():
    """Three pairs of 4 and 2, 2 and 2, 1 and 5 tokens."""
    policy = np.array([[-8.0, -6.0], [-3.0, -5.0], [-2.0, -9.0]])
    reference = np.array([[-9.0, -6.0], [-3.0, -4.0], [-2.0, -9.0]])
    tokens = np.array([[4.0, 2.0], [2.0, 2.0], [1.0, 5.0]])

    def by(baseline: Baseline, reference_P2=None) -> list[float]:
        return model_scores(baseline, LogProbabilities(policy, reference_P2), tokens).round(6).tolist()

    assert by(Baseline("loss")) == [-0.2, 0.2, 0.7]
    assert by(Baseline("loss"), reference) == [0.1, 0.1, 0.0]
    assert by(Baseline("loss", loss=Loss("lp-dpo", length_penalty=0.05))) == [-0.1, 0.2, 0.5]
    assert by(Baseline("reward-margin", reward="implicit", loss=Loss(beta=0.5)), reference) == [0.5, 0.5, 0.0]
    # Means per token: -2 and -3, -1.5 and -2.5, -2 and -1.8.
    assert by(Baseline("reward-margin", reward="likelihood", loss=Loss(beta=1.0)), reference) == [1.0, 1.0, -0.2]
    # IPO: least where the difference of means is 1 / (2 * 0.5) = 1.
    assert by(Baseline("loss", loss=Loss("ipo", beta=0.5))) == [0.0, 0.0, -1.2]


@pytest.mark.parametrize("loss", [Loss(), Loss("hinge"), Loss("robust", label_smoothing=0.1), Loss("simpo")])
def test_every_loss_but_ipos_falls_with_the_margin(loss):
    margin_P = torch.linspace(-5, 5, 101, dtype=torch.float64)
    assert (pair_weights(loss, margin_P) <= 0).all()


def test_what_is_not_finite_has_no_score(source, model, tmp_path, monkeypatch):
    def broken(model, triples, done):
        yield list(range(len(triples))), torch.tensor([[1.0, 0.0]] * (len(triples) - 1) + [[torch.nan, 0.0]])

    monkeypatch.setattr("congrad.gradients.logps.batch_logps", broken)
    filter_baseline(Baseline("loss"), source, model, tmp_path / "run")
    columns = table(tmp_path / "run")
    assert columns["reason"][29] == "log-probability is not finite"
    assert columns["score"][29] is None
    assert not columns["keep"][29]
