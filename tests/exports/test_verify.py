"""What a trainer sees of an export is what was scored, or the difference is named: odd text on two chat layouts."""

import json
from pathlib import Path

import pytest
from tests.exports.chat_models import LAYOUTS, as_text, odd_pairs, save_chat_model
from tests.exports.rows import assistant, user

from congrad.exports import FORMATS, Exported, export_run
from congrad.exports.compare import difference
from congrad.exports.layouts import kept_pairs
from congrad.exports.seen import Dropped, Seen
from congrad.exports.setup import setup_of
from congrad.exports.verify import Check, check
from congrad.files import json_line
from congrad.filtering.finished import open_run
from congrad.models.load import load_tokenizer

COUNTED = "it puts a number in the place of {{idx}}"
NATIVE = {
    "gemma": {"llamafactory": "template: gemma3", "ms-swift": "--template gemma3_text"},
    "llama": {"llamafactory": "template: llama3", "ms-swift": "--template llama3"},
}
# Of these formats, what the trainer itself puts at the end of Gemma's conversations.
ENDS = {
    "ms-swift": ("is missing at the end", "is added at the end"),
    "openrlhf": (r"ends with ' <eos>' instead of '\n'",),
}


@pytest.fixture(scope="module")
def chat_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("chat")
    for layout in LAYOUTS:
        save_chat_model(directory / layout, layout)
    return {layout: directory / layout for layout in LAYOUTS}


def config_of(exported: Exported) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(exported.directory.glob("train_dpo.*")))


