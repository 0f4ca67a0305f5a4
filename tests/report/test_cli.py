"""`congrad report`, and the report at the end of `congrad filter`."""

import json
import shlex
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from congrad.cli import app
from congrad.errors import UserError
from congrad.report.figures import write_figures
from congrad.report.summary import refilter_command
from congrad.settings.consensus import Consensus, Loss


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def filtered(tiny_directory, make_rows, tmp_path, monkeypatch):
    """The options that filter 30 pairs into tmp_path / run."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in make_rows(30)), encoding="utf-8")
    return ("filter", source, "-m", tiny_directory, "-o", tmp_path / "run")


def test_filter_ends_with_its_report(filtered, tmp_path):
    done = call(*filtered)
    assert done.exit_code == 0, done.stderr
    path = tmp_path / "run" / "report.html"
    assert done.stderr.splitlines()[-1] == f"report: {path}"
    assert "15 of 30 pairs stay" in path.read_text()

    done = call("filter", tmp_path / "run", "--keep", 0.2)
    assert done.stderr.splitlines()[-1] == f"report: {path}"
    assert "6 of 30 pairs stay: the best-aligned 20% of every language" in path.read_text()

    done = call("filter", tmp_path / "run", "report.write=false", "--quiet")
    assert done.exit_code == 0
    assert not path.exists(), "it would speak of another selection"
    assert "report" not in done.stderr
    assert call("filter", tmp_path / "run", "--quiet").exit_code == 0
    assert "15 of 30 pairs stay" in path.read_text()

    done = call("report", tmp_path / "run", "--output", tmp_path / "x.html")
    assert (done.exit_code, done.stdout) == (0, f"report: {tmp_path / 'x.html'}\n")
    assert (tmp_path / "x.html").read_text() == path.read_text(), "the same run has the same report"


@pytest.mark.parametrize("error", [ZeroDivisionError("oh"), OSError("no room")])
def test_a_run_is_whole_without_its_report(filtered, tmp_path, monkeypatch, error):
    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("congrad.report.write.filter_page", fail)
        done = call(*filtered)
    assert done.exit_code == 0
    assert f"warning: the report was not written ({error}); the run itself is complete" in done.stderr
    assert not (tmp_path / "run" / "report.html").exists()
    assert call("report", tmp_path / "run").exit_code == 0


def test_the_page_s_command_filters_as_the_run_was_filtered(filtered, tmp_path):
    assert call(*filtered, "report.write=false").exit_code == 0
    options = "loss.name=lp-dpo loss.length_penalty=0.01 loss.beta=0.3 consensus.accumulate=ema consensus.ema_batch=4"
    options += " consensus.cross_fit=3 consensus.seed=7"
    assert call("filter", tmp_path / "run", *options.split(), "report.write=false").exit_code == 0
    before = json.loads((tmp_path / "run" / "manifest.json").read_text())["config"]
    command = refilter_command(tmp_path / "run", {"config": before})
    assert "consensus.ema_decay" in command
    assert call(*shlex.split(command)[1:], "report.write=false", "--keep", 0.5).exit_code == 0
    after = json.loads((tmp_path / "run" / "manifest.json").read_text())["config"]
    assert after == before
    plain = {"config": {"loss": asdict(Loss()), "consensus": asdict(Consensus())}}
    assert refilter_command(tmp_path / "a b", plain) == f"congrad filter '{tmp_path}/a b'"


def test_mistakes_are_told(tmp_path, run_directory):
    done = call("report", tmp_path / "nothing")
    assert isinstance(done.exception, UserError)
    assert "is not a run of congrad" in str(done.exception)
    directory = run_directory(tmp_path / "run", each=3)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        write_figures(directory, tmp_path / "file" / "x")
