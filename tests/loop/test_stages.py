"""Each stage as a command of its own: what it takes from where, and what it says of a mistake."""

import json

import pytest


def test_stages_alone_make_the_round_that_a_run_makes(congrad, write_config, place):
    """The same settings in a run's file: the same pairs."""
    config = write_config()
    assert congrad("run", config, "-o", "run", "-q", "--until", "pair").code == 0
    for words in (
        ["generate", "prompts.jsonl", "-o", "alone/generate"],
        ["judge", "alone/generate", "-o", "alone/judge"],
        ["pair", "alone/judge", "-o", "alone/pair"],
    ):
        done = congrad(*words, "--config", config, "-q")
        assert (done.code, done.out) == (0, ""), done.err
    assert (place / "alone/pair/pairs.jsonl").read_bytes() == (place / "run/round-1/pair/pairs.jsonl").read_bytes()


def test_stages_need_no_file_where_settings_are_words(congrad, place, talker):
    short = ["generate.samples=2", "generate.max_tokens=4", "generate.temperature=1"]
    done = congrad("generate", "prompts.jsonl", "-m", talker, "-o", "answers", *short)
    assert done.code == 0, done.err
    assert "answers" in done.out, "the stage's table"
    # Whoever wrote the answers judges them.
    told = ["judge.template=judge.txt", "judge.max_tokens=3", "judge.temperature=1"]
    assert congrad("judge", "answers", "-o", "scores", *told, "-q").code == 0
    done = congrad("pair", "scores", "--generated", "answers", "-o", "pairs", "pair.method=all")
    assert done.code == 0, done.err
    done = congrad("train", "pairs", "-m", talker, "-o", "m1", "train.max_steps=1", "rounds.lora={r: 2}")
    assert done.code == 0, done.err
    assert "1 steps" in done.out
    measured = ["evaluate.pairs=held-out.jsonl", "evaluate.draws=100"]
    done = congrad("evaluate", f"M0={talker}", "after=m1/model", "-o", "table", *measured)
    assert done.code == 0, done.err
    assert json.loads((place / "table" / "evaluation.json").read_text())["models"] == ["M0", "after"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["generate", "prompts.jsonl", "-o", "x"],
            "model.name is missing; give --model, or a --config with a section model",
        ),
        (["generate", "none.jsonl", "-m", "MODEL", "-o", "x"], "none.jsonl: no such file or folder"),
        (["generate", "prompts.jsonl", "-m", "MODEL", "-o", "x", "generate.sample=2"], "did you mean samples?"),
        (["generate", "prompts.jsonl", "-m", "MODEL", "-o", "x", "samples=2"], "samples=2 is unknown"),
        (["judge", "none", "-o", "x"], "none does not hold a finished stage generate"),
        (["pair", "none/judge", "-o", "x"], "none/generate does not hold a finished stage generate"),
        (["train", "held-out.jsonl", "-o", "x"], "model.name is missing"),
        (["train", "train.beta=1", "-m", "MODEL", "-o", "x"], "no pairs to train on; name a file"),
        (["train", ".", "-m", "MODEL", "-o", "x"], ".: holds neither kept.jsonl nor pairs.jsonl"),
        (["train", "none.jsonl", "-m", "MODEL", "-o", "x"], "none.jsonl: no such file"),
        (["evaluate", "MODEL", "-o", "x"], "evaluate measures nothing; set its pairs"),
        (["evaluate", "evaluate.pairs=held-out.jsonl", "-o", "x"], "no model to evaluate; write NAME=MODEL"),
        (["evaluate", "a=MODEL", "a=MODEL", "-o", "x"], "two models are named 'a'"),
        (["generate", "prompts.jsonl", "-c", "none.yaml", "-o", "x"], "none.yaml: cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(congrad, place, talker, words, message):
    done = congrad(*(word.replace("MODEL", str(talker)) for word in words))
    assert done.refused, done.err
    assert not done.out
    assert message in done.err
    assert not (place / "x").exists()