def mark_of(exported: Exported) -> dict:
    return json.loads((exported.directory / "congrad.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FORMATS)
def test_conversations_of_odd_text_have_the_tokens_that_were_scored(make_run, chat_models, name, layout):
    exported = export_run(make_run(odd_pairs(200), model=str(chat_models[layout]), max_length=4000), name)
    checked = mark_of(exported)["checked"]
    assert exported.num_pairs + len(exported.left_out) == 200
    assert checked["pairs"] == exported.num_pairs
    assert {row.reason for row in exported.left_out} <= {COUNTED, "another text than was scored"}
    assert len(exported.left_out) <= (25 if name == "llamafactory" else 5)
    if layout == "gemma" and name in ENDS:
        assert checked["same"] == 0
        assert any(word in reason for reason in checked["differences"] for word in ENDS[name])
    else:
        assert checked["same"] >= (0.9 if name == "ms-swift" else 1) * exported.num_pairs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FORMATS)
def test_plain_odd_text_has_the_tokens_that_were_scored(make_run, chat_models, name, layout):
    """Trainers that tokenise prompt and response apart merge other tokens where they meet, which is said."""
    exported = export_run(make_run(as_text(odd_pairs(200)), model=str(chat_models[layout]), max_length=4000), name)
    checked = mark_of(exported)["checked"]
    assert checked["pairs"] == exported.num_pairs == 200 - len(exported.left_out)
    assert {row.reason for row in exported.left_out} <= {COUNTED}
    assert set(checked["differences"]) <= {
        "the same text in other tokens, where prompt and response meet",
        "BOS tokens at the start: 1 instead of 2",
    }
    assert checked["same"] >= 0.75 * exported.num_pairs


def conversation(chosen: str, rejected: str) -> dict:
    return {"prompt": [user("Who answers?")], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}


PAIRS = [conversation("model", "user"), conversation("The assistant.", "turn"), conversation("  white  ", "a\n")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["llamafactory", "ms-swift"])
def test_a_template_of_the_trainer_is_named_that_prints_what_was_scored(make_run, chat_models, name, layout):
    exported = export_run(make_run(PAIRS, model=str(chat_models[layout])), name)
    assert NATIVE[layout][name] in config_of(exported)
    if name == "ms-swift":
        assert "--model_type llama" in config_of(exported)


@pytest.mark.parametrize("name", FORMATS)
def test_a_response_within_the_template_s_words_is_not_cut(make_run, chat_models, name):
    exported = export_run(make_run(PAIRS, model=str(chat_models["llama"])), name)
    assert mark_of(exported)["checked"] == {"pairs": 3, "same": 3, "differences": {}}
    assert exported.notes[-1] == "checked 3 pairs: all have the tokens that were scored"
    assert exported.notes[-1] in (exported.directory / "README.md").read_text(encoding="utf-8")


def test_a_row_that_a_trainer_cannot_express_is_left_out_and_named(make_run, chat_models):
    rows = [*PAIRS, PAIRS[0] | {"prompt": [user("{{idx}}?")]}, PAIRS[1]]
    exported = export_run(make_run(rows, model=str(chat_models["llama"])), "llamafactory")
    assert [(row.line, row.reason) for row in exported.left_out] == [(4, COUNTED)]
    assert exported.num_pairs == 4
    (line,) = (exported.directory / "left_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"line": 4, "reason": COUNTED, "row": rows[3]}


def test_without_the_tokenizer_it_says_that_nothing_was_checked(make_run):
    exported = export_run(make_run(PAIRS), "axolotl")
    assert exported.notes == ("not checked against what was scored: the tokenizer of its model is not on this machine",)
    assert mark_of(exported)["checked"]["pairs"] is None


def test_a_row_without_a_prompt_of_its_own_is_read_again_too(make_run, chat_models, tmp_path):
    """TRL's layout is the run's own rows; what is in the file is compared, and not the pair with itself."""
    whole = [{side: pair["prompt"] + pair[side] for side in ("chosen", "rejected")} for pair in PAIRS]
    model = str(chat_models["llama"])
    run = open_run(make_run(whole, model=model))
    setup, tokenizer = setup_of(run, conversational=True), load_tokenizer(model)

    def checked(rows: list[dict]) -> Check:
        path = tmp_path / "written.jsonl"
        path.write_bytes(b"".join(map(json_line, rows)))
        return check(path, "trl", kept_pairs(run), setup, tokenizer)

    assert checked(whole) == Check(3)
    other = PAIRS[0]["prompt"] + [assistant("another")]
    assert checked([whole[0] | {"chosen": other}, *whole[1:]]) == Check(3, {"another text than was scored": 1})


@pytest.mark.parametrize("name", FORMATS)
def test_text_that_a_trainer_reads_as_a_date_is_said(make_run, chat_models, name):
    """`datasets` makes dates of a column that holds nothing else."""
    rows = [{"prompt": f"When {day}?", "chosen": "never", "rejected": f"2020-01-0{day}"} for day in range(1, 4)]
    run = make_run(rows, model=str(chat_models["llama"]))
    if name in ("llamafactory", "openrlhf"):  # whose rows have the tokenizer's own tokens in their text
        assert mark_of(export_run(run, name))["checked"]["pairs"] == 3
        return
    said = export_run(run, name).notes[-1]
    assert said.startswith("not checked against what was scored: ")
    assert name != "trl" or said.endswith("a row of the written file is read as no pair of texts")


def test_differences_by_name(chat_models):
    """Gemma's ids by hand: <bos> 0, <eos> 1, <start_of_turn> 3, <end_of_turn> 4."""
    tokenizer = load_tokenizer(str(chat_models["gemma"]))
    a, b, line = (tokenizer.encode(text, add_special_tokens=False)[0] for text in ("a", "b", "\n"))
    wanted = Seen([0, a], [b, 4, line], [a, 4, line])

    def said(found: Seen | Dropped) -> str | None:
        different = difference(wanted, found, tokenizer, 100)
        return different and different.reason

    assert said(wanted) is None
    assert said(Seen([a], wanted.chosen, wanted.rejected)) == "BOS tokens at the start: 0 instead of 1"
    assert said(Seen([0, a], [b, 4], [a, 4])) == r"'\n' is missing at the end"
    assert said(Seen([0, a], [b, 4, line, 1], [a, 4, line, 1])) == "'<eos>' is added at the end"
    assert said(Seen([0], [a, b, 4, line], [a, a, 4, line])) == "the response begins at another token"
    assert said(Seen([0, a], [a, 4, line], [a, 4, line])) == "another text than was scored"
    assert said(Dropped("why")) == "why"
