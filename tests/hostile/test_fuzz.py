"""A slice of `python -m bench.fuzz`: the same few hostile inputs of every kind, each time."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_what_must_hold_of_hostile_inputs_holds(start, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    process = start("-m", "bench.fuzz", "--cases", 2, "--seed", 5, "--output", tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, out[-5000:] + err[-5000:]


def test_the_readers_lose_no_row_and_raise_nothing_but_their_error():
    from bench.fuzz import readers

    told, wrong = readers.run(files=10, rows=50, seed=3)
    assert wrong == [], told
