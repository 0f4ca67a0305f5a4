"""Thousands of languages, which are mostly the values of another column: their comparison would take all memory."""

import itertools
import time
from string import ascii_uppercase as LETTERS

import datasets
import pytest
from tests.conftest import preference_rows
from tests.files import write_jsonl

from congrad.errors import UserError
from congrad.filtering.estimate import comparison, estimate
from congrad.languages.tags import tag_of
from congrad.models.load import load_model, tokenizer_of
from congrad.preferences import load_preferences
from congrad.preferences.tokenise import tokenise
from congrad.settings.consensus import Consensus
from congrad.settings.index import PassSettings
from congrad.settings.input import Bounds, Columns
from congrad.settings.model import Model

ROWS = [{**row, "id": f"id-{number}"} for number, row in enumerate(preference_rows(3000))]
REFUSED = (
    "column 'id' holds 3,000 languages, such as 'id-0', 'id-1', 'id-2'; "
    "name the column of languages with {0}.columns.language, or raise {0}.bounds.languages"
)
OF_PROMPTS = ("prompts.columns.language=id", "prompts.yaml")
LOOP = "model: {name: none}\ntrain: {beta: 0.1}\n"
LOOPS = {
    "prompts": "prompts: {source: pairs.jsonl, columns: {language: id}}",
    "pairs": "rounds: {count: 1}\nprompts: {pairs: pairs.jsonl, columns: {language: id}}",
    "held-out pairs": "prompts: {source: few.jsonl}\nevaluate: {pairs: pairs.jsonl, columns: {language: id}}",
}
COMMANDS = {
    "filter": ["filter", "pairs.jsonl", "--model", "none", "--language-column", "id", "--output", "out"],
    "dry run": ["filter", "pairs.jsonl", "--model", "none", "--language-column", "id", "--dry-run"],
    "parquet": ["filter", "pairs.parquet", "--model", "none", "--language-column", "id", "--dry-run"],
    "generate": ["generate", "pairs.jsonl", "--model", "none", "prompts.columns.language=id", "--output", "out"],
    "evaluate": ["evaluate", "none", "--output", "out", "evaluate.pairs=pairs.jsonl", "evaluate.columns.language=id"],
    **{f"loop: {name}": ["run", f"{name}.yaml", "--output", "out"] for name in LOOPS},
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_too_many_languages_are_refused_before_a_model_is_loaded(tmp_path, monkeypatch, congrad, words):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", ROWS)
    write_jsonl(tmp_path / "few.jsonl", ROWS[:2])
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "pairs.parquet")
    for name, text in LOOPS.items():
        (tmp_path / f"{name}.yaml").write_text(LOOP + text + "\n")
    began = time.process_time()
    called = congrad(*words)
    assert called.refused
    section = "prompts" if set(words) & set(OF_PROMPTS) else "input"
    assert called.err.splitlines()[-1].endswith(REFUSED.format(section))
    assert time.process_time() - began < 5


def test_files_are_languages_too(tmp_path):
    names = (
        f"{language}-{''.join(pair)}" for language in ("de", "fr") for pair in itertools.product(LETTERS, repeat=2)
    )
    for name in itertools.islice((name for name in names if tag_of(name, strict=True) == name), 501):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(UserError, match="the files' names hold 501 languages, such as 'de-AA', 'de-AC', 'de-AD'; "):
        load_preferences(tmp_path)


def test_the_bound_is_a_setting(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS[:600])
    with pytest.raises(UserError, match="holds 600 languages"):
        load_preferences(path, columns=Columns(language="id"))
    assert len(load_preferences(path, columns=Columns(language="id"), bounds=Bounds(languages=600))) == 600


# What many languages cost


def test_the_estimate_says_what_many_languages_cost(tiny_directory, tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS[:200])
    tokenizer, model = tokenizer_of(Model(str(tiny_directory))), load_model(str(tiny_directory))
    many = tokenise(load_preferences(path, columns=Columns(language="id")), tokenizer)
    told = str(estimate(model, many, PassSettings(projection_size=16)))
    assert told.endswith(" of disk; comparing 200 languages takes about 29 s and about 962.0 MB of memory")
    few = tokenise(load_preferences(path), tokenizer)
    assert str(estimate(model, few, PassSettings(projection_size=16))).endswith(" of disk")


def test_memory_grows_by_the_square_of_languages_and_time_by_the_cube():
    one, two = comparison(500, 0, Consensus()), comparison(1000, 0, Consensus())
    assert two.memory_bytes == 4 * one.memory_bytes
    assert two.seconds == pytest.approx(8 * one.seconds)
    assert str(comparison(500, 256, Consensus(aggregator="mean"))) == (
        "comparing 500 languages takes about 6.0 GB of memory"
    )
