"""Win rates with a judge that is a function: values by hand, both orders, missing verdicts, a kill, the export."""

from collections.abc import Callable, Collection, Iterator, Sequence

import pytest

from congrad.engines.interface import Reply, Request, RequestRefused
from congrad.errors import UserError
from congrad.evaluation.winrate import (
    Answer,
    Judged,
    alpaca_outputs,
    answer_prompts,
    contests_of,
    describe_contest,
    judge_answers,
    verdict_rows,
    win_examples,
)
from congrad.selfreward.prompts import Prompt
from congrad.settings.engine import Engine
from congrad.settings.evaluation import WinRate
from congrad.settings.model import Model
from congrad.settings.selfreward import Prompts
from congrad.stage import content_key

SETTINGS = WinRate(Prompts("prompts.jsonl"), template=None)


class FakeEngine:
    """Answers by a function, in groups of two, the last first."""

    def __init__(self, reply: Callable[[Request], str], dies_after: int | None = None) -> None:
        self.reply, self.dies_after = reply, dies_after
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[list[Reply]]:
        left = [request for request in reversed(requests) if request.key not in done]
        for start in range(0, len(left), 2):
            if self.dies_after is not None and len(self.asked) >= self.dies_after:
                raise KeyboardInterrupt
            group = left[start : start + 2]
            self.asked += group
            yield [Reply(request.key, self.reply(request), "stop", 7) for request in group]


def prompt(number: int, language: str = "de") -> Prompt:
    text = f"{language} {number}?"
    return Prompt(content_key(language, text), number, language, text)


def answers(*texts: str) -> list[Answer]:
    return [Answer(text, len(text.split())) for text in texts]


def parts(request: Request) -> tuple[str, str]:
    """The two answers that a judge is shown."""
    text = request.prompt if request.messages is None else request.messages[0]["content"]
    return tuple(text.split(f"<answer_{name}>\n")[1].split(f"\n</answer_{name}>")[0] for name in "ab")


def judge(reply: Callable[[Request], str], tmp_path, tiny_directory, given, contests=(("M1", "M0"),), **options):
    engine = FakeEngine(reply, **options)
    prompts = [prompt(number, language) for number, language in enumerate(["de", "de", "sw", "sw"])]
    judged = judge_answers(
        lambda: engine,
        Model(str(tiny_directory)),
        Engine(),
        prompts,
        given,
        contests,
        SETTINGS,
        tmp_path / "verdicts.jsonl",
    )
    return judged, engine


GIVEN = {
    "M0": answers("bad", "good", "same", "bad"),
    "M1": answers("good", "bad", "same ", "good"),
}


def by_quality(request: Request) -> str:
    one, two = parts(request)
    return "A" if one == "good" else "B" if two == "good" else "tie"


def test_the_better_answer_wins_wherever_it_stands(tmp_path, tiny_directory):
    judged, engine = judge(by_quality, tmp_path, tiny_directory, GIVEN)
    (own,) = judged.values()
    assert [each.value for each in own] == [1.0, 0.0, 0.5, 1.0]
    won, lost = ("first", "second"), ("second", "first")
    assert [each.verdicts for each in own] == [won, lost, ("tie", "tie"), won]
    assert len(engine.asked) == 6, "the same answers need no judge"
    assert {parts(request) for request in engine.asked} == {("good", "bad"), ("bad", "good")}
    assert all(request.sampling.temperature == 0 for request in engine.asked)
    examples = win_examples(own)
    assert {language: each.numerator_N.tolist() for language, each in examples.items()} == {
        "de": [1.0, 0.0],
        "sw": [0.5, 1.0],
    }
    assert win_examples(own, reverse=True)["sw"].numerator_N.tolist() == [0.5, 0.0]


def test_a_judge_that_always_takes_the_first_gives_half_and_is_found_out(tmp_path, tiny_directory):
    judged, _ = judge(lambda request: "A", tmp_path, tiny_directory, GIVEN)
    (own,) = judged.values()
    assert [each.value for each in own] == [0.5] * 4
    told = describe_contest(own)
    assert (told["follows_place"], told["first_place_wins"], told["ties"]) == (1.0, 1.0, 0.0)


