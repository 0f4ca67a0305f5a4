"""Settings from a file, words and flags together, and mistakes that no honest typing makes."""

import pytest

from congrad.errors import UserError
from congrad.settings.evaluation import Evaluate
from congrad.settings.read import read
from congrad.settings.training import Lora, Rounds
from congrad.training.loss import preference_loss


def said(*words: str, file: str | None = None) -> str:
    with pytest.raises(UserError) as raised:
        read(file, words)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["R", "Lora", "str", "int", "none", "r[", "tuple[str]", "0", "é", " "])
def test_an_unknown_key_is_named_whatever_it_looks_like(tmp_path, name):
    with pytest.raises(UserError) as raised:
        Rounds(lora={name: 1})
    assert str(raised.value).startswith(f"rounds.lora.{name} is unknown; ")
    path = tmp_path / "run.yaml"
    path.write_text(f"rounds:\n  lora:\n    '{name}': 1\n")
    assert said(file=path).startswith(f"{path}:3: rounds.lora.{name} is unknown; ")


def test_an_unknown_section_is_spelled_as_it_was_typed():
    assert said("Rounds.count=2").startswith("Rounds.count=2: Rounds is unknown; did you mean rounds?")


def test_capital_letters_are_a_near_miss():
    assert "did you mean pcgrad?" in said("consensus.aggregator=PCGrad")


def test_more_values_than_settings():
    with pytest.raises(UserError, match=r"Lora has 5 settings, and more values were given; give them by name"):
        Lora(1, 1.0, 0.0, "all-linear", False, 1)


@pytest.mark.parametrize(
    "word",
    [
        "index.projection_size=16385",
        "index.seed=-1",
        "index.seed=4294967296",
        "consensus.seed=-1",
        "train.per_device_train_batch_size=0",
        "train.per_device_eval_batch_size=-1",
        "train.gradient_accumulation_steps=0",
        "index.projection_size=" + "9" * 5000,
        "index.seed=" + "9" * 5000,
    ],
)
def test_numbers_have_bounds(word):
    key, _, value = word.partition("=")
    assert said(word).startswith(f"{key}={value}: must be ")


def test_a_deep_file_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("index: " + "[" * 5000 + "]" * 5000)
    assert said(file=path) == f"{path}: is nested too deeply; write it flatter"
    assert "is nested too deeply" in said("index.seed=" + "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize("name", ["", " "])
@pytest.mark.parametrize("key", ["model.name", "input.source"])
def test_a_name_is_not_empty(key, name):
    assert said(f'{key}="{name}"').startswith(f'{key}="{name}" is empty; ')


# What is given several times, or beneath a value


def test_a_key_given_twice_on_the_command_line():
    assert said("selection.keep=0.1", "selection.keep=0.2") == (
        "'selection.keep=0.2' replaces 'selection.keep=0.1'; give one of them"
    )
    assert "replaces" in said("rounds.lora.r=4", "rounds.lora={r: 8}")


def test_a_word_adds_to_a_mapping_before_it():
    given = read(None, ["rounds.lora={r: 8}", "rounds.lora.alpha=4"])
    assert given.section(Rounds).lora == Lora(r=8, alpha=4.0)
    assert said("rounds.lora={r: 8}", "rounds.lora.alpha=0").startswith("rounds.lora.alpha=0: must be above 0")


def test_a_mistake_in_a_mapping_that_replaces_one_of_the_file_is_the_word_s(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("rounds:\n  lora:\n    r: 4\n    alpha: 8\n")
    assert read(path, ["rounds.lora={r: 8}"]).section(Rounds).lora == Lora(r=8)
    assert said("rounds.lora={r: 0}", file=path) == "rounds.lora={r: 0}: rounds.lora.r 0: must be 1 or more"


@pytest.mark.parametrize("word", ["selection.keep.x=1", "model.name.x=1", "evaluate.tasks.0.stop=1"])
def test_a_value_has_no_keys_beneath_it(word):
    text = said(word)
    assert text.startswith(f"{word!r}: ")
    assert text.endswith(" and has no keys; set the whole of it")


def test_another_program_s_mapping_has_any_keys():
    given = read(None, ["generate.engine.kind=openai", "generate.engine.url=http://x", "generate.engine.options.a=1"])
    assert given.section_values("generate")["engine"]["options"] == {"a": 1}


def test_a_value_on_the_command_line_is_one_value():
    assert (
        said("index.seed=1\nlayers: upper") == "index.seed=1 layers: upper: is more than one value; put it into quotes"
    )
    twice = said("rounds.lora={r: 1, r: 2}")
    assert twice == "rounds.lora={r: 1, r: 2}: rounds.lora.r is given twice; keep one"


def test_a_word_where_a_list_is_wanted():
    assert said("filter.methods=congrad") == "filter.methods=congrad: must be a list; write [congrad]"
    assert said("evaluate.seen=[de, 3]").startswith("evaluate.seen=[de, 3]: evaluate.seen.1 3: must be text; ")
    assert read(None, ["evaluate.seen=[de]"]).section(Evaluate).seen == ("de",)


@pytest.mark.parametrize("word", ["train.beta=0", "train.label_smoothing=0.7"])
def test_a_loss_that_training_decides_is_spelled_so(word):
    """The filter of a loop scores the loss that is trained."""
    given = read(None, [word, "train.loss_type=robust"])
    with pytest.raises(UserError) as raised, given.spelled():
        preference_loss(given.section_values("train"), Rounds())
    assert str(raised.value).startswith(f"{word}: must be ")


def test_a_section_that_is_no_mapping_is_refused_before_another_section_reads_it(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train: {beta: 0.1}\nrounds: two\n")
    with pytest.raises(UserError, match="rounds 'two': must be a mapping of keys"):
        read(path, [])
