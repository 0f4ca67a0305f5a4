"""Which pairs have their texts in the page."""

import json

import numpy as np

from congrad.filtering.finished import read_run
from congrad.report import shown
from congrad.report.shown import LEAST, MOST, RANDOM, choose, draw


def size(text):
    return len(json.dumps(text))


def test_a_few_thousand_are_all_there(run_directory, tmp_path):
    run = read_run(run_directory(tmp_path / "run"))
    found = choose(run, max_bytes=0, size_of=size)  # no limit holds for all
    assert found.position_S.tolist() == list(range(650))
    assert found.each is None
    assert found.texts[7]["chosen"] == "yes 7"
    assert found.texts[7]["other"] == {"id": "hi-7"}


def test_the_most_and_least_aligned_and_a_random_sample():
    score_N = np.array([0.1, 0.5, 0.5, -0.3, np.nan, 0.2, 0.0, 0.9], dtype=np.float32)
    language_N = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    positions, kinds, turns = draw(score_N, language_N, each=2, seed=1)
    drawn = {kind: [int(p) for p, k in zip(positions, kinds, strict=True) if k == kind] for kind in (0, 1, 2)}
    assert drawn[MOST] == [1, 2, 7]  # the earlier of equals is the better
    assert drawn[LEAST] == [3, 6]
    assert len(drawn[RANDOM]) == 2
    assert set(drawn[RANDOM]) < {0, 4, 5}  # without a score too
    assert len(set(positions.tolist())) == len(positions)
    assert dict(zip(positions.tolist(), turns.tolist(), strict=True))[3] == 0


def test_the_random_part_follows_the_seed_and_covers_the_middle():
    score_N = np.linspace(-1, 1, 2000).astype(np.float32)
    language_N = np.zeros(2000, dtype=int)
    first, second, other = (draw(score_N, language_N, 100, seed) for seed in (0, 0, 1))
    assert first[0].tolist() == second[0].tolist() != other[0].tolist()
    random = first[0][first[1] == RANDOM]
    assert abs(score_N[random].mean()) < 0.2
    assert abs(score_N[random].std() - score_N[100:-100].std()) < 0.1


def test_long_texts_make_the_sample_smaller(run_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "MAX_ALL", 100)
    monkeypatch.setattr(shown, "SAMPLE", 390)
    run = read_run(
        run_directory(tmp_path / "run", text=lambda row, _: {"prompt": "p" * 1000, "chosen": "c", "rejected": "r"})
    )
    wide = choose(run, max_bytes=10**9, size_of=size)
    assert (wide.each, len(wide.texts)) == (10, 390)
    narrow = choose(run, max_bytes=150_000, size_of=size)
    assert 90 < len(narrow.texts) < 150
    assert narrow.each == 3
    assert set(narrow.position_S.tolist()) < set(wide.position_S.tolist())
    assert choose(run, max_bytes=0, size_of=size).each == 1, "something is shown all the same"


def test_conversations_tools_and_other_columns(run_directory, tmp_path):
    def text(row, language):
        return {
            "chosen": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]},
            ],
            "rejected": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "x" * 30_000}],
            "meta": {"a": [1]},
            "long": "y" * 600,
            "nothing": None,
        }

    found = choose(read_run(run_directory(tmp_path / "run", each=1, text=text)), max_bytes=0, size_of=size).texts[0]
    assert found["prompt"] == [["user", "hello"]]
    assert found["chosen"] == [["assistant", '[{"name": "f"}]']]
    assert found["rejected"] == [["assistant", "x" * 20_000 + " … (10,000 more characters)"]]
    assert found["other"] == {"meta": '{"a": [1]}', "long": "y" * 500 + " … (100 more characters)", "nothing": "null"}