def test_what_cannot_be_read_is_missing_and_never_a_win(tmp_path, tiny_directory):
    def sometimes(request: Request) -> str:
        one, _ = parts(request)
        return "A" if one == "good" else "I cannot say"

    judged, _ = judge(sometimes, tmp_path, tiny_directory, GIVEN)
    (own,) = judged.values()
    assert [each.value for each in own] == [None, None, 0.5, None], "one order alone would be half a judgement"
    told = describe_contest(own)
    assert (told["prompts"], told["same_answer"], told["missing"]) == (4, 1, 3)
    assert (told["judgements"], told["unparsable"]) == (6, 3)
    assert told["follows_place"] is None
    assert {language: len(examples) for language, examples in win_examples(own).items()} == {"de": 0, "sw": 1}


def test_counts_by_hand():
    one, two = Answer("abcd", 2), Answer("ab", None)
    own = [
        Judged(prompt(0), one, two, ("first", "second"), ("", "")),
        Judged(prompt(1), one, two, ("second", "second"), ("", "")),
        Judged(prompt(2), one, two, ("tie", "first"), ("", "")),
        Judged(prompt(3), one, two, ("tie", "tie"), (None, None)),
    ]
    assert [each.value for each in own] == [1.0, 0.5, 0.25, 0.5]
    assert describe_contest(own) == {
        "prompts": 4,
        "same_answer": 1,
        "missing": 0,
        "judgements": 6,
        "unparsable": 0,
        "ties": 1 / 6,
        "follows_place": 1 / 3,
        "first_place_wins": 2 / 5,
        "mean_characters": [4.0, 2.0],
        "mean_tokens": [2.0, None],
    }


def test_judging_goes_on_after_a_kill(tmp_path, tiny_directory):
    for name in "ab":
        (tmp_path / name).mkdir()
    whole, _ = judge(by_quality, tmp_path / "a", tiny_directory, GIVEN)
    with pytest.raises(KeyboardInterrupt):
        judge(by_quality, tmp_path / "b", tiny_directory, GIVEN, dies_after=4)
    judged, engine = judge(by_quality, tmp_path / "b", tiny_directory, GIVEN)
    assert len(engine.asked) == 2
    assert verdict_rows(judged) == verdict_rows(whole)


def test_every_row_says_who_stood_where(tmp_path, tiny_directory):
    judged, _ = judge(by_quality, tmp_path, tiny_directory, GIVEN)
    rows = verdict_rows(judged)
    assert len(rows) == 8
    assert [(row["first"], row["second"], row["verdict"]) for row in rows[:2]] == [
        ("M1", "M0", "first"),
        ("M0", "M1", "second"),
    ]
    assert len({row["key"] for row in rows}) == 8


def test_contests_are_with_m0_and_with_the_named_baselines():
    models = ["M0", "random", "ConGrad"]
    assert contests_of(models, "M0", {}) == [("random", "M0"), ("ConGrad", "M0")]
    assert contests_of(models, "M0", {"ConGrad": ["random", "M0", "ConGrad"]}) == [
        ("random", "M0"),
        ("ConGrad", "M0"),
        ("ConGrad", "random"),
    ]


def test_answers_are_asked_for_once_and_exported(tmp_path, tiny_directory):
    prompts = [prompt(number) for number in range(3)]
    engine = FakeEngine(lambda request: f"to {request.prompt}")
    arguments = (prompts, Model(str(tiny_directory)), SETTINGS, Engine(), tmp_path / "answers.jsonl")
    found = answer_prompts(lambda: engine, *arguments)
    assert [answer.text for answer in found] == ["to de 0?", "to de 1?", "to de 2?"]

    def closed():
        raise AssertionError("nothing is left to ask")

    assert answer_prompts(closed, *arguments) == found
    assert alpaca_outputs("ConGrad, round 1", prompts, found)[1] == {
        "instruction": "de 1?",
        "output": "to de 1?",
        "generator": "ConGrad, round 1",
        "dataset": "de",
        "language": "de",
    }


def test_a_refused_prompt_is_named(tmp_path, tiny_directory):
    class Refuses:
        def generate(self, requests, done=()):
            raise RequestRefused(requests[1].key, "a prompt of 9000 tokens is too long")

    prompts = [prompt(number, "sw") for number in (4, 9)]
    with pytest.raises(UserError, match=r"row 9 .* in sw: a prompt of 9000 tokens"):
        answer_prompts(Refuses, prompts, Model(str(tiny_directory)), SETTINGS, Engine(), tmp_path / "answers.jsonl")
    asks = WinRate(Prompts("x"), chat=True)
    with pytest.raises(UserError, match=r"^evaluate\.win_rate\.chat true needs a chat template"):
        answer_prompts(Refuses, prompts, Model(str(tiny_directory)), asks, Engine(), tmp_path / "answers.jsonl")
