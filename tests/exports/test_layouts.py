"""Each export, read as its trainer documents, gives the conversations or the text that were scored."""

import json
from typing import Any

import jinja2
import pytest
from tests.exports import readers
from tests.exports.rows import CONVERSATIONS, IMPLICIT, IMPLICIT_PLAIN, PLAIN, SYSTEM, assistant, user

from congrad.errors import UserError
from congrad.exports import FORMATS, export_run

CHATML = jinja2.Template(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if ask %}<|im_start|>assistant\n{% endif %}",
    keep_trailing_newline=True,
)


def render(messages: list[dict[str, str]], ask: bool) -> str:
    return CHATML.render(messages=messages, ask=ask)


def turns(row: dict[str, Any]) -> dict[str, Any]:
    """A conversational row as system, prompt turns and responses."""
    prompt = row["prompt"]
    system = prompt[0]["content"] if prompt[0]["role"] == "system" else ""
    return {
        "system": system,
        "prompt": [message["content"] for message in prompt if message["role"] != "system"],
        "responses": [row["chosen"][0]["content"], row["rejected"][0]["content"]],
    }


def rendered(row: dict[str, Any]) -> dict[str, str]:
    prompt = render(row["prompt"], True)
    sides = {side: render(row["prompt"] + row[side], False)[len(prompt) :] for side in ("chosen", "rejected")}
    return {"prompt": prompt, **sides}


@pytest.mark.parametrize("rows", [CONVERSATIONS, IMPLICIT], ids=["explicit", "implicit"])
class TestConversations:
    def test_llamafactory(self, make_run, tmp_path, rows):
        export_run(make_run(rows), "llamafactory", tmp_path / "out")
        assert readers.llamafactory(tmp_path / "out", "congrad") == [turns(row) for row in CONVERSATIONS]

    def test_ms_swift(self, make_run, tmp_path, rows):
        export_run(make_run(rows), "ms-swift", tmp_path / "out")
        assert readers.ms_swift(tmp_path / "out" / "kept.jsonl") == [turns(row) for row in CONVERSATIONS]

    def test_axolotl(self, make_run, tmp_path, rows):
        export_run(make_run(rows), "axolotl", tmp_path / "out")
        assert readers.axolotl(tmp_path / "out") == CONVERSATIONS

    def test_openrlhf(self, make_run, tmp_path, rows):
        export_run(make_run(rows), "openrlhf", tmp_path / "out")
        assert readers.openrlhf(tmp_path / "out", render) == [rendered(row) for row in CONVERSATIONS]


class TestText:
    def test_llamafactory(self, make_run, tmp_path):
        export_run(make_run(PLAIN), "llamafactory", tmp_path / "out")
        wanted = [{"system": "", "prompt": [r["prompt"]], "responses": [r["chosen"], r["rejected"]]} for r in PLAIN]
        assert readers.llamafactory(tmp_path / "out", "congrad") == wanted

    def test_ms_swift(self, make_run, tmp_path):
        export_run(make_run(PLAIN), "ms-swift", tmp_path / "out")
        wanted = [{"system": "", "prompt": [r["prompt"]], "responses": [r["chosen"], r["rejected"]]} for r in PLAIN]
        assert readers.ms_swift(tmp_path / "out" / "kept.jsonl") == wanted
        assert "--use_chat_template false" in (tmp_path / "out" / "train_dpo.sh").read_text(encoding="utf-8")

    @pytest.mark.parametrize("read", [readers.axolotl, lambda path: readers.openrlhf(path, render)])
    def test_as_it_is(self, make_run, tmp_path, read):
        """Braces in the text are text, whatever the trainer's formatting makes of its own."""
        export_run(make_run(PLAIN), "axolotl" if read is readers.axolotl else "openrlhf", tmp_path / "out")
        wanted = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in PLAIN]
        assert read(tmp_path / "out") == wanted

    def test_prompt_that_the_responses_share(self, make_run, tmp_path):
        """TRL's rule: the space before the first difference belongs to the responses."""
        export_run(make_run(IMPLICIT_PLAIN), "openrlhf", tmp_path / "out")
        assert readers.openrlhf(tmp_path / "out", render) == [
            {"prompt": "Drei Flüsse:", "chosen": " Rhein, Elbe", "rejected": " Oder"},
            {"prompt": "Farbe:", "chosen": " rot", "rejected": " blau"},
        ]

    @pytest.mark.parametrize("name", ["llamafactory", "ms-swift", "openrlhf"])
    def test_through_the_chat_template_becomes_a_conversation(self, make_run, tmp_path, name):
        """Whoever scored with --chat trains with the template too."""
        rows = [{"prompt": "Wo?", "chosen": "In Köln.", "rejected": "Cologne."}]
        export_run(make_run(rows, chat=True), name, tmp_path / "out")
        wanted = {"prompt": [user("Wo?")], "chosen": [assistant("In Köln.")], "rejected": [assistant("Cologne.")]}
        if name == "openrlhf":
            assert readers.openrlhf(tmp_path / "out", render) == [rendered(wanted)]
        elif name == "ms-swift":
            assert readers.ms_swift(tmp_path / "out" / "kept.jsonl") == [turns(wanted)]
            assert "use_chat_template" not in (tmp_path / "out" / "train_dpo.sh").read_text(encoding="utf-8")
        else:
            assert readers.llamafactory(tmp_path / "out", "congrad") == [turns(wanted)]


