"""A run from its configuration to its table: what it leaves, how it goes on, what it refuses."""

import json
import signal
from pathlib import Path

import pytest
import yaml

from congrad.loop.config import read_config
from congrad.loop.growth import take_config

PAUSED = Path(__file__).with_name("paused.py")
METHODS = ["none", "random", "reward-margin", "loss", "congrad"]
ROUND = {
    "generate": ("responses.jsonl",),
    "judge": ("judgements.jsonl", "scores.jsonl", "hygiene.json"),
    "pair": ("pairs.jsonl", "language.json"),
    "filter": ("kept.jsonl", "dropped.jsonl", "scores.parquet"),
    "train": ("model/model.safetensors",),
}


def results(output: Path, rounds: int = 2) -> dict[str, bytes]:
    """The bytes of all that a run of one filter ends in."""
    names = [f"round-{r}/{stage}/{name}" for r in range(1, rounds + 1) for stage in ROUND for name in ROUND[stage]]
    return {name: (output / name).read_bytes() for name in [*names, "evaluate/evaluation.json"]}


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_rounds_end_in_a_table(congrad, write_config, place):
    done = congrad("run", write_config(), "-o", "out")
    assert done.code == 0, done.err
    assert "ConGrad, round 1" in done.out
    assert "ConGrad, round 2" in done.out
    assert done.out.count("parsed") == 3, "the hygiene table after each round and at the end"
    assert "other language" in done.out
    assert len(results(place / "out")) == 2 * 10 + 1
    assert done.err.splitlines()[-1] == "report: out/report.html"
    assert "ConGrad, round 2" in (place / "out" / "report.html").read_text(encoding="utf-8")

    # The next round answers with the model that the last one trained.
    first, second = (rows(place / "out" / f"round-{r}" / "generate" / "responses.jsonl") for r in (1, 2))
    assert [row["prompt_key"] for row in first[:1]] == [row["prompt_key"] for row in second[:1]]
    assert [row["response"] for row in first] != [row["response"] for row in second]
    manifest = json.loads((place / "out" / "round-2" / "generate" / "manifest.json").read_text())
    assert manifest["model"] == "out/round-1/train/model"
    kept = rows(place / "out" / "round-2" / "filter" / "kept.jsonl")
    assert 0 < len(kept) < len(rows(place / "out" / "round-2" / "pair" / "pairs.jsonl"))

    # What was resolved is a configuration, and the same command has nothing left to do.
    before = results(place / "out")
    assert yaml.safe_load((place / "out" / "config.yaml").read_text())["generate"]["top_p"] == 0.95
    again = congrad("run", "out/config.yaml", "-o", place / "out")
    assert again.code == 0, again.err
    assert "ConGrad, round 2" in again.out
    assert again.out.count("parsed") == 1, "the last round's hygiene stands beside the evaluation"
    assert "kept" not in again.out, "stages that were finished say nothing"
    assert results(place / "out") == before


def test_until_stops_after_the_stage_of_the_first_open_round(congrad, write_config, place):
    config = write_config()

    def stages() -> list[str]:
        return sorted(str(path.parent.relative_to(place / "out")) for path in (place / "out").rglob("manifest.json"))

    assert congrad("run", config, "-o", "out", "--until", "judge", "-q").code == 0
    assert stages() == ["round-1/generate", "round-1/judge"]
    assert congrad("run", config, "-o", "out", "--until", "generate", "-q").code == 0
    first = [f"round-1/{stage}" for stage in sorted(ROUND)]
    assert stages() == [*first, "round-2/generate"], "generate is finished in round 1: it is the second's turn"
    assert congrad("run", config, "-o", "out", "--until", "pair", "-q").code == 0
    assert stages() == [*first, "round-2/generate", "round-2/judge", "round-2/pair"]


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_in_the_same_bytes(congrad, start, write_config, place, monkeypatch):
    monkeypatch.setenv("CONGRAD_BFLOAT16", "slow")  # what is faster is measured, and may differ from run to run
    config = write_config()
    stops = [(stage, 1) for stage in (*ROUND, "evaluate")]
    stops[-1] = ("evaluate", 2)
    stops.insert(-1, ("judge", 2))
    for stage, number in stops:
        process = start(PAUSED, f"{stage} {number}", "run", config, "-o", "killed")
        line = next((line for line in process.stdout if line.startswith(f"{stage} ")), None)
        assert line is not None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    done = congrad("run", config, "-o", "killed")
    assert done.code == 0, done.err
    assert congrad("run", config, "-o", "whole", "-q").code == 0
    assert results(place / "killed") == results(place / "whole")


