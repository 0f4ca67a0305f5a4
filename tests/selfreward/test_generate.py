"""The stage `generate`: its files, its counts, what it refuses, and that a kill changes no byte."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.listening import counting

import congrad.engines.endpoint as endpoint_module
from congrad.engines.interface import Reply, Sampling
from congrad.engines.local import LocalEngine
from congrad.errors import UserError
from congrad.selfreward.generate import collect, make_requests, run_generate, warnings
from congrad.selfreward.prompts import Prompt, load_prompts
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.settings.selfreward import Generate, Prompts
from congrad.stage import content_key

SMALL = Generate(samples=3, max_tokens=8, engine=Engine(batch_size=4))
KEY = "sk-very-secret-123"


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch):
    monkeypatch.setattr(endpoint_module, "FIRST_WAIT", 0.01)


@pytest.fixture
def prompts_path(tmp_path, save_rows) -> Path:
    rows = [{"prompt": f"{number}: Haus", "language": language} for number in range(3) for language in ("de", "en")]
    return save_rows(tmp_path / "prompts.jsonl", [*rows, rows[0]])


@pytest.fixture
def prompts(prompts_path) -> list[Prompt]:
    return load_prompts(Prompts(str(prompts_path)))


def rows(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "responses.jsonl").read_text().splitlines()]


def manifest(directory: Path) -> dict:
    return json.loads((directory / "manifest.json").read_text())


def complaint(*args) -> str:
    with pytest.raises(UserError) as caught:
        run_generate(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_files_hold_every_answer_in_the_order_of_prompts_and_samples(prompts, tiny_directory, tmp_path):
    told: list[tuple[str, int, int]] = []
    out = tmp_path / "out"
    run_generate(
        prompts, Model(str(tiny_directory)), SMALL, out, listener=counting(lambda *progress: told.append(progress))
    )
    assert told == [("generating", done, 18) for done in (0, 4, 8, 12, 16, 18)]
    found = rows(out)
    assert [(row["row"], row["sample"]) for row in found] == [(row, sample) for row in range(6) for sample in range(3)]
    for row in found:
        prompt = prompts[row["row"]]
        assert row["prompt_key"] == prompt.key == content_key(row["language"], row["prompt"])
        assert row["key"] == content_key(prompt.key, row["sample"])
        assert row["finish_reason"] in ("stop", "length")
        assert 1 <= row["num_tokens"] <= 8
    assert len({row["response"] for row in found}) == 18, "every sample has a seed of its own"
    counts = manifest(out)["languages"]
    assert (counts["de"]["prompts"], counts["de"]["repeated_prompts"], counts["de"]["samples"]) == (3, 1, 9)
    assert manifest(out)["chat"] is False
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    run_generate(prompts, Model(str(tiny_directory)), SMALL, out)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_killed_and_given_again_ends_in_the_same_bytes(prompts_path, prompts, tiny_directory, tmp_path):
    words = [sys.executable, str(Path(__file__).with_name("killed.py")), str(prompts_path), str(tiny_directory)]
    with subprocess.Popen([*words, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "4 18\n"
        process.send_signal(signal.SIGKILL)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["samples.jsonl", "stage.json"]
    log = tmp_path / "killed" / "samples.jsonl"
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # a kill in the middle of a write: a part of a batch is there

    model = Model(str(tiny_directory), dtype="float32")
    run_generate(prompts, model, SMALL, tmp_path / "killed")
    run_generate(prompts, model, SMALL, tmp_path / "whole")
    assert log.read_bytes().startswith(b"".join(lines[:3]))
    for name in ("responses.jsonl", "manifest.json", "stage.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_fault_in_the_middle_repeats_one_batch_at_most(prompts, tiny_directory, tmp_path, monkeypatch):
    real, calls = LocalEngine.answer, []

    def answer(self, batch):
        calls.append([each.request.key for each in batch])
        if len(calls) == 3:
            raise RuntimeError("pulled the plug")
        return real(self, batch)

    monkeypatch.setattr(LocalEngine, "answer", answer)
    model = Model(str(tiny_directory))
    with pytest.raises(RuntimeError, match="plug"):
        run_generate(prompts, model, SMALL, tmp_path / "out")
    run_generate(prompts, model, SMALL, tmp_path / "out")
    assert len(calls) == 5 + 1
    assert calls[2] == calls[3]
    monkeypatch.undo()
    run_generate(prompts, model, SMALL, tmp_path / "whole")
    assert (tmp_path / "out" / "responses.jsonl").read_bytes() == (tmp_path / "whole" / "responses.jsonl").read_bytes()


def test_another_batch_size_gives_the_same_answers(prompts, tiny_directory, tmp_path):
    for size in (1, 5):
        settings = Generate(samples=3, max_tokens=8, engine=Engine(batch_size=size))
        run_generate(prompts, Model(str(tiny_directory)), settings, tmp_path / str(size))
    assert rows(tmp_path / "1") == rows(tmp_path / "5")


def test_other_settings_do_not_go_on_with_answers_that_are_there(prompts, tiny_directory, chat_directory, tmp_path):
    model, out = Model(str(tiny_directory)), tmp_path / "out"
    run_generate(prompts, model, SMALL, out)
    hotter = Generate(samples=3, max_tokens=8, temperature=1.5, engine=Engine(batch_size=4))
    assert "temperature 0.8, now 1.5" in complaint(prompts, model, hotter, out)
    assert "was begun with other content of model" in complaint(prompts, Model(str(chat_directory)), SMALL, out)
    assert "was begun with other content of prompts" in complaint(prompts[:-1], model, SMALL, out)


def test_a_stage_without_an_answer_yet_begins_anew_with_mended_settings(prompts, tiny_directory, tmp_path):
    model, out = Model(str(tiny_directory)), tmp_path / "out"
    message = complaint(prompts, model, Generate(samples=3, max_tokens=5000, engine=Engine(batch_size=4)), out)
    assert message.startswith("row 0 (counted from 0) of the prompts, in de: a prompt of ")
    assert "lower max_tokens" in message
    run_generate(prompts, model, SMALL, out)
    assert len(rows(out)) == 18


# The endpoint


def settings_for(fake, **options) -> Generate:
    engine = {"kind": "openai", "url": fake.url, "concurrency": 2, "retries": 2, **options.pop("engine", {})}
    return Generate(samples=2, max_tokens=8, engine=Engine(**engine), **options)


def test_an_endpoint_that_stays_away_keeps_the_rows_and_the_same_call_goes_on(prompts, endpoint, tmp_path):
    endpoint.faults = [None] * 5
    endpoint.always = {"status": 503}
    settings, out = settings_for(endpoint), tmp_path / "out"
    message = complaint(prompts, Model("served-model"), settings, out)
    assert endpoint.url in message
    assert "run the same command" in message
    assert len((out / "samples.jsonl").read_text().splitlines()) == 5
    assert not (out / "manifest.json").exists()

    endpoint.always, count = None, len(endpoint.asked)
    moved = settings_for(endpoint, engine={"concurrency": 7, "timeout": 9.0})  # how it is asked decides nothing
    run_generate(prompts, Model("served-model"), moved, out)
    assert len(endpoint.asked) - count == 12 - 5
    run_generate(prompts, Model("served-model"), settings, tmp_path / "whole")
    assert (out / "responses.jsonl").read_bytes() == (tmp_path / "whole" / "responses.jsonl").read_bytes()


def test_the_key_is_in_no_file_and_in_nothing_that_is_said(prompts, endpoint, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    named = {"api_key_env": "OPENAI_API_KEY"}
    endpoint.faults = [None, None, None, {"status": 400, "body": {"error": {"message": f"bad key {KEY}"}}}]
    out = tmp_path / "out"
    message = complaint(prompts, Model("served-model"), settings_for(endpoint, engine={"concurrency": 1} | named), out)
    assert "row 1 (counted from 0) of the prompts, in en: " in message
    run_generate(prompts, Model("served-model"), settings_for(endpoint, engine=named), out)
    said = capfd.readouterr()
    assert all(each["headers"]["authorization"] == f"Bearer {KEY}" for each in endpoint.asked)
    assert KEY not in message + said.out + said.err
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "responses.jsonl",
        "samples.jsonl",
        "stage.json",
    ]
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_endpoint_asks_a_model_with_a_template_in_conversations(prompts, endpoint, chat_directory, tmp_path):
    run_generate(prompts[:1], Model(str(chat_directory)), settings_for(endpoint, system="Kurz."), tmp_path / "out")
    body = endpoint.asked[0]["body"]
    assert body["messages"] == [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "0: Haus"}]
    assert body["model"] == str(chat_directory)
    assert manifest(tmp_path / "out")["chat"] is True


def test_an_endpoint_whose_tokenizer_is_not_at_hand_is_chatted_with_unless_told(prompts, endpoint, tmp_path):
    run_generate(prompts[:1], Model("served-model"), settings_for(endpoint), tmp_path / "a")
    run_generate(prompts[:1], Model("served-model"), settings_for(endpoint, chat=False), tmp_path / "b")
    assert [each["path"] for each in endpoint.asked] == ["/v1/chat/completions"] * 2 + ["/v1/completions"] * 2


def test_an_endpoint_that_does_not_sample_is_told_of(prompts, endpoint, tmp_path):
    message = {"role": "assistant", "content": "immer dasselbe"}
    endpoint.always = {"body": {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}}
    out = tmp_path / "out"
    run_generate(prompts, Model("served-model"), settings_for(endpoint), out)
    assert [row["sample"] for row in rows(out)] == [0] * 6
    assert manifest(out)["languages"]["en"]["repeated"] == 3
    assert "does not sample" in manifest(out)["warnings"][0]


def test_nothing_but_empty_answers_is_an_error(prompts, endpoint, tmp_path):
    message = {"role": "assistant", "content": " \n"}
    endpoint.always = {"body": {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}}
    message = complaint(prompts, Model("served-model"), settings_for(endpoint), tmp_path / "out")
    assert "all 12 answers are empty" in message


# Without a model

SETTINGS_TABLE = {
    "temperature": ({"temperature": -1.0}, "generate.temperature -1.0: must be 0 or more"),
    "nan": ({"temperature": float("nan")}, "generate.temperature nan: must be"),
    "top p": ({"top_p": 0.0}, "generate.top_p 0.0: must be above 0"),
    "samples": ({"samples": 0}, "generate.samples 0: must be 1 or more"),
    "max tokens": ({"max_tokens": 0}, "generate.max_tokens 0: must be 1 or more"),
    "greedy": ({"temperature": 0.0}, "generate.temperature 0: makes all samples of a prompt the same"),
    "system": ({"chat": False, "system": "x"}, "generate.system would be ignored"),
    "blank system": ({"system": " "}, "generate.system is empty"),
}


@pytest.mark.parametrize(("options", "message"), SETTINGS_TABLE.values(), ids=SETTINGS_TABLE)
def test_bad_settings_are_refused_by_key(options, message):
    with pytest.raises(UserError) as caught:
        Generate(**options)
    assert str(caught.value).startswith(message)


TALK = Prompt("k", 7, "de", [{"role": "user", "content": "Na?"}])
CHAT_TABLE = {
    "asked for": (Prompt("k", 7, "de", "a"), {"chat": True}, "generate.chat true needs a chat template"),
    "system": (Prompt("k", 7, "de", "a"), {"system": "x"}, "generate.system needs a chat template"),
    "conversation": (TALK, {}, "row 7 (counted from 0) of the prompts, a conversation, needs a chat template"),
    "forbidden": (
        TALK,
        {"chat": False},
        "generate.chat false: row 7 (counted from 0) of the prompts is a conversation",
    ),
}


@pytest.mark.parametrize(("prompt", "options", "message"), CHAT_TABLE.values(), ids=CHAT_TABLE)
def test_a_chat_template_that_is_needed_and_not_there_is_said(prompt, options, message, tiny_directory, tmp_path):
    assert complaint([prompt], Model(str(tiny_directory)), Generate(**options), tmp_path).startswith(message)


def test_no_prompts_are_an_error(tiny_directory, tmp_path):
    assert "no prompts" in complaint([], Model(str(tiny_directory)), SMALL, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_seeds_differ_by_prompt_sample_and_seed_and_fit_any_endpoint():
    prompts = [Prompt(content_key("de", text), 0, "de", text) for text in "abc"]
    requests = [r for seed in (0, 1) for r in make_requests(prompts, 4, Sampling(seed=seed), None, chat=False)]
    seeds = [request.sampling.seed for request in requests]
    assert len(set(seeds)) == 2 * 3 * 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_empty_and_repeated_answers_are_left_out_and_counted():
    prompts = [Prompt("a", 0, "de", "?", repeats=2), Prompt("b", 4, "sw", "?")]
    texts = {"a": ["x", " \n", "x", "x "], "b": ["", "y", "y", "y"]}
    log = {}
    for prompt in prompts:
        for sample, text in enumerate(texts[prompt.key]):
            key = content_key(prompt.key, sample)
            reply = Reply(key, text, "length" if sample == 3 else "stop", 1)
            log[key] = {
                "key": key,
                "prompt_key": prompt.key,
                "sample": sample,
                "response": reply.text,
                "finish_reason": reply.finish_reason,
                "num_tokens": 1,
            }
    kept, counts = collect(prompts, 4, log)
    assert [(row["prompt_key"], row["sample"], row["response"]) for row in kept] == [
        ("a", 0, "x"),
        ("a", 3, "x "),
        ("b", 1, "y"),
    ]
    names = ("prompts", "repeated_prompts", "samples", "empty", "repeated", "cut", "responses")
    names = (*names, "prompts_with_one_response")
    assert counts == {
        "de": dict(zip(names, (1, 2, 4, 1, 1, 1, 2, 0), strict=True)),
        "sw": dict(zip(names, (1, 0, 4, 1, 2, 0, 1, 1), strict=True)),
    }
    assert warnings(counts, Generate()) == []
    cut = {"de": counts["de"] | {"cut": 2}, "sw": counts["sw"] | {"responses": 0}}
    assert warnings(cut, Generate(max_tokens=9)) == [
        "generate.max_tokens 9 cuts most answers in de",
        "all answers in sw are empty",
    ]
