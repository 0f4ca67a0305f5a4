"""Columns are found by the names in common use, set ones win, and what could be two things is asked."""

import pytest

from congrad.errors import UserError
from congrad.preferences.layout import Layout, find_layout, kind_of_value
from congrad.settings.input import Columns, Input

TALKS = {"chosen": "conversation", "rejected": "conversation"}

FOUND = {
    "as trainers read them": ("prompt chosen rejected", {}, ("prompt", "chosen", "rejected"), ""),
    "no prompt": ("chosen rejected", {}, (None, "chosen", "rejected"), ""),
    "question": (
        "question response_j response_k",
        {},
        ("question", "response_j", "response_k"),
        "prompt from `question`",
    ),
    "hyphens": (
        "input chosen-response rejected-response",
        {},
        ("input", "chosen-response", "rejected-response"),
        "chosen from",
    ),
    "capitals": ("Prompt Chosen Rejected", {}, ("Prompt", "Chosen", "Rejected"), "prompt from `Prompt`"),
    "the canonical name wins": ("prompt question chosen rejected", {}, ("prompt", "chosen", "rejected"), ""),
    "canonical sides win": ("prompt chosen rejected response_j response_k", {}, ("prompt", "chosen", "rejected"), ""),
    "set": ("a b c", {"prompt": "a", "chosen": "c", "rejected": "b"}, ("a", "c", "b"), ""),
    "set against a known name": ("prompt chosen rejected x", {"prompt": "x"}, ("x", "chosen", "rejected"), ""),
    "OpenAI": (
        "input preferred_output non_preferred_output",
        {},
        ("input", "preferred_output", "non_preferred_output"),
        "rejected from `non_preferred_output`",
    ),
    "earlier turns as the prompt": (
        "history chosen rejected",
        {},
        ("history", "chosen", "rejected"),
        "prompt from `history`",
    ),
    "the whole and the other": (
        "messages rejected_response",
        {},
        (None, "messages", "rejected_response"),
        "chosen from",
    ),
    "ratings beside pairs": (
        "prompt chosen rejected chosen_rating rejected_rating",
        {},
        ("prompt", "chosen", "rejected"),
        "",
    ),
}


def layout(names: str, kinds: dict | None = None, given: dict | None = None, **settings: object) -> Layout:
    columns = {name: (kinds or {}).get(name, "text") for name in names.split()}
    return find_layout(columns, "x.jsonl", Input("x", columns=Columns(**(given or {})), **settings))


@pytest.mark.parametrize(("names", "given", "expected", "note"), FOUND.values(), ids=FOUND)
def test_pairs_are_found_by_name(names, given, expected, note):
    found = layout(names, given=given)
    assert (found.prompt, found.chosen, found.rejected) == expected
    assert found.name == "pairs"
    assert note in found.note if note else found.note == ""


def test_an_input_belongs_to_its_instruction():
    found = layout("instruction input output chosen rejected")
    assert (found.prompt, found.addition) == ("instruction", "input")
    assert found.note == "prompt from `instruction` and `input`"


def test_a_conversation_as_a_whole_is_the_prompt_of_single_messages_alone():
    assert layout("messages chosen rejected", {"chosen": "object", "rejected": "object"}).prompt == "messages"
    assert layout("messages chosen rejected", TALKS).prompt is None
    assert layout("prompt messages chosen rejected", TALKS).prompt == "prompt"


def test_system_and_earlier_turns():
    found = layout("system history question chosen rejected")
    assert (found.system, found.history, found.prompt) == ("system", "history", "question")
    assert layout("system question chosen rejected", ignore=("system",)).system is None


