"""One run from the command line, from a YAML file and from Python: the same scores, byte for byte."""

from pathlib import Path

import pytest
import yaml

import congrad
from congrad.filtering.finished import stored_config

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo" / "pairs"


def scores(directory: Path) -> tuple[bytes, bytes]:
    return (directory / "scores.parquet").read_bytes(), (directory / "kept.jsonl").read_bytes()


@pytest.mark.parametrize("model", ["tiny", pytest.param("smollm2-135m", marks=pytest.mark.slow)])
def test_words_a_file_and_python_give_the_same_scores(request, tmp_path, tiny_directory, model):
    call = request.getfixturevalue("congrad")
    name = str(tiny_directory) if model == "tiny" else model
    settings = {
        "input": {"source": str(DEMO), "limit": 13},
        "model": {"name": name, "dtype": "float32"},
        "index": {"projection_size": 64},
        "consensus": {"cross_fit": 0},
        "report": {"write": False},
    }
    words = ["index.projection_size=64", "consensus.cross_fit=0", "report.write=false"]
    flags = ["--model", name, "--limit", 13, "--dtype", "float32", "-q"]
    assert call("filter", DEMO, *flags, *words, "--output", tmp_path / "words").code == 0
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    assert call("filter", "--config", tmp_path / "run.yaml", "-q", "--output", tmp_path / "file").code == 0
    config = congrad.FilterConfig(
        congrad.Input(DEMO, limit=13),
        congrad.Model(name, dtype="float32"),
        index=congrad.PassSettings(projection_size=64),
        consensus=congrad.Consensus(cross_fit=0),
    )
    congrad.filter_preferences(config, tmp_path / "python")
    assert scores(tmp_path / "words") == scores(tmp_path / "file") == scores(tmp_path / "python")


def test_the_filter_reads_the_file_that_the_loop_reads(request, tmp_path, tiny_directory, pairs_file):
    """Loss and length are those of its training, as in a round; a key of the filter's own has the last word."""
    call = request.getfixturevalue("congrad")
    loop = {
        "model": {"name": str(tiny_directory), "dtype": "float32"},
        "prompts": {"source": "prompts/"},
        "train": {"beta": 0.3, "max_length": 64, "loss_type": "hinge"},
        "index": {"projection_size": 8},
        "selection": {"keep": 0.25},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(loop))
    command = ("filter", pairs_file, "--config", tmp_path / "run.yaml", "-q", "report.write=false")
    assert call(*command, "--output", tmp_path / "run").code == 0
    stored = stored_config(tmp_path / "run")[2]["config"]
    assert (stored["loss"]["name"], stored["loss"]["beta"]) == ("hinge", 0.3)
    assert stored["input"]["max_length"] == 64
    assert stored["selection"]["keep"] == 0.25
    assert call(*command, "loss.name=dpo", "--output", tmp_path / "own").code == 0
    assert stored_config(tmp_path / "own")[2]["config"]["loss"]["name"] == "dpo"
