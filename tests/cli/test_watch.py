"""`congrad filter DATA --watch OTHER`: what every option does to pairs that are not trained on, end to end."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.conftest import preference_rows

from congrad.filtering.advised import AdviceFile
from congrad.gradients.index import open_index
from congrad.stage import read_json


@pytest.fixture
def words(pairs_file, tiny_directory) -> tuple[object, ...]:
    return ("filter", pairs_file, "-m", tiny_directory, "-q", "index.projection_size=8")


@pytest.fixture
def watched(tmp_path, save_rows) -> Path:
    """Prompts of the data with their labels the other way round, and others of a language that the data has not."""
    rows = preference_rows(30)[:12]
    rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"], "language": "xx"} for row in rows]
    rows += [{**row, "prompt": f"new {row['prompt']}", "id": f"new {row['id']}"} for row in preference_rows(9, ("sw",))]
    rows.append({**rows[-1], "rejected": rows[-1]["chosen"]})  # has no gradient
    return save_rows(tmp_path / "watched.jsonl", rows)


def advice(run: Path) -> dict:
    return read_json(run / "advice.json", AdviceFile)


def watch_index(run: Path) -> Path:
    (place,) = (run / "watch").iterdir()
    return place


def no_model(monkeypatch) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("congrad.models.load.load_model", load)


def test_every_option_has_a_number_for_the_watched_pairs(congrad, words, watched, tmp_path, monkeypatch):
    run = tmp_path / "run"
    done = congrad(*words, "-o", run, "--watch", watched)
    assert done.code == 0, done.err
    found = advice(run)
    assert (found["watched"], found["watched_pairs"], found["watched_left_out"]) == (["sw", "xx"], [9, 12], 1)
    for option in found["options"]:
        for gains in option["gains"].values():
            assert len(gains["watched"]) == 2
            mean = gains["watched_mean"]
            assert mean["low"] <= mean["value"] <= mean["high"]
            assert mean["value"] == pytest.approx(sum(each["value"] for each in gains["watched"]) / 2, rel=1e-4)
    shares = [each["share"] for each in found["options"] if each["ranking"] == "medium-influence"]
    assert shares == [tenth / 10 for tenth in range(1, 11)]
    assert any(line.split()[-1:] == ["watched"] for line in done.out.splitlines()), "the table's last column"
    manifest = json.loads((run / "manifest.json").read_text())
    assert run / manifest["watch"] == watch_index(run)
    before = (run / "advice.json").read_bytes()
    watched.unlink()  # from here on the index is enough
    no_model(monkeypatch)
    assert congrad("advise", run, "-q").code == 0
    assert (run / "advice.json").read_bytes() == before
    done = congrad("filter", run, "--keep", 0.4, "-q", "-o", tmp_path / "other")
    assert done.code == 0, done.err
    assert advice(tmp_path / "other")["watched"] == ["sw", "xx"]
    assert json.loads((tmp_path / "other" / "manifest.json").read_text())["watch"] == str(watch_index(run))
    assert congrad("filter", tmp_path / "other", "-q").code == 0
    shutil.move(run, tmp_path / "moved")
    assert congrad("advise", tmp_path / "moved", "-q").code == 0


def test_watched_gradients_are_those_that_an_index_of_their_own_has(congrad, words, watched, tmp_path):
    assert congrad(*words, "-o", tmp_path / "run", "--watch", watched).code == 0
    assert congrad("filter", watched, *words[2:], "-o", tmp_path / "alone").code == 0
    one, other = open_index(watch_index(tmp_path / "run")), open_index(tmp_path / "alone" / "index")
    assert one.plan == other.plan
    assert torch.equal(one[0:21], other[0:21])
    assert torch.equal(one.scales_P, other.scales_P)
    found = json.loads((watch_index(tmp_path / "run") / "prompts.json").read_text())
    assert found["data_rows"] == 30
    assert found["prompts"][:12] == list(range(12))
    assert min(found["prompts"][12:]) >= 30


def test_other_watched_pairs_leave_the_data_s_index_as_it_is(congrad, words, watched, tmp_path, save_rows):
    run = tmp_path / "run"
    assert congrad(*words, "-o", run).code == 0
    assert advice(run)["watched"] == []
    index = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (run / "index").iterdir()}
    assert congrad(*words, "-o", run, "--watch", watched).code == 0
    first = watch_index(run)
    kept = {path: path.stat().st_mtime_ns for path in first.iterdir() if path.name != "prompts.json"}
    other = save_rows(tmp_path / "other.jsonl", preference_rows(50)[40:])
    assert congrad(*words, "-o", run, "--watch", other).code == 0
    assert advice(run)["watched_pairs"] == [3, 4, 3]
    assert congrad(*words, "-o", run, "--watch", watched).code == 0
    assert advice(run)["watched_pairs"] == [9, 12]
    assert index == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (run / "index").iterdir()}
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert congrad(*words, "-o", run).code == 0
    assert advice(run)["watched"] == []
    assert "watch" not in json.loads((run / "manifest.json").read_text())


def test_the_estimate_counts_the_watched_pairs(congrad, words, watched, tmp_path):
    done = congrad(*(word for word in words if word != "-q"), "-o", tmp_path / "run", "--watch", watched, "--dry-run")
    assert done.code == 0, done.err
    assert "51 pairs, " in done.out + done.err
    assert not (tmp_path / "run").exists()


def test_mistakes_are_said_by_the_flag_and_lose_nothing(congrad, words, tmp_path, save_rows, pairs_file):
    run, rows = tmp_path / "run", preference_rows(6)
    assert congrad(*words, "-o", run).code == 0
    before = {path: path.read_bytes() for path in (run / "index").iterdir()}
    (tmp_path / "empty.jsonl").write_text("")
    copied = save_rows(tmp_path / "copied.jsonl", preference_rows(30))
    same = save_rows(tmp_path / "same.jsonl", [{**row, "rejected": row["chosen"]} for row in rows])
    lacking = save_rows(tmp_path / "lacking.jsonl", [{"prompt": "a", "chosen": "b", "language": "de"}])
    for path, message in [
        (tmp_path / "nowhere.jsonl", "no such file or folder"),
        (tmp_path / "empty.jsonl", "no rows"),
        (lacking, "rejected"),
        (pairs_file, "holds the pairs of"),
        (copied, "holds the pairs of"),
        (same, "none of the 6 pairs can be scored (6 x identical responses)"),
    ]:
        done = congrad(*words, "-o", run, "--watch", path)
        assert done.refused, done
        assert f"--watch {path}: " in done.err, done.err
        assert message in done.err
        done = congrad(*words, "-o", run, f"advice.watch={path}")
        assert done.refused
        assert f"advice.watch={path}: " in done.err, done.err
    assert before == {path: path.read_bytes() for path in (run / "index").iterdir()}
    assert congrad("advise", run, "-q").code == 0


def contents(run: Path) -> dict[str, bytes]:
    """All that decides a result: neither times nor what index.json says of them."""
    names = ("scores.parquet", "kept.jsonl", "advice.json", "languages.json")
    places = [*(run / name for name in names), *watch_index(run).glob("*.safetensors"), *watch_index(run).glob("p*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in places}


def test_a_killed_run_goes_on_where_it_stopped(congrad, words, tmp_path, save_rows, monkeypatch):
    monkeypatch.setenv("CONGRAD_BFLOAT16", "slow")  # what is faster is measured, and may differ from run to run
    """Killed after the first shard of the watched pairs; the data's index and that shard stay as they are."""
    from congrad.gradients import build

    watched = save_rows(tmp_path / "watched.jsonl", preference_rows(100)[60:])  # two shards
    assert congrad(*words, "-o", tmp_path / "whole", "--watch", watched).code == 0
    written = []

    def write(path, tensors, real=build.write_tensors):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        real(path, tensors)

    monkeypatch.setattr(build, "write_tensors", write)
    assert congrad(*words, "-o", tmp_path / "run", "--watch", watched).code == 130
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in written}
    assert [path.parent for path in written] == [tmp_path / "run" / "index", watch_index(tmp_path / "run")]
    assert congrad(*words, "-o", tmp_path / "run", "--watch", watched).code == 0
    assert before == {path: path.stat().st_mtime_ns for path in written}
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_two_ranks_watch_as_one(congrad, words, watched, tmp_path, start):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "congrad"]
    process = start(*launcher, *words, "-o", tmp_path / "two", "--watch", watched)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert congrad(*words, "-o", tmp_path / "one", "--watch", watched).code == 0
    two, one = contents(tmp_path / "two"), contents(tmp_path / "one")
    assert two.pop("advice.json") is not None, "whose last digits depend on where arrays lie in memory"
    assert one.pop("advice.json") is not None
    assert two == one


