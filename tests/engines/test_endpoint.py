"""The engine over HTTP against an endpoint that fails: what passes costs retries and no rows, the rest stops it."""

import asyncio
import email.utils
import threading
import time

import pytest

import congrad.engines.endpoint as module
from congrad.engines.interface import Reply, Request, RequestRefused, Sampling
from congrad.engines.open import open_engine
from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.model import Model

KEY = "sk-very-secret-123"
MODEL = Model("a-model")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def asked(count=6, **options) -> list[Request]:
    options = {"temperature": 0.8, "top_p": 0.9, "max_tokens": 7, **options}
    return [Request(f"r{i}", prompt=f"prompt {i}", sampling=Sampling(seed=100 + i, **options)) for i in range(count)]


def ask(fake, requests, done=(), **options) -> list[Reply]:
    engine = Engine(kind="openai", url=fake.url, **options)
    with open_engine(engine, MODEL) as opened:
        return sorted((r for group in opened.generate(requests, done) for r in group), key=lambda reply: reply.key)


def good(requests) -> list[Reply]:
    return [Reply(r.key, f"{r.prompt} {r.sampling.seed}", "length", 5) for r in requests]


def complaint(fake, requests, **options) -> str:
    with pytest.raises(UserError) as caught:
        ask(fake, requests, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_prompts_and_conversations_go_to_their_own_paths_with_all_settings(endpoint):
    messages = [{"role": "user", "content": "Na?"}]
    talk = Request("talk", messages=messages, sampling=Sampling(seed=5, temperature=0.0, top_p=0.5, max_tokens=3))
    replies = ask(endpoint, [*asked(1), talk])
    assert replies == [*good(asked(1)), Reply("talk", "Na? 5", "stop", 5)]
    by_path = {each["path"]: each["body"] for each in endpoint.asked}
    sampling = {"temperature": 0.8, "top_p": 0.9, "max_tokens": 7, "seed": 100}
    assert by_path["/v1/completions"] == {"model": "a-model", "prompt": "prompt 0", **sampling}
    sampling = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 3, "seed": 5}
    assert by_path["/v1/chat/completions"] == {"model": "a-model", "messages": messages, **sampling}


def test_options_are_added_to_the_body_and_null_leaves_a_field_out(endpoint):
    ask(endpoint, asked(1), model="served", options={"top_k": 4, "max_tokens": None, "temperature": 1.0})
    body = endpoint.asked[0]["body"]
    assert body == {"model": "served", "prompt": "prompt 0", "top_p": 0.9, "seed": 100, "top_k": 4, "temperature": 1.0}


def test_no_more_requests_than_allowed_are_under_way(endpoint):
    endpoint.always = {"sleep": 0.02}
    assert ask(endpoint, asked(30), concurrency=3) == sorted(good(asked(30)), key=lambda reply: reply.key)
    assert endpoint.most_busy == 3


def test_those_that_are_done_are_not_asked_again(endpoint):
    assert ask(endpoint, asked(4), done={"r1", "r3"}) == good([asked()[0], asked()[2]])
    assert len(endpoint.asked) == 2


FAULTS = {
    "busy": {"status": 429, "body": {"error": {"message": "slow down"}}},
    "server error": {"status": 500},
    "bad gateway, no JSON": {"status": 502, "junk": True},
    "overloaded": {"status": 503},
    "slow": {"sleep": 0.5},
    "half a body": {"half": True},
    "no JSON": {"junk": True},
    "no completion": {"body": {"choices": []}},
    "another shape": {"body": ["choices"]},
    "text that is none": {"body": {"choices": [{"index": 0, "text": 7}]}},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_costs_retries_and_no_rows(endpoint, fault):
    endpoint.faults = [fault, None, fault, fault]
    assert ask(endpoint, asked(), timeout=0.25, concurrency=2) == good(asked())
    assert len(endpoint.asked) == len(asked()) + 3


def test_an_answer_without_content_or_usage_is_an_empty_reply(endpoint):
    message = {"role": "assistant", "content": None}
    endpoint.faults = [{"body": {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]}}]
    talk = Request("talk", messages=[{"role": "user", "content": "Na?"}])
    assert ask(endpoint, [talk]) == [Reply("talk", "", "length", None)]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_all_requests_wait_for_as_long_as_the_endpoint_says(endpoint, form):
    value = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    endpoint.faults = [{"status": 429, "headers": {"Retry-After": value}}]
    assert ask(endpoint, asked(4), concurrency=1) == good(asked(4))
    first, second = endpoint.asked[:2]
    assert second["time"] - first["time"] >= 0.9


def test_an_endpoint_that_asks_for_an_hour_is_away(endpoint):
    endpoint.always = {"status": 503, "headers": {"Retry-After": "3600"}}
    assert "is not responding: HTTP 503" in complaint(endpoint, asked(1))
    assert len(endpoint.asked) == 1


def test_waits_double_and_are_spread_and_six_outlast_a_minute(endpoint, monkeypatch):
    import anyio

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr(module, "FIRST_WAIT", 1.0)
    endpoint.always = {"status": 500}
    complaint(endpoint, asked(1))
    assert [2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(slept)] == [True] * 6
    assert sum(slept) > 60
    assert len({wait / 2**n for n, wait in enumerate(slept)}) == 6