ASKED = {
    "prompts": (
        "question input chosen rejected",
        {},
        "'question' and 'input' could each be the column of the prompt; set input.columns.prompt",
    ),
    "sides": ("prompt preferred dispreferred response_j response_k", {}, "'preferred' and 'response_j' could each be"),
    "verdicts": (
        "prompt response_0 response_1 better_response_id safer_response_id",
        {},
        "'better_response_id' and 'safer_response_id' could each be the column of the verdict; set input.",
    ),
    "a label": ("prompt completion label", {}, "one response a row ('completion') with a label ('label') is no pair"),
    "misspelt": (
        "prompt chosn rejected",
        {},
        "no column 'chosen' among 'prompt', 'chosn', 'rejected'; the nearest is 'chosn'",
    ),
    "misspelt prompt": ("promt chosen rejected", {}, "no column 'prompt', but 'promt'; rename it"),
    "case": ("prompt chosen Rejected", {}, "no column 'rejected' among"),
    "set and not there": ("prompt chosen rejected", {"system": "sys"}, "no column 'sys' among"),
    "nothing": ("a b", {}, "no column 'chosen' among 'a', 'b'; add it, or name another with input.columns.chosen"),
}


@pytest.mark.parametrize(("names", "given", "said"), ASKED.values(), ids=ASKED)
def test_what_is_unsure_or_missing_is_said(names, given, said):
    with pytest.raises(UserError) as caught:
        layout(names, given=given)
    assert said in str(caught.value)
    assert str(caught.value).startswith("x.jsonl: ")


COMPARED = {
    "arena": ("model_a model_b winner conversation_a conversation_b", ("conversation_a", "conversation_b", "winner")),
    "numbers": ("prompt response_0 response_1 better_response_id", ("response_0", "response_1", "better_response_id")),
    "capitals": ("history human_ref_A human_ref_B labels", ("human_ref_A", "human_ref_B", "labels")),
    "scale": ("context response1 response2 overall_preference", ("response1", "response2", "overall_preference")),
    "one for each outcome": (
        "prompt response_a response_b winner_model_a winner_model_b winner_tie",
        ("response_a", "response_b", "winner_*"),
    ),
}


@pytest.mark.parametrize(("names", "expected"), COMPARED.values(), ids=COMPARED)
def test_comparisons_are_found_by_name(names, expected):
    found = layout(names)
    assert found.name == "comparison"
    assert (found.first, found.second, found.better) == expected


def test_models_are_found_by_name():
    found = layout("model_a model_b winner conversation_a conversation_b")
    assert (found.first_model, found.second_model) == ("model_a", "model_b")


def test_ratings_are_found_by_name():
    ranked = layout("prompt responses rankings", {"responses": "list", "rankings": "list"})
    assert (ranked.name, ranked.prompt, ranked.responses, ranked.ranks) == (
        "ratings",
        "prompt",
        "responses",
        "rankings",
    )
    scored = layout("instruction completions", {"completions": "conversation"})
    assert (scored.name, scored.responses) == ("ratings", "completions")
    tree = layout("message_id parent_id text role lang rank")
    assert (tree.name, tree.responses) == ("ratings", None)


def test_a_layout_can_be_forced():
    names = "prompt chosen rejected response_a response_b winner"
    assert layout(names).name == "pairs"
    assert layout(names, layout="comparison").first == "response_a"
    with pytest.raises(UserError, match=r"no column of responses is known by its name; set input\.columns\.responses"):
        layout(names, layout="ratings")


def test_one_response_a_row_has_its_score_beside_it():
    found = layout("prompt response score", {"score": "number"}, layout="ratings")
    assert (found.responses, found.scores, found.ranks) == ("response", "score", None)
    found = layout("prompt answer rank", {"rank": "number"}, {"responses": "answer"})
    assert (found.responses, found.scores, found.ranks) == ("answer", None, "rank")
    assert layout("prompt response score", layout="ratings").scores is None, "text is no score"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, None), ("a", "text"), (1, "number"), ({}, "object"), (["a"], "list"), ([{}], "conversation")],
)
def test_kinds_of_values(value, kind):
    assert kind_of_value(value) == kind
