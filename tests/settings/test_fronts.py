"""A mistake is named where and as it was typed: as a flag, as KEY=VALUE, in a YAML file by line, and in Python."""

import subprocess
import sys
from typing import Any

import pytest

from congrad.errors import UserError
from congrad.settings.advice import Advice
from congrad.settings.consensus import Consensus, Loss
from congrad.settings.engine import Engine
from congrad.settings.evaluation import Evaluate, Harness, WinRate
from congrad.settings.index import PassSettings
from congrad.settings.input import Columns, Input
from congrad.settings.model import Model, NewLora
from congrad.settings.read import read
from congrad.settings.selection import Selection
from congrad.settings.selfreward import Generate, Judge, Pair, PromptColumns, Prompts
from congrad.settings.training import Lora, Rounds
from congrad.settings.tree import Filter, Report

URL = "http://localhost:1"
# By key: the value as YAML writes it, the same in Python, and a part of what is said. `with` gives other keys.
MISTAKES: list[tuple[str, str, Any, str, dict[str, Any]]] = [
    ("input.split", "3", 3, "must be text or a list; put it into quotes", {"source": "x"}),
    ("input.chat", "'yes'", "yes", "must be true or false", {"source": "x"}),
    ("input.max_length", "1", 1, "must be 2 or more", {"source": "x"}),
    ("input.limit", "0", 0, "must be 1 or more", {"source": "x"}),
    ("input.seed", "0.5", 0.5, "must be a whole number", {"source": "x"}),
    ("input.columns.language", "[a]", ["a"], "must be text", {}),
    ("model.dtype", "int8", "int8", "must be one of auto, float32", {"name": "x"}),
    ("model.device", "gpu", "gpu", "must be auto, cpu, cuda", {"name": "x"}),
    ("model.adapter", "7", 7, "must be text", {"name": "x"}),
    ("model.lora.r", "0", 0, "must be 1 or more", {}),
    ("model.lora.target_modules", "[]", [], "is empty", {}),
    ("model.lora.seed", "-1", -1, "must be 0 or more", {}),
    ("model.quantise", "4", 4, "must be 4bit or 8bit", {"name": "x"}),
    ("model.reference", "true", True, "must be text", {"name": "x"}),
    ("model.revision", "1234567", 1234567, "must be text; put it into quotes", {"name": "x"}),
    ("model.trust_remote_code", "1", 1, "must be true or false or a list", {"name": "x"}),
    ("index.projection_size", "0", 0, "must be 1 or more", {}),
    ("index.seed", "a", "a", "must be a whole number", {}),
    ("index.layers", "top", "top", "must be upper or a slice", {}),
    ("index.normalise", "max", "max", "must be sum or mean", {}),
    ("index.token_budget", "1e3", 1e3, "must be a whole number, 1 or more", {}),
    ("index.route", "fast", "fast", "must be one of auto, packed", {}),
    ("loss.name", "dop", "dop", "did you mean dpo?", {}),
    ("loss.beta", "0", 0, "must be above 0", {}),
    ("loss.length_penalty", "0.1", 0.1, "would be ignored by the dpo loss", {}),
    ("loss.label_smoothing", "0.5", 0.5, "must be 0 or more and below 0.5", {}),
    ("loss.target_margin", "1", 1, "would be ignored by the dpo loss", {}),
    ("consensus.aggregator", "pcgard", "pcgard", "did you mean pcgrad?", {}),
    ("consensus.accumulate", "sum", "sum", "must be mean or ema", {}),
    ("consensus.ema_decay", "0.5", 0.5, "would be ignored where consensus.accumulate is mean", {}),
    ("consensus.ema_batch", "0", 0, "must be 1 or more", {}),
    ("consensus.cross_fit", "1", 1, "leaves no other fold", {}),
    ("consensus.num_orders", "0", 0, "must be 1 or more", {}),
    ("consensus.num_resamples", "null", None, "must be a whole number", {}),
    ("selection.keep", "2", 2, "must be above 0 and at most 1", {}),
    ("selection.min_score", "3", 3, "must be -1 or more and at most 1", {}),
    ("selection.scope", "galaxy", "galaxy", "must be language or global", {}),
    ("selection.keep", "atuo", "atuo", "did you mean auto?", {}),
    ("advice.epochs", "0", 0, "must be above 0", {}),
    ("advice.batch_size", "0", 0, "must be 1 or more", {}),
    ("advice.num_folds", "3", 3, "must be 4 or more", {}),
    ("advice.watch", "' '", " ", "is empty", {}),
    ("report.write", "no", "no", "must be true or false", {}),
    ("prompts.limit", "0", 0, "must be 1 or more", {"source": "x"}),
    ("prompts.columns.prompt", "1", 1, "must be text", {}),
    ("generate.samples", "0", 0, "must be 1 or more", {}),
    ("generate.temperature", "hot", "hot", "must be a number, 0 or more", {}),
    ("generate.temperature", "0", 0, "makes all samples of a prompt the same", {}),
    ("generate.top_p", "2", 2, "must be above 0 and at most 1", {}),
    ("generate.chat", "maybe", "maybe", "must be true or false or auto", {}),
    ("generate.system", "' '", " ", "is empty", {}),
    ("generate.engine.kind", "sglang", "sglang", "must be one of transformers, openai", {}),
    ("generate.engine.url", URL, URL, "would be ignored by an engine of kind transformers", {}),
    ("judge.kind", "human", "human", "must be llm or implicit-reward", {}),
    ("judge.beta", "0.2", 0.2, "would be ignored by a judge of kind llm", {}),
    ("judge.max_tokens", "0", 0, "must be 1 or more", {}),
    ("pair.method", "best", "best", "must be one of best-worst", {}),
    ("pair.min_margin", "-1", -1, "must be 0 or more", {}),
    ("pair.language", "no", "no", "must be one of off, penalise, drop", {}),
    ("pair.language_penalty", "2", 2, "would be ignored", {}),
    ("filter.methods", "[]", [], "is empty", {}),
    ("filter.methods", "[none, none]", ["none", "none"], "names none twice", {}),
    ("rounds.count", "0", 0, "must be 1 or more", {}),
    ("rounds.reference", "first", "first", "must be previous or initial", {}),
    ("rounds.length_penalty", ".inf", float("inf"), "must be a finite number", {}),
    ("rounds.lora.r", "0", 0, "must be 1 or more", {}),
    ("rounds.lora.dropout", "1", 1, "must be 0 or more and below 1", {}),
    ("rounds.lora.target_modules", "3", 3, "must be text or a list", {}),
    ("evaluate.draws", "10", 10, "must be 100 or more", {}),
    ("evaluate.confidence", "95", 95, "must be 0.5 or more and below 1", {}),
    ("evaluate.seen", "de", "de", "must be a list", {}),
    ("evaluate.lm_eval.tasks", "[]", [], "is empty", {}),
    ("evaluate.win_rate.top_p", "0", 0, "must be above 0 and at most 1", {"prompts": {"source": "x"}}),
]
SECTIONS: dict[str, Any] = {
    "input": Input,
    "input.columns": Columns,
    "model": Model,
    "model.lora": NewLora,
    "index": PassSettings,
    "loss": Loss,
    "consensus": Consensus,
    "selection": Selection,
    "advice": Advice,
    "report": Report,
    "prompts": Prompts,
    "prompts.columns": PromptColumns,
    "generate": Generate,
    "generate.engine": Engine,
    "judge": Judge,
    "pair": Pair,
    "filter": Filter,
    "rounds": Rounds,
    "rounds.lora": Lora,
    "evaluate": Evaluate,
    "evaluate.lm_eval": Harness,
    "evaluate.win_rate": WinRate,
}
FLAGS = {
    "model.name": "--model",
    "selection.keep": "--keep",
    "selection.min_score": "--min-score",
    "input.columns.language": "--language-column",
    "input.limit": "--limit",
    "model.dtype": "--dtype",
    "model.device": "--device",
}
IDS = [f"{key}={text}" for key, text, *_ in MISTAKES]
REST = {"input": {"source": "x"}, "model": {"name": "x"}, "prompts": {"source": "x"}}


