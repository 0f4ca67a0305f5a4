"""Preference accuracy: by hand, against plain forward passes, and the same after a kill."""

import datasets
import numpy as np
import pytest
import torch

from congrad.evaluation.preference import (
    IMPLICIT,
    PER_TOKEN,
    SUMMED,
    PairLogps,
    accuracies,
    measure_pairs,
)
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import load_preferences
from congrad.preferences.load import read_preferences
from congrad.settings.evaluation import Evaluate


@pytest.fixture
def preferences(make_rows):
    rows = make_rows(18)
    rows[5]["rejected"] = rows[5]["chosen"]
    rows[7]["prompt"] = rows[1]["prompt"]  # two pairs of one prompt
    return load_preferences(datasets.Dataset.from_list(rows))


def measure(directory, preferences, path, **options):
    tokenizer = load_tokenizer(str(directory))
    return measure_pairs(lambda: load_model(str(directory)), tokenizer, preferences, path, **options)


def test_log_probabilities_are_those_of_a_plain_forward_pass(tiny_directory, preferences, tmp_path):
    found = measure(tiny_directory, preferences, tmp_path / "log.jsonl")
    tokenizer, model = load_tokenizer(str(tiny_directory)), load_model(str(tiny_directory))
    for number, row in enumerate(preferences.dataset):
        for side, name in enumerate(("chosen", "rejected")):
            if number == 5:
                assert np.isnan(found.logps_N2[number, side])
                continue
            # As TRL has it: prompt + response + EOS, the response's tokens after those of the prompt.
            prompt = tokenizer(row["prompt"])["input_ids"]
            ids = tokenizer(row["prompt"] + row[name] + tokenizer.eos_token)["input_ids"]
            assert ids[: len(prompt)] == prompt
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = sum(float(logits[t - 1, ids[t]]) for t in range(len(prompt), len(ids)))
            assert found.logps_N2[number, side] == pytest.approx(expected, abs=1e-4)
            assert found.tokens_N2[number, side] == len(ids) - len(prompt)


def test_accuracies_of_two_models(tiny_directory, other_directory, preferences, tmp_path):
    found = {
        "M0": measure(tiny_directory, preferences, tmp_path / "0.jsonl"),
        "M1": measure(other_directory, preferences, tmp_path / "1.jsonl"),
    }
    result = accuracies(found, "M0", preferences)
    assert set(result) == {IMPLICIT, SUMMED, PER_TOKEN}
    zero, one = found["M0"].logps_N2, found["M1"].logps_N2
    for language in ("de", "en", "sw"):
        rows = [n for n, name in enumerate(preferences.languages) if name == language and n != 5]
        assert result[IMPLICIT]["M0"][language].numerator_N.tolist() == [0.5] * len(rows)
        reward = one - zero
        assert result[IMPLICIT]["M1"][language].numerator_N.tolist() == [
            float(reward[n, 0] > reward[n, 1]) for n in rows
        ]
        assert result[SUMMED]["M1"][language].numerator_N.tolist() == [float(one[n, 0] > one[n, 1]) for n in rows]
    # Pairs 1 and 7 (both English) are of one prompt: one cluster of two.
    assert np.bincount(result[SUMMED]["M1"]["en"].cluster_N).tolist() == [2, 1, 1, 1, 1]


def test_accuracies_by_hand():
    rows = [
        {"prompt": f"p{number}", "chosen": "a", "rejected": "b", "language": language}
        for number, language in enumerate(["de", "de", "de", "sw"])
    ]
    preferences = load_preferences(datasets.Dataset.from_list(rows))
    tokens = np.array([[4.0, 1.0], [2.0, 2.0], [2.0, 2.0], [1.0, 1.0]])
    zero = PairLogps(np.array([[-8.0, -3.0], [-2.0, -4.0], [-3.0, -3.0], [-1.0, np.nan]]), tokens)
    one = PairLogps(np.array([[-7.0, -3.0], [-3.0, -5.0], [-3.0, -4.0], [-1.0, -2.0]]), tokens)
    result = accuracies({"M0": zero, "M1": one}, "M0", preferences)

    def right(metric: str, name: str) -> list[float]:
        assert list(result[metric][name]) == ["de"], "M0 cannot score the only pair in sw"
        return result[metric][name]["de"].numerator_N.tolist()

    assert right(IMPLICIT, "M1") == [1.0, 0.5, 1.0]  # rewards 1 and 0, -1 and -1, 0 and -1
    assert right(SUMMED, "M0") == [0.0, 1.0, 0.5]
    assert right(SUMMED, "M1") == [0.0, 1.0, 1.0]
    assert right(PER_TOKEN, "M0") == [1.0, 1.0, 0.5]  # -2 against -3
    assert right(PER_TOKEN, "M1") == [1.0, 1.0, 1.0]  # -1.75 against -3


def test_a_pass_that_was_killed_goes_on(tiny_directory, preferences, tmp_path, monkeypatch):
    monkeypatch.setattr("congrad.gradients.logps.default_token_budget", lambda device: 40)
    whole = measure(tiny_directory, preferences, tmp_path / "whole.jsonl")
    told: list[int] = []

    def kill(done: int) -> None:
        told.append(done)
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(tiny_directory, preferences, tmp_path / "log.jsonl", on_progress=kill)
    counted: list[int] = []
    again = measure(tiny_directory, preferences, tmp_path / "log.jsonl", on_progress=counted.append)
    assert counted[0] == told[-1]
    assert counted[-1] == 18
    assert again.logps_N2.tobytes() == whole.logps_N2.tobytes()

    def no_model():
        raise AssertionError("nothing is left to compute")

    tokenizer = load_tokenizer(str(tiny_directory))
    measure_pairs(no_model, tokenizer, preferences, tmp_path / "log.jsonl")


def test_held_out_pairs_are_sampled_by_language(tmp_path, make_rows):
    datasets.Dataset.from_list(make_rows(30)).to_json(tmp_path / "pairs.jsonl", force_ascii=False)
    settings = Evaluate(pairs=str(tmp_path / "pairs.jsonl"), limit=6, seed=3)
    preferences = read_preferences(settings.held_out)
    assert sorted(preferences.languages) == ["de", "de", "en", "en", "sw", "sw"]