def test_one_that_goes_away_and_comes_back_costs_no_rows(endpoint):
    endpoint.always = {"sleep": 0.01}
    engine = Engine(kind="openai", url=endpoint.url, concurrency=2, retries=9)
    replies = []
    with open_engine(engine, MODEL) as opened:
        for number, group in enumerate(opened.generate(asked(12))):
            replies += group
            if number == 1:
                endpoint.close()
                threading.Timer(0.3, endpoint.open).start()
    assert sorted(replies, key=lambda reply: reply.key) == sorted(good(asked(12)), key=lambda reply: reply.key)


def test_one_that_stays_away_stops_with_where_and_how_to_go_on(endpoint):
    endpoint.close()
    message = complaint(endpoint, asked(2), retries=2)
    assert message.startswith(f"{endpoint.url} is not responding: ")
    assert "3 tries" in message
    assert "run the same command" in message


def test_replies_that_came_before_it_went_away_are_given_first(endpoint):
    endpoint.faults = [None, None]
    endpoint.always = {"status": 500}
    engine = Engine(kind="openai", url=endpoint.url, concurrency=4, retries=1)
    with open_engine(engine, MODEL) as opened:
        groups = opened.generate(asked())
        replies = next(groups)
        with pytest.raises(UserError, match="is not responding: HTTP 500"):
            replies.extend(reply for group in groups for reply in group)
    assert len(replies) == 2


def test_a_busy_endpoint_is_not_away_while_others_get_through(endpoint, monkeypatch):
    """A request that is turned down ten times, of two retries, is answered in the end."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.05)
    endpoint.always = {"sleep": 0.01}
    endpoint.turned_down = {"prompt 0": 10}
    requests = asked(80)
    assert ask(endpoint, requests, retries=2, concurrency=2) == sorted(good(requests), key=lambda reply: reply.key)
    assert endpoint.turned_down == {"prompt 0": 0}


REFUSALS = {
    "key": (401, ["refuses the key in OPENAI_API_KEY", "set the environment variable OPENAI_API_KEY"]),
    "forbidden": (403, ["refuses the key"]),
    "model": (404, ["does not have this path, or not the model 'a-model'", "engine.url and engine.model"]),
    "request": (400, ["refuses the request", "no such field"]),
}


@pytest.mark.parametrize(("status", "parts"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_pass_is_tried_once_and_the_key_is_shown_nowhere(
    endpoint, monkeypatch, tmp_path, capfd, status, parts
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    error = {"message": f"no such field; Incorrect API key provided: {KEY}", "code": "invalid"}
    endpoint.always = {"status": status, "body": {"error": error}}
    message = complaint(endpoint, asked(1), api_key_env="OPENAI_API_KEY")
    assert all(part in message for part in [endpoint.url, str(status), *parts]), message
    assert len(endpoint.asked) == 1
    assert endpoint.asked[0]["headers"]["authorization"] == f"Bearer {KEY}"
    out, err = capfd.readouterr()
    assert KEY not in message + out + err
    if status in (401, 403):
        assert "Incorrect" not in message, "some endpoints repeat a part of the key"


def test_the_request_that_is_refused_is_named(endpoint):
    endpoint.faults = [None, {"status": 400, "body": {"error": {"message": "too long"}}}]
    with pytest.raises(RequestRefused, match="too long") as caught:
        ask(endpoint, asked(3), concurrency=1)
    assert caught.value.request_key == "r1"


def test_a_key_that_is_needed_and_not_named_is_never_guessed(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint.always = {"status": 401}
    message = complaint(endpoint, asked(1))
    assert "needs a key (HTTP 401); name its variable in engine.api_key_env" in message
    assert "authorization" not in endpoint.asked[0]["headers"]


def test_a_variable_that_is_not_set_is_said_before_anything_is_sent(endpoint):
    message = complaint(endpoint, asked(1), api_key_env="MY_API_KEY")
    assert message.startswith("the environment variable MY_API_KEY is not set; set it, or leave engine.api_key_env out")
    assert not endpoint.asked


def test_a_key_that_no_header_holds_is_refused_and_not_shown(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    ask(endpoint, asked(1), api_key_env="OPENAI_API_KEY")
    assert endpoint.asked[0]["headers"]["authorization"] == f"Bearer {KEY}"
    for key in (f"{KEY}\n{KEY}", f"{KEY}é"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        message = complaint(endpoint, asked(1), api_key_env="OPENAI_API_KEY")
        assert "the environment variable OPENAI_API_KEY holds a character" in message
        assert KEY not in message


def test_it_works_beside_an_event_loop_that_runs(endpoint):
    """As in a notebook."""

    async def cell() -> list[Reply]:
        return ask(endpoint, asked(2))

    assert asyncio.run(cell()) == good(asked(2))


def test_who_stops_reading_leaves_nothing_running(endpoint):
    endpoint.always = {"sleep": 0.05}
    before = threading.active_count()
    with open_engine(Engine(kind="openai", url=endpoint.url, concurrency=2), MODEL) as opened:
        groups = opened.generate(asked(50))
        next(groups)
        groups.close()
    time.sleep(0.2)
    count = len(endpoint.asked)
    time.sleep(0.2)
    assert len(endpoint.asked) == count < 10
    assert threading.active_count() <= before + 2  # the endpoint's own


def test_marks_that_end_a_text_are_passed_on_and_cut_here_too(endpoint):
    (reply,) = ask(endpoint, [*asked(1, stop=("pt 0", " 1"))])
    assert endpoint.asked[0]["body"]["stop"] == ["pt 0", " 1"]
    assert reply == Reply("r0", "prom", "stop", 5)