def words_of(key: str, others: dict[str, Any]) -> list[str]:
    section = key.rpartition(".")[0]
    words = [f"{name}.{inner}={value}" for name, own in REST.items() for inner, value in own.items()]
    if "prompts" in others:
        words.append(f"{section}.prompts={{source: x}}")
    return words


@pytest.mark.parametrize(("key", "text", "value", "message", "others"), MISTAKES, ids=IDS)
def test_as_key_and_value(key, text, value, message, others):
    with pytest.raises(UserError) as raised:
        read(None, [*words_of(key, others), f"{key}={text}"])
    said = str(raised.value)
    assert said.startswith(f"{key}={text}")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(("key", "text", "value", "message", "others"), MISTAKES, ids=IDS)
def test_in_a_file(tmp_path, key, text, value, message, others):
    *sections, name = key.split(".")
    lines = [f"{'  ' * depth}{each}:" for depth, each in enumerate(sections)]
    inner = "  " * len(sections)
    lines += [
        f"{inner}{other}: {'{source: x}' if isinstance(given, dict) else given}" for other, given in others.items()
    ]
    lines.append(f"{inner}{name}: {text}")
    if sections[0] in ("input", "prompts") and len(sections) > 1:
        lines.append("  source: x")
    path = tmp_path / "run.yaml"
    path.write_text("# settings\n" + "\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read(path)
    line = lines.index(f"{inner}{name}: {text}") + 2
    said = str(raised.value)
    assert said.startswith(f"{path}:{line}: {key} ")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(("key", "text", "value", "message", "others"), MISTAKES, ids=IDS)
def test_in_python(key, text, value, message, others):
    section, _, name = key.rpartition(".")
    with pytest.raises(UserError) as raised:
        SECTIONS[section](**others | {name: value})
    said = str(raised.value)
    shown = key.removeprefix("generate.") if section == "generate.engine" else key
    assert said.startswith(f"{shown} ")
    assert message in said
    assert (raised.value.key, raised.value.at) == (shown, None)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [(m[0], m[1], m[3]) for m in MISTAKES if m[0] in FLAGS and m[0] != "input.columns.language"],
)
def test_as_a_flag(key, text, message):
    with pytest.raises(UserError) as raised:
        read(None, words_of(key, {}), {key: (FLAGS[key], text)})
    assert str(raised.value).startswith(f"{FLAGS[key]} {text}: ")
    assert message in str(raised.value)