def test_every_filter_trains_a_model_of_its_own(congrad, write_config, save, make_rows, place):
    save("pairs.jsonl", make_rows(24))
    config = write_config(
        prompts={"source": None, "pairs": "pairs.jsonl"}, filter={"methods": METHODS}, rounds={"count": 1}
    )
    done = congrad("run", config, "-o", "out")
    assert done.code == 0, done.err
    report = json.loads((place / "out" / "evaluate" / "evaluation.json").read_text())
    titles = ["unfiltered", "random", "reward-margin", "loss", "ConGrad"]
    assert report["models"] == ["M0", *(f"{title}, round 1" for title in titles)]
    kept = {method: rows(place / "out" / method / "round-1" / "filter" / "kept.jsonl") for method in METHODS}
    assert len(kept["none"]) == 24
    assert {len(own) for method, own in kept.items() if method != "none"} == {12}
    weights = {(place / "out" / m / "round-1" / "train" / "model" / "model.safetensors").read_bytes() for m in METHODS}
    assert len(weights) == len(METHODS)
    manifest = json.loads((place / "out" / "loss" / "round-1" / "filter" / "manifest.json").read_text())
    assert manifest["index_used"], "congrad's index has the log-probabilities"


def test_arms_share_the_first_round_s_pairs_and_part_after(congrad, write_config, place):
    config = write_config(filter={"methods": ["congrad", "none"]}, evaluate={"pairs": None})
    assert congrad("run", config, "-o", "out", "-q").code == 0
    found = {str(path.parent.relative_to(place / "out")) for path in (place / "out").rglob("manifest.json")}
    shared = {f"round-1/{stage}" for stage in ("generate", "judge", "pair")}
    own = {f"{arm}/round-1/{stage}" for arm in ("congrad", "none") for stage in ("filter", "train")}
    own |= {f"{arm}/round-2/{stage}" for arm in ("congrad", "none") for stage in ROUND}
    assert found == shared | own


def test_rounds_accumulate_and_refer_to_the_first_model_where_the_config_says_so(congrad, write_config, place):
    config = write_config(
        rounds={"data": "accumulated", "reference": "initial", "length_penalty": 0.01}, evaluate={"pairs": None}
    )
    done = congrad("run", config, "-o", "out", "-q")
    assert done.code == 0, done.err
    for number in (1, 2):
        manifest = json.loads((place / "out" / f"round-{number}" / "filter" / "manifest.json").read_text())
        assert manifest["config"]["loss"]["name"] == "lp-dpo"
        assert manifest["config"]["loss"]["length_penalty"] == 0.01
        assert (manifest["config"]["model"]["reference"] is not None) == (number == 2)
    kept = [len(rows(place / "out" / f"round-{number}" / "filter" / "kept.jsonl")) for number in (1, 2)]
    trained = json.loads((place / "out" / "round-2" / "train" / "manifest.json").read_text())
    assert trained["pairs"] == sum(kept)


