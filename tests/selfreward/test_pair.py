"""The stage `pair`: its settings, its files, and that TRL trains on what it writes."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from tests.listening import counting
from transformers import AutoModelForCausalLM, AutoTokenizer

from congrad.errors import UserError
from congrad.preferences import load_preferences, tokenise
from congrad.selfreward.pair import run_pair
from congrad.settings.selfreward import Pair
from congrad.stage import begin, content_key, finish, write_rows


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"method": "best"}, "pair.method 'best': must be one of best-worst, all, best-random"),
        ({"language": "on"}, "pair.language 'on': must be one of off, penalise, drop"),
        ({"min_margin": -0.5}, "pair.min_margin -0.5: must be 0 or more"),
        ({"length_control": float("nan")}, "pair.length_control nan: must be a finite number, 0 or more"),
        ({"language_penalty": 2.0}, "pair.language_penalty would be ignored; leave it out"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_key(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        Pair(**settings)
    assert str(caught.value).startswith(complaint)


# The stage

DE = [
    "Die Sonne geht am Morgen auf und am Abend hinter den fernen Bergen unter.",
    "Am Morgen scheint die Sonne auf das Haus, und der Vogel singt im Baum.",
]
EN = "The sun rises in the morning and sets behind the distant mountains in the evening."
Judged = list[tuple[str, str | list[dict[str, str]], list[tuple[str, float | None]]]]
JUDGED: Judged = [
    ("de", "Wann geht die Sonne auf?", [(DE[0], 2), (EN, 5), (DE[1], 4)]),
    ("de", "Wann singt der Vogel?", [(DE[0], None), (DE[1], 3)]),
    ("en", "When?", [(EN, 3), ("OK", 3)]),
    ("Klingon", "nuqneH?", [(EN, 1), (DE[0], 1.5)]),
]


def write_stages(
    directory: Path, judged: Judged = JUDGED, *, chat: bool = False, system: str | None = None
) -> tuple[Path, Path]:
    generate, judge = directory / "generate", directory / "judge"
    begin(generate, "generate", {"system": system})
    responses, scores = [], []
    for row, (language, prompt, answers) in enumerate(judged):
        for sample, (response, score) in enumerate(answers):
            key = content_key(row, sample)
            told = {"language": language, "prompt": prompt, "sample": sample, "response": response}
            responses.append({"key": key, "prompt_key": f"p{row}", "row": row, **told, "num_tokens": 10 + sample})
            scores.append({"key": key, "score": score, "scores": [score]})
    write_rows(generate / "responses.jsonl", responses)
    finish(generate, {"chat": chat})
    begin(judge, "judge", {})
    write_rows(judge / "scores.jsonl", scores)
    finish(judge, {})
    return generate, judge


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def manifest(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return found


def test_the_files_by_hand(tmp_path: Path) -> None:
    stages, out = write_stages(tmp_path), tmp_path / "pair"
    run_pair(*stages, Pair(), out)
    assert rows(out / "pairs.jsonl") == [
        {
            "prompt": "Wann geht die Sonne auf?",
            "chosen": EN,
            "rejected": DE[0],
            "language": "de",
            "margin": 3,
            "chosen_score": 5,
            "rejected_score": 2,
            "chosen_length": len(EN),
            "rejected_length": len(DE[0]),
            "chosen_tokens": 11,
            "rejected_tokens": 10,
            "chosen_language": "en",
            "rejected_language": "de",
            "chosen_key": content_key(0, 1),
            "rejected_key": content_key(0, 0),
            "prompt_key": "p0",
            "row": 0,
        },
        {
            "prompt": "nuqneH?",
            "chosen": DE[0],
            "rejected": EN,
            "language": "Klingon",
            "margin": 0.5,
            "chosen_score": 1.5,
            "rejected_score": 1,
            "chosen_length": len(DE[0]),
            "rejected_length": len(EN),
            "chosen_tokens": 11,
            "rejected_tokens": 10,
            "chosen_language": "de",
            "rejected_language": "en",
            "chosen_key": content_key(3, 1),
            "rejected_key": content_key(3, 0),
            "prompt_key": "p3",
            "row": 3,
        },
    ]
    report = json.loads((out / "language.json").read_text())
    assert report["languages"]["de"] == {
        "answers": 5,
        "told": 5,
        "off_target": 1,
        "off_target_rate": 0.2,
        "instead": {"en": 1},
    }
    assert report["languages"]["en"]["told"] == 1
    assert report["unknown"] == ["Klingon"]
    found = manifest(out)
    assert found["pairs"] == 2
    assert found["languages"]["de"] == {
        "pairs": 1,
        "prompts": 2,
        "paired": 1,
        "single_response": 0,
        "missing_scores": 1,
        "dropped_for_language": 0,
        "ties": 0,
        "below_min_margin": 0,
    }
    assert found["languages"]["en"]["ties"] == 1
    assert found["warnings"] == [
        "en gets no pairs: of 1 prompts 1 are ties; raise judge.samples or name a judge that distinguishes responses "
        "better",
        "the language of responses cannot be checked in Klingon: lingua does not know a language of that name",
        "responses are in another language than their prompt's in de (20%); see pair.language",
    ]
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    run_pair(*stages, Pair(), out)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_the_language_decides_where_it_is_asked_to(tmp_path: Path) -> None:
    stages = write_stages(tmp_path)
    run_pair(*stages, Pair(language="drop"), tmp_path / "drop")
    first = rows(tmp_path / "drop" / "pairs.jsonl")[0]
    assert (first["chosen"], first["rejected"], first["margin"]) == (DE[1], DE[0], 2)
    assert len(manifest(tmp_path / "drop")["warnings"]) == 2
    run_pair(*stages, Pair(language="penalise", language_penalty=4.0), tmp_path / "penalise")
    first = rows(tmp_path / "penalise" / "pairs.jsonl")[0]
    assert (first["chosen"], first["rejected"], first["margin"]) == (DE[1], EN, 3)
    assert (first["chosen_score"], first["rejected_score"]) == (4, 5)
    assert len(rows(tmp_path / "penalise" / "pairs.jsonl")) == 2  # what is unknown is not wrong


def test_a_round_that_leaves_no_pairs_says_what_became_of_the_prompts(tmp_path: Path) -> None:
    judged: Judged = [
        ("de", "a", [(DE[0], 3), (DE[1], 3)]),
        ("de", "b", [(DE[0], 3.5), (DE[1], 3)]),
        ("de", "c", [(DE[0], 3), (EN, 5)]),
        ("de", "d", [(DE[0], None), (DE[1], 3)]),
        ("de", "e", [(DE[0], 3)]),
        ("en", "f", [(EN, 2), ("OK", 2)]),
    ]
    stages, out = write_stages(tmp_path, judged), tmp_path / "pair"
    with pytest.raises(UserError) as caught:
        run_pair(*stages, Pair(min_margin=0.5, language="drop"), out)
    assert str(caught.value) == (
        "no pairs are left: of 6 prompts 1 have a single response, 1 lack scores, 1 lost their responses because of "
        "their language, 2 are ties, 1 differ by pair.min_margin or less; raise judge.samples or name a judge that "
        "distinguishes responses better"
    )
    assert not (out / "manifest.json").exists()
    assert json.loads((out / "language.json").read_text())["languages"]["de"]["off_target"] == 1
    run_pair(*stages, Pair(language="drop"), out)  # mended settings may use the directory: it held no pairs
    assert len(rows(out / "pairs.jsonl")) == 1


def test_interrupted_before_the_end_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    stages = write_stages(tmp_path)
    run_pair(*stages, Pair(method="all"), tmp_path / "whole")
    killed = tmp_path / "killed"

    def pull(stage: str, done: int, total: int) -> None:
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        run_pair(*stages, Pair(method="all"), killed, listener=counting(pull))
    run_pair(*stages, Pair(method="all"), killed)
    (killed / "manifest.json").unlink()  # a kill between the pairs and the manifest
    with pytest.raises(UserError, match='method "all", now "best-worst"'):
        run_pair(*stages, Pair(), killed)
    run_pair(*stages, Pair(method="all"), killed)
    for name in ("pairs.jsonl", "language.json", "manifest.json"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_inputs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    generate, judge = write_stages(tmp_path / "one")
    _, other = write_stages(tmp_path / "other", JUDGED[1:])
    with pytest.raises(UserError, match="holds scores of other responses"):
        run_pair(generate, other, Pair(), tmp_path / "pair")
    with pytest.raises(UserError, match="holds the stage 'judge', not 'generate'"):
        run_pair(judge, judge, Pair(), tmp_path / "pair")
    with pytest.raises(UserError, match="does not hold a finished stage judge"):
        run_pair(generate, tmp_path / "none", Pair(), tmp_path / "pair")


@pytest.mark.parametrize("chat", [False, True])
def test_congrad_and_trl_take_the_pairs_and_see_the_same_tokens(
    chat: bool, chat_directory: Path, tmp_path: Path
) -> None:
    from trl import DPOConfig, DPOTrainer

    judged = list(JUDGED)
    if chat:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        judged.append(("en", [*turns, {"role": "user", "content": "c"}], [(EN, 3), ("OK", 2)]))
    stages = write_stages(tmp_path, judged, chat=chat, system="Kurz." if chat else None)
    run_pair(*stages, Pair(), tmp_path / "pair")
    path = tmp_path / "pair" / "pairs.jsonl"
    first = rows(path)[0]
    if chat:
        question = {"role": "user", "content": "Wann geht die Sonne auf?"}
        assert first["prompt"] == [{"role": "system", "content": "Kurz."}, question]
        assert first["chosen"] == [{"role": "assistant", "content": EN}]
        assert [turn["role"] for turn in rows(path)[2]["prompt"]] == ["system", "user", "assistant", "user"]

    preferences = load_preferences(path)
    tags = {"Klingon": "tlh"}
    assert preferences.languages == [tags.get(row["language"], row["language"]) for row in rows(path)]
    tokenizer = AutoTokenizer.from_pretrained(chat_directory)
    ours = tokenise(preferences, tokenizer)
    assert ours.reasons == [""] * len(rows(path))

    model = AutoModelForCausalLM.from_pretrained(chat_directory)
    trainer = DPOTrainer(
        model=model,
        ref_model=AutoModelForCausalLM.from_pretrained(chat_directory),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"),
            use_cpu=True,
            bf16=False,
            report_to=[],
            gradient_checkpointing=None,
            activation_checkpointing=False,
        ),
        train_dataset=datasets.load_dataset("json", data_files=str(path), split="train"),
        processing_class=tokenizer,
    )
    assert len(trainer.train_dataset) == len(ours)
    for i, row in enumerate(trainer.train_dataset):
        batch = trainer.data_collator([row])
        response, there = batch["completion_mask"].bool(), batch["attention_mask"].bool()
        for side, own in ((0, ours.chosen_ids), (1, ours.rejected_ids)):
            ids = batch["input_ids"][side]
            assert ids[there[side] & ~response[side]].tolist() == ours.prompt_ids[i].tolist()
            assert ids[response[side]].tolist() == own[i].tolist()