def test_a_flag_has_the_last_word_over_a_word_and_a_word_over_a_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("selection: {keep: 0.1}\n")
    assert read(path).section(Selection).keep == 0.1
    assert read(path, ["selection.keep=0.2"]).section(Selection).keep == 0.2
    given = read(path, ["selection.keep=0.2"], {"selection.keep": ("--keep", "0.3")})
    assert given.section(Selection).keep == 0.3
    assert given.spell("selection.keep", 0.3) == "--keep 0.3"
    assert given.spell("selection.scope") == f"{path}:1: selection.scope"


# What a value means


VALUES = [
    ("evaluate.seen", "[no, de]", Evaluate, "seen", ("no", "de")),
    ("input.split", "no", Input, "split", "no"),
    ("loss.beta", "5e-5", Loss, "beta", 5e-5),
    ("generate.temperature", "1e3", Generate, "temperature", 1000.0),
    ("index.layers", "'12:'", PassSettings, "layers", "12:"),
    ("index.projection_size", "007", PassSettings, "projection_size", 7),
    ("model.revision", "'0123456'", Model, "revision", "0123456"),
    ("input.limit", "null", Input, "limit", None),
    ("generate.system", "~", Generate, "system", None),
    (
        "rounds.lora",
        "{r: 4, target_modules: [q_proj, v_proj]}",
        Rounds,
        "lora",
        Lora(4, target_modules=("q_proj", "v_proj")),
    ),
    ("filter.methods", "[none, congrad]", Filter, "methods", ("none", "congrad")),
]