def test_a_dry_run_loads_no_model_and_leaves_nothing(congrad, write_config, place, monkeypatch):
    def loaded(*arguments, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("congrad.models.load.load_model", loaded)
    done = congrad("run", write_config(pair={"method": "all"}), "-o", "out", "--dry-run")
    assert done.code == 0, done.err
    for part in ("36 answers to 12 prompts", "72 judgements", "36 pairs", "18 of 36 pairs kept", "a table of 3 models"):
        assert part in done.out
    assert not (place / "out").exists()


ENDPOINT = {"kind": "openai", "url": "https://x.invalid", "api_key_env": "X_API_KEY"}


@pytest.mark.parametrize("dry", [True, False])
def test_which_key_goes_where_is_said_before_it_does(congrad, write_config, place, monkeypatch, dry):
    monkeypatch.setenv("X_API_KEY", "sk-secret")
    engine = {**ENDPOINT, "retries": 0}
    config = write_config(generate={"engine": engine}, judge={"engine": engine})
    done = congrad("run", config, "-o", "out", *(["--dry-run"] if dry else []))
    assert done.code == (0 if dry else 2), done.err
    assert done.err.count("the key in X_API_KEY is sent to x.invalid") == 1
    assert "sk-secret" not in done.err + done.out
    hidden = congrad("run", config, "-o", "other", "--dry-run", "judge.engine.url=http://x.invalid")
    assert hidden.refused
    assert "judge.engine.url=http://x.invalid: would carry the key in X_API_KEY over the network in clear" in hidden.err


def test_a_run_of_an_earlier_version_goes_on_without_the_key_that_it_names_by_default(congrad, write_config, place):
    config = write_config(rounds={"count": 1})
    assert congrad("run", config, "-o", "out").code == 0
    copy = place / "out" / "config.yaml"
    old = copy.read_text().replace("api_key_env: null", "api_key_env: OPENAI_API_KEY")
    old = "".join(line for line in old.splitlines(keepends=True) if "max_reply_bytes" not in line)
    copy.write_text(old)
    done = congrad("run", config, "-o", "out")
    assert done.code == 0, done.err
    assert "from here on" not in done.err
    assert copy.read_text() == old


def test_how_an_evaluation_is_asked_changes_nothing_of_it(write_config, place):
    engine = {"kind": "openai", "url": "http://gpu-1:8000"}
    old = read_config(write_config(evaluate={"engine": {**engine, "api_key_env": "OPENAI_API_KEY"}}))
    take_config(old, place / "out")
    (place / "out" / "evaluate").mkdir()
    new = read_config(write_config(evaluate={"engine": engine}))
    said = "evaluate.engine.api_key_env was 'OPENAI_API_KEY', is null from here on"
    assert take_config(new, place / "out") == [said]
    assert (place / "out" / "evaluate").is_dir()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rounds": {"count": 2}, "prompts": {"source": None, "pairs": "held-out.jsonl"}},
            "rounds.count 2: must be 1 without prompts.source",
        ),
        ({"judge": {"kind": "implicit-reward"}}, "judge"),
        ({"train": {"loss_type": "nca_pair"}}, "train.loss_type nca_pair: is not one that the filter scores"),
        ({"train": {"ld_alpha": 0.5}}, "train.ld_alpha is not scored by the filter"),
        ({"train": {"eval_strategy": "epoch"}, "evaluate": {"pairs": None}}, "train.eval_strategy has no pairs"),
        ({"model": {"reference": "x"}}, "model.reference is not read by a loop"),
        ({"model": {"dtype": "float8"}}, "model.dtype 'float8': must be one of auto"),
        (
            {"generate": {"engine": {"kind": "openai", "url": "http://localhost:9", "model": "m"}}},
            "generate.engine.model m: would answer in every round",
        ),
        ({"prompts": {"source": "none.jsonl"}}, "none.jsonl: no such file or folder"),
        ({"model": {"name": "no/such"}}, "no such directory, and the hub does not have it"),
        ({"judge": {"template": "none.txt"}}, "judge.template none.txt: cannot be read"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(congrad, write_config, place, changes, message):
    done = congrad("run", write_config(**changes), "-o", "out", "-q")
    assert done.refused, done.err
    assert not done.out
    assert message in done.err


def test_a_round_without_pairs_stops_and_goes_on_with_mended_settings(congrad, write_config, place):
    config = write_config(evaluate={"pairs": None}, rounds={"count": 1})
    stopped = congrad("run", config, "-o", "out", "-q", "pair.min_margin=5")
    assert stopped.code == 2
    assert stopped.err.startswith("congrad: round 1, pair: no pairs are left: ")
    assert "lower pair.min_margin" in stopped.err
    assert stopped.refused
    done = congrad("run", config, "-o", "out", "-q", "pair.min_margin=0.5")
    assert done.code == 0, done.err


def test_a_judge_that_never_parses_stops_with_what_it_said(congrad, write_config, place, tiny_directory):
    config = write_config(judge={"model": str(tiny_directory), "seed": 1})
    stopped = congrad("run", config, "-o", "out", "-q")
    assert stopped.code == 2
    assert stopped.err.startswith("congrad: round 1, judge: none of the ")
    assert "then remove out/round-1/judge and run again" in stopped.err
    assert (place / "out" / "round-1" / "generate" / "manifest.json").exists()


def test_an_endpoint_that_is_not_there_stops_with_how_to_go_on(congrad, write_config, place):
    engine = {"kind": "openai", "url": "http://127.0.0.1:9", "retries": 0, "timeout": 1.0}
    stopped = congrad("run", write_config(generate={"engine": engine}), "-o", "out", "-q")
    assert stopped.code == 2
    assert stopped.err.startswith("congrad: round 1, generate: ")
    assert "127.0.0.1:9" in stopped.err
    assert stopped.refused
    whole = congrad("run", write_config(), "-o", "out", "-q", "--until", "generate")
    assert whole.code == 0, whole.err


def test_a_run_has_one_process_at_a_time(congrad, write_config, place):
    from filelock import FileLock

    (place / "out").mkdir()
    with FileLock(place / "out" / ".lock"):
        done = congrad("run", write_config(), "-o", "out", "-q")
    assert done.code == 2
    assert (
        done.err
        == "congrad: out: another congrad is running there; wait until it ends, or choose another output directory\n"
    )


@pytest.mark.bfloat16
@pytest.mark.parametrize(("began", "now", "dtype"), [("slow", "fast", "float32"), ("fast", "slow", "bfloat16")])
def test_all_stages_and_later_calls_compute_in_what_was_chosen_first(
    congrad, write_config, place, monkeypatch, began, now, dtype
):
    monkeypatch.setenv("CONGRAD_BFLOAT16", began)
    config = write_config(rounds={"count": 1})
    first = congrad("run", config, "-o", "out", "--until", "generate")
    assert first.code == 0, first.err
    assert f"computing in {dtype}: CONGRAD_BFLOAT16 is {began}" in first.err
    monkeypatch.setenv("CONGRAD_BFLOAT16", now)
    rest = congrad("run", config, "-o", "out")
    assert rest.code == 0, rest.err
    assert rest.err.count("computing in") == 1
    assert f"computing in {dtype}, as this run began" in rest.err
    assert yaml.safe_load((place / "out" / "config.yaml").read_text())["model"]["dtype"] == dtype
    for stage in ("generate", "judge"):
        assert json.loads((place / "out" / "round-1" / stage / "stage.json").read_text())["settings"]["dtype"] == dtype
    plan = json.loads((place / "out" / "round-1" / "filter" / "index" / "plan.json").read_text())
    assert plan["dtype"] == dtype
    trained = json.loads((place / "out" / "round-1" / "train" / "stage.json").read_text())
    assert trained["settings"]["model"]["dtype"] == dtype
    measured = json.loads((place / "out" / "evaluate" / "stage.json").read_text())["settings"]["models"]
    assert {model["dtype"] for model in measured.values()} == {dtype}


def test_a_loop_that_began_when_auto_meant_the_checkpoint_is_refused(congrad, write_config, place):
    assert congrad("run", write_config(), "-o", "out", "-q", "--until", "generate").code == 0
    stored = place / "out" / "config.yaml"
    stored.write_text(stored.read_text().replace("dtype: float32", "dtype: auto"))
    done = congrad("run", write_config(), "-o", "out", "-q")
    assert done.refused, done.err
    assert "out was begun by an older congrad, which read model.dtype auto as the checkpoint's" in done.err


def test_a_run_of_an_older_version_is_refused_with_the_way_on(congrad, write_config, place):
    """Its configuration has keys that have moved since; whoever edits the copy would go on with other settings."""
    assert congrad("run", write_config(), "-o", "out", "-q", "--until", "generate").code == 0
    stored = place / "out" / "config.yaml"
    stored.write_text(stored.read_text().replace("filter:\n", "filter:\n  keep: 0.5\n"))
    done = congrad("run", write_config(), "-o", "out", "-q")
    assert done.refused, done.err
    assert "out: was begun by another version of congrad (out/config.yaml" in done.err
    assert "filter.keep 0.5" not in done.err
    assert done.err.endswith("choose another output directory\n")


@pytest.mark.slow
def test_two_processes_make_the_pairs_of_one(congrad, start, write_config, place):
    """The first generates, judges and pairs; filter and training are of both."""
    config = write_config(rounds={"count": 1})
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "congrad"]
    process = start(*launcher, "run", config, "-o", "two")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert out.count("round 1, train") == 1, "one process speaks"
    assert congrad("run", config, "-o", "one", "-q", "--until", "filter").code == 0
    for name in ("pair/pairs.jsonl", "filter/kept.jsonl"):
        assert (place / "two" / "round-1" / name).read_bytes() == (place / "one" / "round-1" / name).read_bytes()
    trained = json.loads((place / "two" / "round-1" / "train" / "manifest.json").read_text())
    assert trained["settings"]["processes"] == 2


