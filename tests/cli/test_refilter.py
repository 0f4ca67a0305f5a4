"""`congrad filter RUN`: another share, loss or consensus from the index that is there, without the model."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock


@pytest.fixture
def run(congrad, pairs_file, tiny_directory, tmp_path, monkeypatch) -> Path:
    """A finished run. From here on loading a model or a tokenizer fails the test."""
    assert congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "-q").code == 0

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("congrad.models.load.load_model", load)
    monkeypatch.setattr("congrad.models.load.load_tokenizer", load)
    return tmp_path / "run"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def manifest(directory: Path) -> dict:
    return json.loads((directory / "manifest.json").read_text())


def scores(directory: Path) -> list[float]:
    return pq.read_table(directory / "scores.parquet")["score"].to_pylist()


@pytest.mark.parametrize("aggregator", ["mean", "upgrad", "mgda", "cagrad", "gradvac", "aligned-mtl"])
def test_another_share_and_aggregator(congrad, run, aggregator):
    if aggregator != "mean":
        pytest.importorskip("torchjd")
    before = scores(run)
    done = congrad("filter", run, "--keep", 0.3, f"consensus.aggregator={aggregator}")
    assert done.code == 0, done.err
    assert "kept 9 of 30 pairs" in done.out
    assert manifest(run)["config"]["consensus"]["aggregator"] == aggregator
    assert manifest(run)["config"]["selection"]["keep"] == 0.3
    if aggregator != "gradvac":  # which is PCGrad where there is one step
        assert scores(run) != before
    assert len((run / "kept.jsonl").read_text().splitlines()) == 9


LOSSES = {
    "dpo": ["loss.beta=0.5"],
    "lp-dpo": ["loss.length_penalty=0.5"],
    "hinge": ["loss.beta=2"],
    "robust": ["loss.label_smoothing=0.2"],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_on_sums(congrad, run, loss):
    done = congrad("filter", run, f"loss.name={loss}", *LOSSES[loss])
    assert done.code == 0, done.err
    stored = manifest(run)["config"]["loss"]
    assert stored["name"] == loss
    key, value = LOSSES[loss][0].split("=")
    assert stored[key.removeprefix("loss.")] == float(value)


@pytest.mark.parametrize(("loss", "options"), [("ipo", ["loss.beta=0.5"]), ("simpo", ["loss.target_margin=1"])])
def test_losses_on_means(congrad, pairs_file, tiny_directory, tmp_path, loss, options):
    command = ("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "index.normalise=mean")
    assert congrad(*command, "loss.name=ipo").code == 0
    assert congrad("filter", tmp_path / "run", f"loss.name={loss}", *options).code == 0
    wrong = congrad("filter", tmp_path / "run")
    assert wrong.code == 2
    assert "with index.normalise=sum, or choose from ipo, simpo" in wrong.err


def test_zero_is_not_taken_as_nothing(congrad, run):
    folded = scores(run)
    assert congrad("filter", run, "consensus.cross_fit=0").code == 0
    assert manifest(run)["config"]["consensus"]["cross_fit"] == 0
    assert sum(scores(run)) > sum(folded) + 1  # a pair agrees with what it had a part in
    assert congrad("filter", run, "--min-score", 0).code == 0
    table = pq.read_table(run / "scores.parquet").to_pydict()
    assert table["keep"] == [score >= 0 for score in table["score"]]
    assert manifest(run)["reasons"].keys() == {"kept", "below the minimum score"}


def test_ema_and_global_scope(congrad, run):
    options = (
        "consensus.accumulate=ema",
        "consensus.ema_decay=0.5",
        "consensus.ema_batch=2",
        "--keep",
        0.2,
        "selection.scope=global",
    )
    assert congrad("filter", run, *options).code == 0
    table = pq.read_table(run / "scores.parquet").to_pydict()
    best = sorted(range(30), key=lambda row: -table["score"][row])[:6]
    assert [row for row in range(30) if table["keep"][row]] == sorted(best)


def test_the_defaults_give_the_first_result_again(congrad, run):
    before = {name: (run / name).read_bytes() for name in ("scores.parquet", "kept.jsonl", "languages.json")}
    assert congrad("filter", run, "--keep", 0.1, "consensus.aggregator=mean").code == 0
    assert {name: (run / name).read_bytes() for name in before} != before
    assert congrad("filter", run).code == 0
    assert {name: (run / name).read_bytes() for name in before} == before


def test_results_elsewhere_leave_the_run_as_it_is(congrad, run, tmp_path, files):
    before = contents(run)
    done = congrad("filter", run, "--keep", 0.3, "--output", tmp_path / "other")
    assert done.code == 0, done.err
    assert contents(run) == before
    assert files(tmp_path / "other") == {
        *(
            "scores.parquet",
            "kept.jsonl",
            "dropped.jsonl",
            "languages.json",
            "advice.json",
            "manifest.json",
            "report.html",
        )
    }
    assert manifest(tmp_path / "other")["index"] == str(run / "index")
    assert congrad("filter", tmp_path / "other", "--keep", 1).code == 0  # a run like any other
    assert manifest(tmp_path / "other")["kept"] == 30


def test_from_another_directory_too(congrad, pairs_file, tiny_directory, tmp_path, monkeypatch):
    """The data was named from where the run was made."""
    monkeypatch.chdir(tmp_path)
    assert congrad("filter", "pairs.jsonl", "-m", tiny_directory, "-o", "run").code == 0
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert congrad("filter", "../run", "--keep", 0.3).code == 0
    shutil.move(tmp_path / "run", tmp_path / "deep" / "moved")
    assert congrad("filter", "moved", "--keep", 0.4).code == 0


def test_a_run_under_a_launcher_is_filtered_once(congrad, run, monkeypatch):
    before = contents(run)
    monkeypatch.setenv("RANK", "1")
    done = congrad("filter", run, "--keep", 0.3)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert contents(run) == before


IGNORED = [
    *(["--model", "gemma3-270m"], ["--limit", "5"], ["index.layers=upper"], ["index.projection_size=8"], ["--dry-run"]),
    *(
        ["index.normalise=mean"],
        ["input.max_length=64"],
        ["input.chat=true"],
        ["input.split=test"],
        ["--language-column", "id"],
    ),
    *(["--dtype", "float32"], ["--device", "cpu"], ["--adapter", "a"], ["--reference", "b"], ["--revision", "c"]),
    *(["model.trust_remote_code=true"], ["index.token_budget=64"]),
]


@pytest.mark.parametrize("options", IGNORED, ids=lambda options: options[0])
def test_options_of_the_index_are_refused(congrad, run, options):
    before = contents(run)
    done = congrad("filter", run, *options)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"congrad: {' '.join(options)} would be ignored: {run} is a run and has its index already; "
        "leave it out, or name the data instead of the run\n"
    )
    assert contents(run) == before


REFUSED = {
    "loss of means": (["loss.name=ipo"], "build it with index.normalise=mean"),
    "share": (["--keep", "0"], "above 0"),
    "aggregator": (["consensus.aggregator=mode"], "must be one of pcgrad, mean"),
}


@pytest.mark.parametrize(("options", "part"), REFUSED.values(), ids=REFUSED)
def test_wrong_options_leave_the_run_as_it_is(congrad, run, options, part):
    before = contents(run)
    done = congrad("filter", run, *options)
    assert done.refused
    assert not done.out
    assert part in done.err
    assert contents(run) == before


def test_other_data_is_refused(congrad, run, pairs_file):
    before = contents(run)
    text = pairs_file.read_text()
    pairs_file.write_text(text.replace("Haus", "Hof"))
    done = congrad("filter", run)
    assert done.refused
    assert not done.out
    assert f"{pairs_file} has changed since {run} was made; filter it again into another output directory" in done.err
    pairs_file.unlink()
    assert "no such file or folder" in congrad("filter", run).err
    assert contents(run) == before
    pairs_file.write_text(text)
    os.utime(pairs_file, (0, 0))
    assert congrad("filter", run).code == 0


def test_an_output_with_an_index_of_its_own_is_refused(congrad, run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    before = contents(tmp_path / "other")
    done = congrad("filter", run, "-o", tmp_path / "other")
    assert done.refused
    assert f"{tmp_path / 'other'} is another run, with an index of its own" in done.err
    assert contents(tmp_path / "other") == before
    assert congrad("filter", run, "-o", f"{run}/../run").code == 0


def test_an_unfinished_or_damaged_run_is_named(congrad, run):
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").unlink()
    assert "is an unfinished run; run the command that began it again" in congrad("filter", run).err
    for damaged in ("{", "[]", '{"congrad": 1}', '{"congrad": 1, "config": {"input": {"what": 1}}}'):
        (run / "manifest.json").write_text(damaged)
        done = congrad("filter", run)
        assert done.refused, done.err
        assert str(run / "manifest.json") in done.err
    (run / "manifest.json").write_text(text)
    shard = run / "index" / "sketches-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    done = congrad("filter", run)
    assert done.refused
    assert f"{shard}: unreadable" in done.err


def test_what_is_no_run(congrad, tmp_path):
    (tmp_path / "manifest.json").write_text('{"version": 1}')  # of another tool
    done = congrad("filter", tmp_path)
    assert done.refused
    assert f"{tmp_path} is not a finished run, so a model is needed" in done.err


def test_a_run_is_one_process_s(congrad, run, pairs_file, tiny_directory):
    before = contents(run)
    with FileLock(run / ".lock"):
        for words in ((run,), (pairs_file, "-m", tiny_directory, "-o", run)):
            done = congrad("filter", *words)
            assert done.refused
            assert "PyTorch" not in done.err  # it is said before anything long
            assert f"{run}: another congrad is running there; wait until it ends, or choose another out" in done.err
    (run / ".lock").unlink(missing_ok=True)
    assert contents(run) == before
    assert congrad("filter", run, "-q").code == 0