@pytest.mark.parametrize(("key", "text", "kind", "name", "value"), VALUES, ids=[f"{v[0]}={v[1]}" for v in VALUES])
def test_a_value_means_the_same_everywhere(tmp_path, key, text, kind, name, value):
    section = key.partition(".")[0]
    rest = {"input": "source: x", "model": "name: x"}.get(section, "")
    path = tmp_path / "run.yaml"
    path.write_text(f"{section}:\n  {name}: {text}\n" + (f"  {rest}\n" if rest else ""))
    own = [f"{section}.{rest.replace(': ', '=')}"] if rest else []
    required = {"source": "x"} if section == "input" else {"name": "x"} if section == "model" else {}
    found = [
        getattr(read(path).section(kind), name),
        getattr(read(None, [*own, f"{key}={text}"]).section(kind), name),
        getattr(kind(**required | {name: list(value) if isinstance(value, tuple) else value}), name),
    ]
    assert found == [value] * 3
    assert len({type(each) for each in found}) == 1


def test_a_slice_needs_no_quotes_on_the_command_line(tmp_path):
    """There is nothing before it on its line that it could be a part of; in a file the fix is said."""
    assert read(None, ["index.layers=12:"]).section(PassSettings).layers == "12:"
    path = tmp_path / "run.yaml"
    path.write_text("index:\n  layers: 12:\n")
    with pytest.raises(UserError, match=r"run\.yaml:2: not YAML .*; put a value that holds a colon into quotes"):
        read(path)


def test_a_flag_of_text_is_text():
    """A shell knows no types, so what a flag of a text key gets is its text."""
    given = read(None, [], {"model.name": ("--model", "7"), "model.revision": ("--revision", "0123456")})
    assert given.section(Model).revision == "0123456"
    assert given.section(Model).name == "7"


# Old spellings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filter.keep=0.5", "selection.keep"),
        ("filter.seed=1", "index.seed (projections) and consensus.seed"),
        ("filter.projection_size=8", "index.projection_size"),
        ("prompts.language_column=x", "prompts.columns.language"),
        ("prompts.prompt_column=x", "prompts.columns.prompt"),
        ("evaluate.language_column=x", "evaluate.columns.language"),
    ],
)
def test_an_old_key_is_answered_with_the_new(old, new):
    with pytest.raises(UserError) as raised:
        read(None, [old])
    assert str(raised.value).startswith(f"{old} is now {new}")


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("input.max_length=64", "train.max_length"),
        ("loss.name=ipo", "train.loss_type"),
        ("loss.beta=1", "train.beta"),
        ("loss.length_penalty=1", "rounds.length_penalty"),
        ("input.source=x", "prompts.pairs"),
        ("index.normalise=mean", "train.loss_type"),
    ],
)
def test_a_loop_names_the_key_that_it_reads_instead(word, right):
    rest = {"input.max_length": ["input.source=x"], "loss.length_penalty": ["loss.name=lp-dpo"]}
    given = read(None, [word, *rest.get(word.partition("=")[0], [])])
    for other in ("source", "name"):  # what only stands there to make a whole section
        if word.partition("=")[0] in rest:
            given.section_values(word.partition(".")[0]).pop(other, None)
    with pytest.raises(UserError) as raised:
        given.check_for_loop()
    assert str(raised.value).startswith(word)
    assert right in str(raised.value)


def test_a_mistake_takes_little_time(tmp_path):
    """Processor time of a whole command; the limit is generous, since machines differ."""
    program = """
import resource, sys
from congrad.cli import main
try:
    main()
except SystemExit as end:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(end.code, used.ru_utime + used.ru_stime)
"""
    for words in (["filter", "x", "index.projection_size=0"], ["run", "run.yaml", "train.learning_rat=1"]):
        (tmp_path / "run.yaml").write_text("model: {name: x}\nprompts: {source: x}\n")
        done = subprocess.run([sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True)
        code, seconds = done.stdout.split()
        assert code == "2", done.stderr
        assert float(seconds) < 2
        assert done.stderr.count("\n") == 1
