"""Asking: rows by key in the order of the requests, asked for once, and refusals placed."""

import json
from collections.abc import Iterator, Sequence

import pytest

from congrad.engines.ask import as_messages, ask, make_request, seeded
from congrad.engines.interface import Reply, Request, RequestRefused, Sampling
from congrad.errors import UserError

REQUESTS = [Request(key, prompt=key.upper()) for key in "abcd"]


class Backwards:
    """Answers two at a time, the last first, with the prompt; stops after so many groups."""

    def __init__(self, groups: int = 2) -> None:
        self.groups = groups

    def generate(self, requests: Sequence[Request], done=()) -> Iterator[list[Reply]]:
        left = [request for request in reversed(requests) if request.key not in done]
        for start in range(0, len(left), 2):
            if self.groups == 0:
                raise KeyboardInterrupt
            self.groups -= 1
            yield [Reply(each.key, " " if each.prompt == "B" else each.prompt, "stop", 1) for each in left[start:][:2]]


def never():
    raise AssertionError("nothing is left to ask")


def test_rows_come_in_the_order_of_the_requests_and_are_asked_for_once(tmp_path):
    path, told = tmp_path / "rows.jsonl", []
    with pytest.raises(KeyboardInterrupt):
        ask(REQUESTS, path, lambda: Backwards(1), str)
    answers, missing = ask(REQUESTS, path, lambda: Backwards(), str, told.append)
    assert missing == 1
    assert [row["text"] for row in answers.values()] == ["A", " ", "C", "D"]
    assert list(answers) == list("abcd")
    assert told == [2, 4]
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == list("dcba")
    assert ask(REQUESTS, path, never, str) == (answers, missing)


def test_a_row_is_what_the_caller_keeps_of_a_reply(tmp_path):
    path = tmp_path / "rows.jsonl"
    keep = {"row": lambda reply: {"key": reply.key, "said": reply.text}, "text": "said"}
    answers, _ = ask(REQUESTS, path, lambda: Backwards(), str, **keep)
    assert answers["a"] == {"key": "a", "said": "A"}
    assert path.read_text().splitlines()[0] == '{"key":"d","said":"D"}'


def test_a_refused_request_is_named_by_its_place(tmp_path):
    class Refuses:
        def generate(self, requests, done=()):
            raise RequestRefused("c", "too long")

    with pytest.raises(UserError, match=r"^row 7: too long$"):
        ask(REQUESTS, tmp_path / "rows.jsonl", Refuses, {"c": "row 7"}.__getitem__)


def test_a_request_is_a_conversation_or_plain_text():
    sampling = Sampling(0.0, stop=("\n",))
    assert make_request("k", "Na?", sampling, chat=False) == Request("k", prompt="Na?", sampling=sampling)
    talk = make_request("k", "Na?", sampling, chat=True, system="Kurz.")
    assert talk.messages == as_messages("Na?", "Kurz.")


def test_a_seed_follows_from_all_that_it_is_for():
    one = seeded(Sampling(seed=1), "judge", "key", 0)
    assert one == seeded(Sampling(seed=1), "judge", "key", 0)
    others = [(2, "judge", "key", 0), (1, "generate", "key", 0), (1, "judge", "key", 1)]
    assert one.seed not in {seeded(Sampling(seed=seed), *parts).seed for seed, *parts in others}
    assert 0 <= one.seed < 2**31


def test_a_system_message_goes_before_prompts_that_bring_none():
    own = [{"role": "system", "content": "Lang."}, {"role": "user", "content": "Na?"}]
    assert as_messages("Na?", None) == [{"role": "user", "content": "Na?"}]
    assert as_messages(own[1:], "Kurz.") == [{"role": "system", "content": "Kurz."}, own[1]]
    assert as_messages(own, "Kurz.") == own