def test_a_share_that_is_chosen_is_said_and_chosen_again_after_a_kill(congrad, write_config, save, make_rows, place):
    save("pairs.jsonl", make_rows(60))
    config = write_config(
        prompts={"source": None, "pairs": "pairs.jsonl"},
        selection={"keep": "auto"},
        advice={"num_folds": 4, "num_resamples": 20},
        train={"max_steps": 3},
        rounds={"count": 1},
        evaluate={"pairs": None},
    )
    done = congrad("run", config, "-o", "out", "--until", "filter")
    assert done.code == 0, done.err
    filtered = place / "out" / "round-1" / "filter"
    manifest, advice = (json.loads((filtered / name).read_text()) for name in ("manifest.json", "advice.json"))
    said = f"{manifest['auto']['share']:.0%} of every language, chosen by selection.keep auto"
    assert f"kept {manifest['kept']} of 60 pairs ({said})" in done.out
    assert advice["verdict"]["sentence"] in done.out
    assert (advice["steps"], advice["batch_size"]) == (3, 2), "those of the training"
    assert advice["verdict"]["basis"].startswith("Predicted, to first order, at the start of training, for 3 steps in")
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert said in page

    for path in filtered.iterdir():  # a kill after the pass and before the results
        if path.is_file():
            path.unlink()
    assert congrad("run", config, "-o", "out", "-q").code == 0
    again = json.loads((filtered / "manifest.json").read_text())
    assert (again["auto"], again["kept"]) == (manifest["auto"], manifest["kept"])
    assert json.loads((filtered / "advice.json").read_text()) == advice
    trained = json.loads((place / "out" / "round-1" / "train" / "manifest.json").read_text())
    assert (trained["pairs"], trained["steps"]) == (manifest["kept"], 3)


