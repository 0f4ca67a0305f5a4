"""The configuration: what is read, written back, overridden, and refused in one line."""

from dataclasses import fields, is_dataclass

import pytest

from congrad.errors import UserError
from congrad.loop.config import RunConfig, as_yaml, is_override, read_config, resolved

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
        + "filter: {methods: [congrad, random], keep: 0.25, accumulate: ema}\n"
        + "train: {learning_rate: 1e-6, loss_type: [sigmoid, sft]}\n"
        + "rounds: {lora: {r: 4, target_modules: [q_proj]}}\n"
        + "evaluate:\n  tasks: [{name: t, path: x.jsonl, layout: mgsm}]\n  win_rate: {prompts: {source: y}}\n"
    )
    assert config.pair.language == "off"
    assert config.judge.temperature == 0.1
    assert config.filter.ema_decay == 0.9
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
            "run.yaml:3: judge.engine.knd is unknown; did you mean kind?",
        ),
        (
            MINIMAL + "generate: {samples: many}\n",
            [],
            "run.yaml:3: generate.samples is 'many'; it must be a whole number",
        ),
        (MINIMAL + "generate: {samples: 0}\n", [], "run.yaml:3: generate.samples 0: must be 1 or more"),
        (MINIMAL + "generate: {engine: {kind: openai}}\n", [], "run.yaml:3: generate.engine: url is missing"),
        (
            MINIMAL + "pair: {method: best}\n",
            [],
            "run.yaml:3: pair.method is 'best'; it must be one of best-worst, all",
        ),
        (MINIMAL + "pair: {language: no}\n", [], "run.yaml:3: pair.language is 'no'; it must be one of off, penalise"),
        (MINIMAL + "filter: {methods: congrad}\n", [], "run.yaml:3: filter.methods is 'congrad'; it must be a list"),
        (
            MINIMAL + "filter: {methods: [congrd]}\n",
            [],
            "run.yaml:3: filter: unknown filter method 'congrd', did you mean",
        ),
        (MINIMAL + "filter: {keep: 2}\n", [], "run.yaml:3: filter: the share to keep is 2.0; it must be above 0"),
        (MINIMAL + "filter: {projection_size: 0}\n", [], "run.yaml:3: filter.projection_size 0: must be 1 or more"),
        (
            MINIMAL + "filter: {methods: [none, congrad], min_score: 0}\n",
            [],
            "run.yaml:3: filter.min_score is a score of",
        ),
        (
            MINIMAL + "train: {learning_rat: 1}\n",
            [],
            "run.yaml:3: train.learning_rat is no field of TRL's DPOConfig; did y",
        ),
        (MINIMAL + "train: {output_dir: x}\n", [], "run.yaml:3: train.output_dir is not yours to set"),
        (MINIMAL + "rounds: {count: 0}\n", [], "run.yaml:3: rounds.count 0: must be 1 or more"),
        (MINIMAL + "rounds: {lora: {r: 0}}\n", [], "run.yaml:3: rounds.lora.r 0: must be 1 or more"),
        (
            MINIMAL + "rounds: {reference: first}\n",
            [],
            "run.yaml:3: rounds.reference is 'first'; it must be previous or in",
        ),
        (MINIMAL + "evaluate: {seen: [de], unseen: [de]}\n", [], "run.yaml:3: evaluate.unseen names 'de'"),
        ("model: {name: x}\n", [], "run.yaml: prompts is missing"),
        ("model: x\nprompts: {source: y}\n", [], "run.yaml:1: model is 'x'; it must be a mapping of keys"),
        ("model: {}\nprompts: {source: y}\n", [], "run.yaml:1: model.name is missing; give it a value"),
        (MINIMAL + "model: {name: y}\n", [], "run.yaml:3: model is there already, in line 1; keep one"),
        (MINIMAL, ["generate.temprature=1"], "command line: generate.temprature is unknown; did you mean temperature?"),
        (MINIMAL, ["generate.temperature=hot"], "command line: generate.temperature is 'hot'; it must be a number"),
        (MINIMAL, ["generate.temperature"], "'generate.temperature' is no override; write KEY=VALUE"),
        (MINIMAL, ["generate..x=1"], "'generate..x=1' is no override; write KEY=VALUE"),
        (MINIMAL, ["model.name.x=1"], "'model.name.x=1': model.name is 'x' and has no keys; set it whole"),
        (MINIMAL, ["generate.engine={kind: openai"], "generate.engine={kind: openai:1: no YAML"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_its_mend(read, text, overrides, message):
    with pytest.raises(UserError) as raised:
        read(text, *overrides)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_value_that_a_section_can_hold_is_plain():
    """So that it can be said in YAML and written into the run."""

    def check(kind):
        for each in fields(kind):
            if is_dataclass(each.type):
                check(each.type)

    check(RunConfig)
    assert is_override("generate.engine.url=http://x")
    assert not is_override("M1=runs/x/model")
    assert not is_override("models.x=runs/x/model")
