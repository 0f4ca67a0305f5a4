"""The configuration: what is read, written back, overridden, and refused in one line."""

from dataclasses import fields

import pytest

from congrad.errors import UserError
from congrad.loop.config import as_yaml, read_config, resolved
from congrad.settings.read import is_override
from congrad.settings.tree import RunConfig

MINIMAL = "model: {name: x}\nprompts: {source: prompts/}\n"


@pytest.fixture
def read(tmp_path):
    """`read(text, *overrides)`."""

    def call(text, *overrides):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return read_config(path, overrides)

    return call


def test_the_resolved_configuration_reads_back_as_the_same(read):
    config = read(
        MINIMAL
        + "judge: {engine: {kind: openai, url: 'http://localhost:1'}, temperature: 1e-1}\n"
        + "pair: {language: off}\n"
        + "filter: {methods: [congrad, random]}\nselection: {keep: 0.25}\nconsensus: {accumulate: ema}\n"
        + "train: {learning_rate: 1e-6, loss_type: [sigmoid, sft]}\n"
        + "rounds: {lora: {r: 4, target_modules: [q_proj]}}\n"
        + "evaluate:\n  tasks: [{name: t, path: x.jsonl, layout: mgsm}]\n  win_rate: {prompts: {source: y}}\n"
    )
    assert config.pair.language == "off"
    assert config.judge.temperature == 0.1
    assert config.consensus.ema_decay == 0.9
    assert config.rounds.lora is not None
    assert config.rounds.lora.target_modules == ("q_proj",)
    assert read(as_yaml(config)) == config
    assert set(resolved(config)) == {each.name for each in fields(RunConfig)}


def test_an_override_is_yaml_and_has_the_last_word(read):
    config = read(
        MINIMAL + "generate: {temperature: 0.2}\n",
        "generate.temperature=1e-1",
        "generate.engine.batch_size=3",
        "filter.methods=[none, random]",
        "train.report_to=none",
        "prompts.source=a=b",
        "rounds.lora={r: 2}",
        "generate.system=",
    )
    assert config.generate.temperature == 0.1
    assert config.generate.engine.batch_size == 3
    assert config.filter.methods == ("none", "random")
    assert config.train == {"report_to": "none"}
    assert config.prompts.source == "a=b"
    assert config.rounds.lora is not None
    assert config.rounds.lora.r == 2
    assert config.generate.system is None


def test_what_is_left_empty_has_its_defaults(read):
    assert read(MINIMAL + "generate:\ntrain:\nevaluate: {}\n") == read(MINIMAL)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL + "generat: {}\n", [], "run.yaml:3: generat is unknown; did you mean generate?"),
        (MINIMAL + "generate:\n  temprature: 1\n", [], "run.yaml:4: generate.temprature is unknown; did you mean temp"),
        (
            MINIMAL + "judge: {engine: {knd: openai}}\n",
            [],
            "run.yaml:3: judge.engine.knd is unknown; did you",
        ),
        (MINIMAL + "generate: {engine: {kind: openai}}\n", [], "run.yaml:3: generate.engine.url is missing"),
        (
            MINIMAL + "filter: {methods: [none, congrad]}\nselection: {min_score: 0}\n",
            [],
            "run.yaml:4: selection.min_score is for the scores of",
        ),
        (
            MINIMAL + "train: {learning_rat: 1}\n",
            [],
            "run.yaml:3: train.learning_rat is not a field of TRL's",
        ),
        (MINIMAL + "train: {output_dir: x}\n", [], "run.yaml:3: train.output_dir cannot be set here"),
        (MINIMAL + "evaluate: {seen: [de], unseen: [de]}\n", [], "run.yaml:3: evaluate.unseen names 'de'"),
        ("model: {name: x}\n", [], "run.yaml: prompts.source is missing"),
        ("model: x\nprompts: {source: y}\n", [], "run.yaml:1: model 'x': must be a mapping of keys"),
        ("model: {}\nprompts: {source: y}\n", [], "run.yaml:1: model.name is missing; give it a value"),
        (MINIMAL + "model: {name: y}\n", [], "run.yaml:3: model is given twice, first in line 1; keep one"),
        (MINIMAL, ["generate.temprature=1"], "generate.temprature=1 is unknown; did you mean temperature?"),
        (MINIMAL, ["generate.temperature=hot"], "generate.temperature=hot: must be a number, 0 or more"),
        (MINIMAL, ["generate.temperature"], "'generate.temperature' is not KEY=VALUE; write"),
        (MINIMAL, ["generate..x=1"], "'generate..x=1' is not KEY=VALUE; write"),
        (MINIMAL, ["model.name.x=1"], "'model.name.x=1': model.name is text and has no keys; set the whole of it"),
        (MINIMAL, ["generate.engine={kind: openai"], "generate.engine={kind: openai: not YAML"),
        (MINIMAL, ["loss.beta=1"], "loss.beta=1 is not read by a loop, which takes train.beta; set that instead"),
        (MINIMAL, ["advice.epochs=2"], "advice.epochs=2 is not read by a loop, which takes train.num_train_epochs;"),
        (MINIMAL, ["advice.steps=2"], "advice.steps=2 is not read by a loop, which takes train.max_steps; set that"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_its_mend(read, text, overrides, message):
    with pytest.raises(UserError) as raised:
        read(text, *overrides)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_word_is_known_by_its_section():
    assert is_override("generate.engine.url=http://x")
    assert not is_override("M1=runs/x/model")
    assert not is_override("models.x=runs/x/model")
