"""The stage `judge` with a model that is asked: its files by hand, what it refuses, and that a kill changes no byte."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.listening import counting

import congrad.selfreward.judge as judge_module
from congrad.engines.interface import Reply, Request
from congrad.engines.local import LocalEngine
from congrad.errors import UserError
from congrad.selfreward.judge import run_judge, who_judges
from congrad.selfreward.rubric import fill, read_template
from congrad.settings.engine import Engine
from congrad.settings.model import Model
from congrad.settings.selfreward import Judge
from congrad.stage import begin, content_key, finish, write_rows

RESPONSES = [("de", "Wie?", ["So.", "Anders, {prompt}."]), ("ja", "何？", ["これ。", "それ。"])]
MODEL = Model("somewhere", dtype="float32")  # nothing of it is there to be measured


def write_generated(directory: Path, *, chat: bool = True, system: str | None = None) -> Path:
    begin(directory, "generate", {"system": system})
    rows = [
        {
            "key": content_key(prompt, sample),
            "prompt_key": prompt,
            "row": row,
            "language": language,
            "prompt": prompt,
            "sample": sample,
            "response": response,
            "finish_reason": "stop",
            "num_tokens": 3,
        }
        for row, (language, prompt, texts) in enumerate(RESPONSES)
        for sample, response in enumerate(texts)
    ]
    write_rows(directory / "responses.jsonl", rows)
    finish(directory, {"chat": chat})
    return directory


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    return write_generated(tmp_path / "generate")


class FakeEngine:
    """Answers the i-th request of the list with the i-th text, in groups of five, the last first."""

    def __init__(self, texts: Sequence[str], *, finish_reason: str = "stop", stop_after: int | None = None) -> None:
        self.texts, self.finish_reason, self.stop_after = texts, finish_reason, stop_after
        self.requests: list[Request] = []
        self.groups = 0

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[list[Reply]]:
        self.requests = list(requests)
        replies = [
            Reply(request.key, text, self.finish_reason, 3)  # type: ignore[arg-type]
            for request, text in zip(requests, self.texts, strict=True)
        ]
        for start in range(len(replies) // 5 * 5, -1, -5):
            group = replies[start : start + 5]
            if all(reply.key in done for reply in group):
                continue
            if self.groups == self.stop_after:
                raise RuntimeError("pulled the plug")
            self.groups += 1
            yield group


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeEngine]:
    """Puts a fake engine in place, whose model has a chat template or not."""

    def put(texts: Sequence[str], *, chat: bool = True, **options: Any) -> FakeEngine:
        fake = FakeEngine(texts, **options)

        @contextmanager
        def open_fake(engine: Engine, model: Model, log: Path) -> Iterator[Callable[[], FakeEngine]]:
            yield lambda: fake

        monkeypatch.setattr(judge_module, "opened_when_asked", open_fake)
        monkeypatch.setattr(judge_module, "has_chat_template", lambda engine, model: chat)
        monkeypatch.setattr(judge_module, "identity", lambda engine, model: {"model": model.name})
        return fake

    return put


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scores(texts: Sequence[float | None]) -> list[str]:
    return ["no idea" if score is None else f"Fine.\nScore: {score}" for score in texts]


SCORES = [1, 2, 2, None, 4, None, None, None, None, 5, 5, 5]


def test_the_files_by_hand(generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]) -> None:
    fake = play(scores(SCORES))
    told: list[tuple[str, int, int]] = []
    out = tmp_path / "judge"
    run_judge(generated, MODEL, Judge(), out, listener=counting(lambda *progress: told.append(progress)))
    assert told == [("judging", done, 12) for done in (0, 2, 7, 12)]
    responses = rows(generated / "responses.jsonl")
    judgements = rows(out / "judgements.jsonl")
    assert [(row["response_key"], row["sample"]) for row in judgements] == [
        (row["key"], sample) for row in responses for sample in range(3)
    ]
    assert [row["score"] for row in judgements] == SCORES
    assert judgements[3]["text"] == "no idea"
    assert rows(out / "scores.jsonl") == [
        {"key": responses[0]["key"], "score": 5 / 3, "scores": [1, 2, 2]},
        {"key": responses[1]["key"], "score": 4, "scores": [None, 4, None]},
        {"key": responses[2]["key"], "score": None, "scores": [None, None, None]},
        {"key": responses[3]["key"], "score": 5, "scores": [5, 5, 5]},
    ]
    hygiene = json.loads((out / "hygiene.json").read_text())
    assert hygiene["languages"]["de"]["parse_rate"] == round(4 / 6, 4)
    assert hygiene["all"]["scored"] == 3
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["stage"], manifest["responses"], manifest["scored"]) == ("judge", 4, 3)
    assert manifest["warnings"] == []
    fake.stop_after = fake.groups
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    run_judge(generated, MODEL, Judge(), out)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_the_judge_is_asked_with_prompt_response_and_language(tmp_path: Path, play: Callable[..., FakeEngine]) -> None:
    generated = write_generated(tmp_path / "generate", system="Kurz.")
    fake = play(scores(SCORES))
    run_judge(generated, MODEL, Judge(temperature=0.5, max_tokens=99), tmp_path / "judge")
    prompt = "[system]\nKurz.\n\n[user]\nWie?"
    text = fill(read_template(None), prompt=prompt, response="Anders, {prompt}.", language="de")
    request = fake.requests[3]
    assert request.messages == [{"role": "user", "content": text}]
    assert "Anders, {prompt}." in text
    assert (request.prompt, request.sampling.temperature, request.sampling.max_tokens) == (None, 0.5, 99)
    assert len({each.sampling.seed for each in fake.requests}) == len({each.key for each in fake.requests}) == 12


def test_a_model_without_chat_template_goes_on_after_score(
    generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]
) -> None:
    fake = play([" 4\n\nScore: 1"] * 11 + ["I say\nScore: 3"], chat=False, finish_reason="length")
    run_judge(generated, MODEL, Judge(), tmp_path / "judge")
    assert fake.requests[0].messages is None
    assert str(fake.requests[0].prompt).endswith("Request: Wie?\nAnswer: So.\nScore:")
    assert [row["score"] for row in rows(tmp_path / "judge" / "judgements.jsonl")] == [4] * 11 + [None]


def test_a_template_of_the_users_is_left_as_it_is(
    generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]
) -> None:
    path = tmp_path / "template.txt"
    path.write_text("{prompt} {response}\nScore: N, 0 to 5, in {language}")
    fake = play(scores([3] * 12), chat=False)
    run_judge(generated, MODEL, Judge(template=str(path)), tmp_path / "judge")
    assert fake.requests[0].prompt == "Wie? So.\nScore: N, 0 to 5, in de"
    path.write_text("{prompt}{response}\nScore:")
    with pytest.raises(UserError, match="was begun with other content of template"):
        run_judge(generated, MODEL, Judge(template=str(path)), tmp_path / "judge")


def test_a_judge_that_never_parses_is_told_with_an_example(
    generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]
) -> None:
    out = tmp_path / "judge"
    fake = play([" "] + ["I \x1b[31mlike\x07 it.\nVery much. " + "x" * 300] * 11)
    with pytest.raises(UserError) as caught:
        run_judge(generated, MODEL, Judge(), out)
    message = str(caught.value)
    assert message.startswith("none of the 12 judgements gives a score that can be read; one says 'I \\x1b[31mlike")
    assert message.isprintable()
    assert len(message) < 500
    assert "judge.template" in message
    assert f"remove {out}" in message
    assert "max_tokens" not in message
    assert not (out / "manifest.json").exists()
    fake.stop_after = fake.groups
    with pytest.raises(UserError, match="none of the 12 judgements"):
        run_judge(generated, MODEL, Judge(), out)


def test_a_judge_that_is_always_cut_is_told_so(
    generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]
) -> None:
    play(["Well, let me"] * 12, finish_reason="length")
    with pytest.raises(UserError, match=r"raise judge\.max_tokens, which cut 12 of them"):
        run_judge(generated, MODEL, Judge(), tmp_path / "judge")


def test_a_language_that_never_parses_is_a_warning(
    generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]
) -> None:
    play(scores([3, 3, 3, 4, 4, 4] + [None] * 6))
    run_judge(generated, MODEL, Judge(), tmp_path / "judge")
    manifest = json.loads((tmp_path / "judge" / "manifest.json").read_text())
    assert manifest["warnings"] == ["the judge never gives a score that can be read in ja: they get no pairs"]


def test_interrupted_at_any_group_ends_in_the_same_bytes(
    generated: Path, tmp_path: Path, play: Callable[..., FakeEngine]
) -> None:
    play(scores(SCORES))
    run_judge(generated, MODEL, Judge(), tmp_path / "whole")
    for groups in range(3):
        out = tmp_path / f"after {groups}"
        play(scores(SCORES), stop_after=groups)
        with pytest.raises(RuntimeError, match="plug"):
            run_judge(generated, MODEL, Judge(), out)
        assert not (out / "manifest.json").exists()
        with (out / "raw.jsonl").open("ab") as file:
            file.write(b'{"key": "half a li')
        fake = play(scores(SCORES))
        run_judge(generated, MODEL, Judge(), out)
        assert fake.groups == 3 - groups
        for name in ("judgements.jsonl", "scores.jsonl", "hygiene.json", "manifest.json"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_in_process_an_interrupted_judge_repeats_one_batch_and_ends_in_the_same_bytes(
    generated: Path, tmp_path: Path, chat_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONGRAD_BFLOAT16", "slow")  # what is faster is measured, and may differ from run to run
    # A random model gives no scores: what it says is made one, so that every byte of it counts.
    monkeypatch.setattr(judge_module, "read_score", lambda text, **options: float(len(text) % 6))
    real, calls = LocalEngine.answer, []

    def answer(self: LocalEngine, batch: Any) -> list[Reply]:
        calls.append([each.request.key for each in batch])
        if len(calls) == 2:
            raise RuntimeError("pulled the plug")
        return real(self, batch)

    monkeypatch.setattr(LocalEngine, "answer", answer)
    path = tmp_path / "template.txt"
    path.write_text("{prompt} {response}\nScore:")
    settings = Judge(template=str(path), max_tokens=6)
    model, engine = Model(str(chat_directory)), Engine(batch_size=4)
    with pytest.raises(RuntimeError, match="plug"):
        run_judge(generated, model, settings, tmp_path / "killed", engine=engine)
    log = tmp_path / "killed" / "raw.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    log.write_bytes(b"".join(lines[:2]) + lines[2][:9])  # a kill in the middle of a write
    run_judge(generated, model, settings, tmp_path / "killed", engine=engine)
    assert len(calls) == 1 + 1 + 3  # the first batch lost rows, so it was computed once more
    run_judge(generated, model, settings, tmp_path / "whole", engine=engine)
    assert len({row["text"] for row in rows(log)}) > 6
    for name in ("judgements.jsonl", "scores.jsonl", "hygiene.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_judgement_that_does_not_fit_names_the_response(
    generated: Path, tmp_path: Path, chat_directory: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run_judge(generated, Model(str(chat_directory)), Judge(max_tokens=5000), tmp_path / "judge")
    message = str(caught.value)
    assert message.startswith("judging response 0 to row 0 (both counted from 0) of the prompts, in de: a prompt of")
    assert "lower max_tokens" in message


def test_an_unfinished_or_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold a finished stage generate"):
        run_judge(tmp_path / "nothing", MODEL, Judge(), tmp_path / "judge")
    begin(tmp_path / "pair", "pair", {})
    finish(tmp_path / "pair", {})
    with pytest.raises(UserError, match="holds the stage 'pair', not 'generate'"):
        run_judge(tmp_path / "pair", MODEL, Judge(), tmp_path / "judge")


def test_a_file_without_responses_is_damaged(generated: Path, tmp_path: Path) -> None:
    (generated / "responses.jsonl").write_bytes(b"")
    with pytest.raises(UserError, match=r"responses\.jsonl: damaged: no responses; run the stage that wrote it again"):
        run_judge(generated, MODEL, Judge(), tmp_path / "judge")


def test_who_judges() -> None:
    local = Engine()
    served = Engine(kind="openai", url="http://localhost:8000", model="served")
    started = Engine(kind="openai", url="http://localhost:8000", model="served", command="serve {model}")
    nameless = Engine(kind="openai", url="http://localhost:8000")
    own = Model("policy", adapter="adapter", device="cpu", reference="first", revision="main")
    other = Model("other", device="cpu")
    assert who_judges(Judge(), local, own) == (local, own)
    assert who_judges(Judge(), served, own) == (served, own)
    assert who_judges(Judge(model="other"), local, own) == (local, other)
    assert who_judges(Judge(engine=served), local, own) == (served, Model("served", device="cpu"))
    assert who_judges(Judge(engine=started), local, own) == (started, own)
    assert who_judges(Judge(engine=started, model="other"), local, own) == (started, other)
    assert who_judges(Judge(engine=nameless, model="other"), local, own) == (nameless, other)
    with pytest.raises(UserError, match=r"judge\.model would be ignored: the endpoint is asked for 'served'"):
        who_judges(Judge(model="other"), served, own)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"kind": "human"}, "judge.kind 'human': must be llm"),
        ({"samples": 0}, "judge.samples 0: must be 1 or more"),
        ({"max_tokens": 0}, "judge.max_tokens 0: must"),
        ({"temperature": -1.0}, "judge.temperature -1.0: must be 0 or more"),
        ({"temperature": float("nan")}, "judge.temperature nan"),
        ({"temperature": 0.0}, "judge.temperature 0: makes all judgements of a response the same"),
        ({"top_p": 0.0}, "judge.top_p 0.0: must"),
        ({"beta": 0.2}, "judge.beta would be ignored by a judge of kind llm"),
        ({"kind": "implicit-reward", "beta": 0.0}, "judge.beta 0.0: must be above 0"),
        (
            {"kind": "implicit-reward", "samples": 4},
            "judge.samples would be ignored by a judge",
        ),
        (
            {"kind": "implicit-reward", "template": "x"},
            "judge.template would be ignored by a judge",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_by_key(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        Judge(**settings)
    assert str(caught.value).startswith(complaint)
    Judge(temperature=0.0, samples=1)
    Judge(kind="implicit-reward", beta=0.2, seed=3)
