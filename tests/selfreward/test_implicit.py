"""The implicit reward against log-softmax of plain forwards, one response at a time."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.listening import counting
from transformers import AutoModelForCausalLM, AutoTokenizer

from congrad.errors import UserError
from congrad.gradients.logps import batch_logps
from congrad.selfreward.judge import run_judge
from congrad.settings.model import Model
from congrad.settings.selfreward import Judge
from congrad.stage import begin, content_key, finish, write_rows

IMPLICIT = Judge(kind="implicit-reward", beta=0.3)
# Three answers, so that one is left over; two that merge with the prompt's end or begin alike; one of a single token.
RESPONSES = [
    ("Haus", [" Baum und Regen", " Baum", "s Käse"]),
    ("tree?", [" street", "\nbird bird bird"]),
    ("mti", ["a"]),
]


@pytest.fixture(scope="module")
def trained(chat_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chat model after it has learnt something."""
    directory = tmp_path_factory.mktemp("models") / "trained"
    shutil.copytree(chat_directory, directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(directory)
    return directory


def write_generated(directory: Path, *, chat: bool) -> Path:
    begin(directory, "generate", {"system": "Kurz." if chat else None})
    rows = [
        {
            "key": content_key(prompt, sample),
            "prompt_key": prompt,
            "row": row,
            "language": "de",
            "prompt": prompt,
            "sample": sample,
            "response": text,
            "finish_reason": "stop",
            "num_tokens": 3,
        }
        for row, (prompt, texts) in enumerate(RESPONSES)
        for sample, text in enumerate(texts)
    ]
    write_rows(directory / "responses.jsonl", rows)
    finish(directory, {"chat": chat})
    return directory


def tokens(tokenizer: Any, prompt: str, response: str, *, chat: bool) -> tuple[list[int], list[int]]:
    if not chat:
        return tokenizer(prompt)["input_ids"], tokenizer(prompt + response + tokenizer.eos_token)["input_ids"]
    messages = [{"role": "system", "content": "Kurz."}, {"role": "user", "content": prompt}]
    answered = [*messages, {"role": "assistant", "content": response}]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    return asked, tokenizer.apply_chat_template(answered, return_dict=True)["input_ids"]


@torch.no_grad()
def plain_logps(directory: Path, *, chat: bool) -> list[float]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    found = []
    for prompt, texts in RESPONSES:
        pairs = [tokens(tokenizer, prompt, text, chat=chat) for text in texts]
        start = min(
            next((i for i, (one, other) in enumerate(zip(alone, whole, strict=False)) if one != other), len(alone))
            for alone, whole in pairs
        )
        for _, whole in pairs:
            logp_TV = model(torch.tensor([whole])).logits[0].double().log_softmax(dim=-1)
            found.append(sum(logp_TV[i - 1, whole[i]].item() for i in range(start, len(whole))))
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("chat", [False, True])
def test_rewards_are_those_of_plain_forwards(chat: bool, chat_directory: Path, trained: Path, tmp_path: Path) -> None:
    generated, out = write_generated(tmp_path / "generate", chat=chat), tmp_path / "judge"
    told: list[tuple[str, int, int]] = []
    run_judge(
        generated,
        Model(str(trained), dtype="float32"),
        IMPLICIT,
        out,
        reference=Model(str(chat_directory), dtype="float32"),
        listener=counting(lambda *progress: told.append(progress)),
    )
    policy, reference = plain_logps(trained, chat=chat), plain_logps(chat_directory, chat=chat)
    judgements = rows(out / "judgements.jsonl")
    assert [row["policy_logp"] for row in judgements] == pytest.approx(policy, rel=1e-4)
    assert [row["reference_logp"] for row in judgements] == pytest.approx(reference, rel=1e-4)
    rewards = [0.3 * (one - other) for one, other in zip(policy, reference, strict=True)]
    assert max(map(abs, rewards)) > 0.05
    scores = rows(out / "scores.jsonl")
    assert [row["score"] for row in scores] == pytest.approx(rewards, abs=1e-3)
    assert [row["key"] for row in scores] == [row["key"] for row in rows(generated / "responses.jsonl")]
    assert (told[0], told[-1]) == (("judging", 0, 12), ("judging", 12, 12))
    hygiene = json.loads((out / "hygiene.json").read_text())
    assert (hygiene["all"]["parse_rate"], hygiene["all"]["entropy_bits"], hygiene["all"]["alpha"]) == (1, None, None)


def test_the_reference_may_be_named_by_the_model(chat_directory: Path, trained: Path, tmp_path: Path) -> None:
    generated = write_generated(tmp_path / "generate", chat=True)
    run_judge(
        generated, Model(str(trained), dtype="float32", reference=str(chat_directory)), IMPLICIT, tmp_path / "named"
    )
    run_judge(
        generated,
        Model(str(trained), dtype="float32"),
        IMPLICIT,
        tmp_path / "given",
        reference=Model(str(chat_directory), dtype="float32"),
    )
    assert (tmp_path / "named" / "scores.jsonl").read_bytes() == (tmp_path / "given" / "scores.jsonl").read_bytes()


def test_a_policy_that_is_its_reference_has_no_reward(chat_directory: Path, tmp_path: Path) -> None:
    generated = write_generated(tmp_path / "generate", chat=True)
    copy = shutil.copytree(chat_directory, tmp_path / "copy")
    with pytest.raises(UserError, match="gives every answer a reward of 0, as the model is its own reference"):
        run_judge(
            generated,
            Model(str(chat_directory), dtype="float32"),
            IMPLICIT,
            tmp_path / "judge",
            reference=Model(str(copy), dtype="float32"),
        )
    with pytest.raises(UserError, match=r"there is none; set model\.reference"):
        run_judge(generated, Model(str(chat_directory), dtype="float32"), IMPLICIT, tmp_path / "judge")
    assert not (tmp_path / "judge").exists()


def test_interrupted_between_batches_it_goes_on_and_ends_in_the_same_bytes(
    chat_directory: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, passes = batch_logps, []

    def small(model: Any, triples: Any, done: Any) -> Iterator[Any]:  # a budget for one pair of responses at a time
        for batch in real(model, triples, done, budget=1):
            passes.append(model)
            yield batch

    monkeypatch.setattr("congrad.gradients.logps.batch_logps", small)
    generated = write_generated(tmp_path / "generate", chat=True)

    def judge(out: Path, stop_at: int | None = None) -> None:
        def stop(stage: str, done: int, total: int) -> None:
            if done == stop_at:
                raise RuntimeError("pulled the plug")

        reference = Model(str(chat_directory), dtype="float32")
        run_judge(
            generated, Model(str(trained), dtype="float32"), IMPLICIT, out, reference=reference, listener=counting(stop)
        )

    judge(tmp_path / "whole")
    assert len(passes) == 2 * 4  # pairs of 2 + 1, 2 and 1 responses
    passes.clear()
    with pytest.raises(RuntimeError, match="plug"):
        judge(tmp_path / "killed", stop_at=8)
    judge(tmp_path / "killed")
    assert len(passes) == 2 * 4
    for name in ("judgements.jsonl", "scores.jsonl", "hygiene.json", "manifest.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_without_a_finite_log_probability_there_is_no_score(
    chat_directory: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, triples: Any, done: Any) -> Iterator[Any]:
        yield list(range(len(triples))), torch.full((len(triples), 2), torch.nan)

    monkeypatch.setattr("congrad.gradients.logps.batch_logps", broken)
    generated, out = write_generated(tmp_path / "generate", chat=True), tmp_path / "judge"
    with pytest.raises(UserError, match=r"no log-probability of a response is finite; set model\.dtype to float32"):
        run_judge(
            generated,
            Model(str(trained), dtype="float32"),
            IMPLICIT,
            out,
            reference=Model(str(chat_directory), dtype="float32"),
        )
