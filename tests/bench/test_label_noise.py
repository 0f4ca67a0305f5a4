"""Planted noise is where it was planted, and no held-out prompt is trained on."""

import json
import random

import pytest
from bench.label_noise import flip, noise_rates, noise_table, read_language, split_prompts


def test_rates_rise_in_equal_steps():
    assert noise_rates(["a", "b", "c", "d"], 0.1, 0.4) == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4})
    assert noise_rates(["a"], 0.1, 0.4) == {"a": 0.1}


def test_flipping_exchanges_the_sides_of_so_many_rows_and_is_seeded():
    rows = [{"language": "de", "prompt": "p", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(20)]
    state = random.getstate()
    noisy = flip(rows, 0.3, seed=1)
    assert random.getstate() == state
    assert sum(row["flipped"] for row in noisy) == 6
    for before, after in zip(rows, noisy, strict=True):
        sides = (before["rejected"], before["chosen"]) if after["flipped"] else (before["chosen"], before["rejected"])
        assert (after["chosen"], after["rejected"]) == sides
    assert flip(rows, 0.3, seed=1) == noisy
    assert flip(rows, 0.3, seed=2) != noisy


def test_prompts_are_trained_on_or_held_out():
    train, held_out = split_prompts(set(range(50)), 30, 20, seed=0)
    assert (len(train), len(held_out)) == (30, 20)
    assert not set(train) & set(held_out)


def test_rows_are_known_by_the_number_of_their_prompt(tmp_path):
    row = {"id": "eval-17", "prompt": "p", "chosen": "c", "rejected": "r", "other": 1}
    (tmp_path / "de.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert read_language(tmp_path, "de") == {17: {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}}


def test_the_table_has_a_row_for_each_filter():
    table = noise_table({"none": {"de": 0.1, "en": 0.4}, "congrad": {"de": 0.0}})
    assert "| none | 10% | 40% |" in table
    assert "| congrad | 0% | - |" in table
