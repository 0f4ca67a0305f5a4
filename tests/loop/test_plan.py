"""Which stages a run has, and which changes of its configuration it can take once it has begun."""

from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.loop.config import read_config
from congrad.loop.growth import take_config
from congrad.loop.plan import layout, steps_until

MINIMAL = ("model.name=x", "prompts.source=prompts", "evaluate.pairs=held-out")


def config(*overrides):
    words = {word.partition("=")[0]: word for word in (*MINIMAL, *overrides)}  # a word replaces that of the same key
    return read_config(None, list(words.values()))


def plan(config, output=Path("out")):
    return list(layout(config, output).steps(config.rounds.count))


def finish(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.json").write_text("{}")


def paths(steps):
    return [str(step.directory) for step in steps]


def test_one_filter_has_plain_rounds():
    stages = ("generate", "judge", "pair", "filter", "train")
    assert paths(plan(config())) == [*(f"out/round-{r}/{s}" for r in (1, 2) for s in stages), "out/evaluate"]


def test_several_filters_share_what_starts_from_m0():
    steps = plan(config("filter.methods=[none, congrad]"))
    assert paths(steps)[:7] == [
        "out/round-1/generate",
        "out/round-1/judge",
        "out/round-1/pair",
        "out/congrad/round-1/filter",  # first: its index has the log-probabilities
        "out/none/round-1/filter",
        "out/congrad/round-1/train",
        "out/none/round-1/train",
    ]
    assert paths(steps)[7:9] == ["out/congrad/round-2/generate", "out/none/round-2/generate"]
    assert len(steps) == 3 + 4 + 10 + 1


def test_a_start_from_pairs_neither_generates_nor_judges_first():
    steps = plan(config("prompts.pairs=pairs", "evaluate.pairs="))
    assert [step.stage for step in steps[:3]] == ["pair", "filter", "train"]
    assert [step.stage for step in steps[3:]] == ["generate", "judge", "pair", "filter", "train"]


def test_until_takes_the_first_round_in_which_the_stage_is_open(tmp_path):
    steps = plan(config(), tmp_path)
    assert [step.title for step in steps_until(steps, "judge")] == ["round 1, generate", "round 1, judge"]
    finish(tmp_path / "round-1" / "judge")
    assert steps_until(steps, "judge")[-1].title == "round 2, judge"
    assert steps_until(steps, "evaluate") == steps
    with pytest.raises(UserError, match="--until generate: this run does not have this stage"):
        steps_until(plan(config("prompts.pairs=x", "rounds.count=1")), "generate")


def begun(tmp_path, *stages):
    """A run that has begun these stages."""
    take_config(config("filter.methods=[none, random]"), tmp_path / "run")
    for stage in stages:
        finish(tmp_path / "run" / stage)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("stages", "overrides"),
    [
        ((), ["model.name=y"]),
        (("round-1/generate",), ["judge.samples=1"]),
        (("round-1/generate", "round-1/judge"), ["pair.min_margin=1"]),
        (("round-1/pair",), ["train.beta=0.2", "selection.keep=0.1", "advice.num_folds=4"]),
        (("none/round-1/train",), ["rounds.count=3"]),
        (("none/round-1/train",), ["model.device=cuda"]),
        (("none/round-1/train",), ["filter.methods=[none, random, loss]"]),
        (("round-1/generate",), ["generate.engine.timeout=1", "generate.engine.kind=transformers"][1:]),
        (("none/round-1/train",), ["evaluate.limit=3"]),
    ],
)
def test_a_run_takes_what_spoils_nothing(tmp_path, stages, overrides):
    run = begun(tmp_path, *stages)
    wanted = config(*([] if "methods" in overrides[0] else ["filter.methods=[none, random]"]), *overrides)
    take_config(wanted, run)
    assert read_config(run / "config.yaml") == wanted


@pytest.mark.parametrize(
    ("stages", "overrides", "message"),
    [
        (("round-1/generate",), ["model.name=y"], "model.name 'x', now 'y', and holds round-1/generate"),
        (("round-1/generate",), ["generate.samples=2"], "generate.samples 4, now 2, and holds round-1/generate"),
        (("round-1/judge",), ["judge.engine={batch_size: 2}"], "judge.engine"),
        (("random/round-1/filter",), ["train.beta=0.2"], "train.beta null, now 0.2, and holds random/round-1/filter"),
        (("none/round-1/filter",), ["rounds.length_penalty=1"], "rounds.length_penalty 0.0, now 1.0"),
        (("none/round-2/generate",), ["rounds.count=1"], "rounds.count 2, now 1, and holds none/round-2/generate"),
        (("none/round-1/train",), ["filter.methods=[none]"], "filter.methods ['none', 'random'], now ['none']"),
    ],
)
def test_a_run_refuses_what_would_mix_two_configurations(tmp_path, stages, overrides, message):
    run = begun(tmp_path, *stages)
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(UserError) as raised:
        take_config(config(*([] if "methods" in overrides[0] else ["filter.methods=[none, random]"]), *overrides), run)
    assert message in str(raised.value)
    assert "restore the old setting, or choose another output directory" in str(raised.value)
    assert (run / "config.yaml").read_bytes() == before


def test_an_evaluation_that_no_longer_fits_is_kept(tmp_path):
    run = begun(tmp_path, "evaluate")
    said = take_config(config("filter.methods=[none, random]", "rounds.count=3"), run)
    assert said[0] == "rounds.count was 2, is 3 from here on"
    assert (run / "evaluate-1" / "manifest.json").is_file()
    assert not (run / "evaluate").exists()


def test_another_s_directory_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and is not a congrad run"):
        take_config(config(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex"}