def test_null_keys_of_a_columnar_file_are_no_part_of_a_message(make_run, tmp_path):
    padded = [
        {side: [message | {"tool_calls": None, "name": None} for message in row[side]] for side in row}
        for row in CONVERSATIONS
    ]
    export_run(make_run(padded), "openrlhf", tmp_path / "out")
    lines = (tmp_path / "out" / "kept.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == CONVERSATIONS


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
ONE = CONVERSATIONS[0]
UNFIT = {
    "two messages": (ONE | {"chosen": [assistant("Rhein"), assistant("Elbe")]}, "holds 2 messages"),
    "answer by the user": (ONE | {"rejected": [user("Rhine")]}, "from 'user'"),
    "tool call": (ONE | {"chosen": [CALL]}, "the key 'tool_calls'"),
    "tool's answer": (ONE | {"prompt": [user("?"), {"role": "tool", "content": "4"}]}, "the role 'tool'"),
    "tools": (ONE | {"tools": [{"type": "function"}]}, "column 'tools'"),
    "arguments of the template": (ONE | {"chat_template_kwargs": {"think": True}}, "column 'chat_template_kwargs'"),
}


@pytest.mark.parametrize("name", ["llamafactory", "ms-swift"])
@pytest.mark.parametrize(("row", "complaint"), UNFIT.values(), ids=UNFIT)
def test_what_a_layout_cannot_hold_is_left_out_and_named(make_run, tmp_path, name, row, complaint):
    run = make_run([ONE, row])
    exported = export_run(run, name, tmp_path / "out")
    ((line, reason),) = [(each.line, each.reason) for each in exported.left_out]
    assert (line, exported.num_pairs) == (2, 1)
    assert complaint in reason
    (left_out,) = (tmp_path / "out" / "left_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(left_out) == {"line": 2, "reason": reason, "row": row}
    assert export_run(run, "trl", tmp_path / "trl").left_out == ()
    assert export_run(run, "axolotl", tmp_path / "axolotl").left_out == ()


def test_where_no_row_is_left_nothing_is_written(make_run, tmp_path):
    with pytest.raises(UserError, match=r"no pair of .* can be expressed for llamafactory: 1 row is left out: column"):
        export_run(make_run([UNFIT["tool call"][0]]), "llamafactory", tmp_path / "out")


@pytest.mark.parametrize("name", ["llamafactory", "ms-swift"])
@pytest.mark.parametrize(
    "prompt",
    [[user("a"), user("b")], [user("a"), assistant("b")], [user("a"), SYSTEM, user("b")], [SYSTEM]],
    ids=["twice the user", "the assistant last", "system in the middle", "system alone"],
)
def test_turns_that_a_trainer_would_skip_are_named(make_run, tmp_path, name, prompt):
    (row,) = export_run(make_run([ONE, ONE | {"prompt": prompt}]), name, tmp_path / "out").left_out
    assert row.line == 2
    assert row.reason.startswith("column 'prompt': the turns are")


def test_openrlhf_renders_tool_calls_but_not_the_tools(make_run, tmp_path):
    run = make_run([ONE | {"chosen": [CALL]}])
    export_run(run, "openrlhf", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "kept.jsonl").read_text(encoding="utf-8"))["chosen"] == [CALL]


def test_every_format_is_tested():
    assert set(FORMATS) == {"trl", "llamafactory", "ms-swift", "axolotl", "openrlhf"}