def test_other_ways_of_pairing_are_compared_and_the_configured_one_is_trained(congrad, write_config, save, place):
    texts = ["Zähle", "Count", "Name a number", "How many", "When", "Wie viele", "Nenne eine Zahl", "Hesabu"]
    asked = [{"language": name, "prompt": f"{text} {n}!"} for name in ("de", "en") for text in texts for n in range(2)]
    save("prompts.jsonl", asked)
    common = {"judge": {"samples": 3}, "advice": {"num_folds": 4, "num_resamples": 20}}
    common |= {"rounds": {"count": 1}, "evaluate": {"pairs": None}}
    config = write_config(filter={"pairings": ["all"]}, **common)
    dry = congrad("run", config, "-o", "out", "--dry-run")
    assert "64 more to compare ways of pairing" in " ".join(dry.out.split()), dry.out
    done = congrad("run", config, "-o", "out")
    assert done.code == 0, done.err
    first = place / "out" / "round-1"
    own, every = (rows(first / name / "pairs.jsonl") for name in ("pair", "pairings/all"))
    further = rows(first / "pairings" / "pairs.jsonl")
    assert len(own) + len(further) == len(every), "best against worst is one of all"
    found = json.loads((first / "pairings" / "pairings.json").read_text())
    assert found["ways"] == ["best-worst", "all"]
    assert found["num_pairs"] == [len(own), len(every)]
    assert found["num_prompts"] >= 16
    assert "budget, on all" in done.out
    kept = json.loads((first / "filter" / "manifest.json").read_text())
    assert kept["rows"] == len(own)
    before = (first / "pairings" / "pairings.json").read_bytes()
    assert congrad("run", config, "-o", "out", "-q").code == 0
    assert (first / "pairings" / "pairings.json").read_bytes() == before

    # The other way round no gradient is missing, and the figures are those of one index instead of two.
    turned = write_config(filter={"pairings": ["best-worst"]}, pair={"method": "all"}, **common)
    assert congrad("run", turned, "-o", "turned", "--until", "filter", "-q").code == 0
    compared = place / "turned" / "round-1" / "pairings"
    assert not (compared / "index").exists()
    other = json.loads((compared / "pairings.json").read_text())
    for by, gains in found["gains"].items():
        for way, on in ((0, 0), (0, 1), (1, 0), (1, 1)):
            expected = other["gains"][by][1 - way][1 - on]["mean"]["value"]
            assert gains[way][on]["mean"]["value"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filter": {"pairings": ["best-worst"]}}, "filter.pairings names best-worst, which is pair.method"),
        ({"filter": {"pairings": ["all"], "methods": ["none"]}}, "filter.pairings needs gradients"),
        ({"filter": {"pairings": ["all", "all"]}}, "filter.pairings names all twice"),
    ],
)
def test_ways_of_pairing_that_cannot_be_compared_are_refused(congrad, write_config, changes, message):
    done = congrad("run", write_config(**changes), "-o", "out")
    assert done.code == 2
    assert message in done.err
