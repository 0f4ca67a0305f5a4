"""The demo's careless judge: which labels it swaps, and how many of them a run dropped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "demo"


def careless(*words):
    command = [sys.executable, str(DEMO / "careless.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_share_of_the_labels_of_some_languages_is_swapped(tmp_path):
    done = careless("label", tmp_path / "one", "--noise", "0.4")
    assert done.stdout == f"{tmp_path / 'one'}: 624 pairs; a careless judge swapped 228 labels, none in en\n"
    for path in sorted((DEMO / "pairs").glob("*.jsonl")):
        before, after = read(path), read(tmp_path / "one" / path.name)
        assert sum(row["swapped"] for row in after) == (0 if path.stem == "en" else 19)
        for old, new in zip(before, after, strict=True):
            sides = (new["chosen"], new["rejected"])
            assert sides == ((old["rejected"], old["chosen"]) if new["swapped"] else (old["chosen"], old["rejected"]))
            assert new | {"chosen": old["chosen"], "rejected": old["rejected"]} == old | {"swapped": new["swapped"]}


def test_the_seed_decides(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        careless("label", tmp_path / name, "--seed", seed)
    one, same, other = ((tmp_path / name / "de.jsonl").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other


def test_without_noise_every_label_is_right(tmp_path):
    assert "624 pairs, all with the right label" in careless("label", tmp_path, "--noise", "0").stdout
    assert not any(row["swapped"] for path in tmp_path.glob("*.jsonl") for row in read(path))


@pytest.mark.parametrize("noise", ["-0.1", "0.6"])
def test_more_wrong_labels_than_right_ones_are_refused(tmp_path, noise):
    done = careless("label", tmp_path / "pairs", f"--noise={noise}")
    assert done.returncode == 2
    assert "should be from 0 to 0.5" in done.stderr
    assert not (tmp_path / "pairs").exists()


def test_what_a_run_dropped_is_counted(tmp_path):
    careless("label", tmp_path / "pairs")
    rows = [row for path in sorted((tmp_path / "pairs").glob("*.jsonl")) for row in read(path)]
    swapped = [row for row in rows if row["swapped"]]
    right = [row for row in rows if not row["swapped"]]
    assert (len(swapped), len(right)) == (144, 480)
    (tmp_path / "run").mkdir()
    kept = swapped[:36] + right[:432]
    (tmp_path / "run" / "kept.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    assert careless("count", tmp_path / "pairs", tmp_path / "run").stdout == (
        "the filter dropped 108 of 144 pairs with swapped labels (75%) and 48 of 480 pairs with right labels (10%); "
        "at random, 25% of each\n"
    )