def test_no_pair_with_a_gradient(congrad, words, watched, tmp_path, monkeypatch):
    monkeypatch.setattr("congrad.filtering.watch.usable", lambda factor_N: torch.zeros_like(factor_N, dtype=torch.bool))
    done = congrad(*words, "-o", tmp_path / "run", "--watch", watched)
    assert done.refused
    assert f"--watch {watched}: has no pair with a gradient" in done.err
    assert (tmp_path / "run" / "index" / "index.json").is_file()


def test_a_run_takes_no_others(congrad, words, watched, tmp_path):
    run = tmp_path / "run"
    assert congrad(*words, "-o", run).code == 0
    for command in ("filter", "advise"):
        done = congrad(command, run, f"advice.watch={watched}")
        assert done.refused
        assert "has its index already" in done.err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("prompts.json", {"prompts": [0] * 21 + [60]}, "prompts below that"),
        ("prompts.json", {"prompts": [-1] * 22}, "should be greater than or equal to 0"),
        ("prompts.json", {"prompts": []}, "should have at least 1"),
        ("prompts.json", {"prompts": [0] * 20}, "num_rows 22 should be 20"),
        ("prompts.json", {"data_rows": 31}, "data_rows should be 30"),
        ("plan.json", {"num_rows": 10**12}, "num_rows 1000000000000 should be 22"),
        ("plan.json", {"model": "0" * 64}, "the model (model.name, model.adapter) should be that of"),
        ("plan.json", {"dims": 4}, "dims should be the square"),
        ("manifest.json", {"watch": "../nowhere"}, "cannot be read"),
        ("manifest.json", {"watch": ["x"]}, "watch should be a valid string"),
    ],
)
def test_a_damaged_run_is_refused(congrad, words, watched, tmp_path, name, change, message):
    run = tmp_path / "run"
    assert congrad(*words, "-o", run, "--watch", watched).code == 0
    path = run / name if name == "manifest.json" else watch_index(run) / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for command in ("filter", "advise"):
        done = congrad(command, run)
        assert done.refused, done
        assert message in done.err


def test_watched_languages_are_bounded(congrad, words, tmp_path, save_rows):
    rows = [{**row, "language": "abcd"[number % 4]} for number, row in enumerate(preference_rows(50)[40:])]
    watched = save_rows(tmp_path / "many.jsonl", rows)
    run = tmp_path / "run"
    assert congrad(*words, "-o", run, "--watch", watched).code == 0
    done = congrad("filter", run, "input.bounds.languages=3")
    assert done.refused
    assert "has more than 3 languages; raise input.bounds.languages" in done.err
