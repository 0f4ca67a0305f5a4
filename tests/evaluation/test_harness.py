"""lm-evaluation-harness: its figures beside ours on the same text, mistakes, and what it returns."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from congrad.errors import UserError
from congrad.evaluation.harness import example_values, harness_figures, is_accuracy, read_results, run_harness
from congrad.evaluation.tasks import continuation, load_task, right_choices, windows
from congrad.gradients.logps import batch_logps
from congrad.models.load import load_model, load_tokenizer
from congrad.settings.evaluation import Harness, LocalTask

QUIZ = """task: quiz
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_target: label
doc_to_choice: options
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
TEXTS = """task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: question
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    words = ["Baum", "Haus Haus", "Käse und Vogel", "x", "nyumba ndege"]
    rows = [
        {"question": f"{n}: Straße?", "options": [words[n % 5], words[(n + 2) % 5]], "label": n % 2} for n in range(12)
    ]
    path = tmp_path / "quiz_de.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    for name, text in (("quiz", QUIZ), ("texts", TEXTS)):
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text.replace("FILE", str(path)))
    return tmp_path


def run(folder: Path, directory: Path, tasks: tuple[str, ...], include_path: str | None = None, **options):
    settings = Harness(tasks, include_path=include_path or str(folder / "tasks"))
    tokenizer = load_tokenizer(str(directory))
    return run_harness(lambda: load_model(str(directory)), tokenizer, settings, folder / "log.jsonl", **options)


def test_the_harness_and_the_local_tasks_agree(folder, tiny_directory):
    pytest.importorskip("lm_eval")
    told: list[int] = []
    found = run(folder, tiny_directory, ("quiz", "texts"), on_progress=told.append)
    assert told == [0, 1, 2]
    measures = {each["metric"]: each for task in found.values() for each in task}
    tokenizer, model = load_tokenizer(str(tiny_directory)), load_model(str(tiny_directory))

    quiz = LocalTask(
        "quiz", str(folder / "quiz_de.jsonl"), kind="multiple-choice", prompt="{question}", choices=("options",)
    )
    items = load_task(quiz)
    triples = [continuation(item.prompt, option, tokenizer, 1000) for item in items for option in item.options]
    logps = {}
    for batch, logps_B2 in batch_logps(model, triples):
        logps |= dict(zip(batch, logps_B2[:, 0].tolist(), strict=True))
    right = right_choices(items, [[logps[2 * n], logps[2 * n + 1]] for n in range(len(items))])
    assert [pair[0] for pair in measures["acc"]["values"]] == right["raw"]
    assert [pair[0] for pair in measures["acc_norm"]["values"]] == right["normalised"]
    assert right["raw"] != right["normalised"], "else the two are not told apart"

    nats = size = 0.0
    for item in items:
        text = item.prompt
        for _, logps_B2 in batch_logps(model, windows(text, tokenizer, 1000)):
            nats -= float(logps_B2[:, 0].sum())
        size += len(text.encode())
    assert measures["bits_per_byte"]["value"] == pytest.approx(nats / size / math.log(2), rel=1e-5)
    figures = harness_figures("M0", found["texts"], seed=0, draws=200)
    assert figures["bits_per_byte"].value == pytest.approx(measures["bits_per_byte"]["value"])
    assert is_accuracy(found["quiz"], "acc")
    assert not is_accuracy(found["texts"], "bits_per_byte")

    def no_model():
        raise AssertionError("nothing is left to measure")

    settings = Harness(("quiz", "texts"), include_path=str(folder / "tasks"))
    assert run_harness(no_model, tokenizer, settings, folder / "log.jsonl") == found


def test_a_task_that_is_none(folder, tiny_directory):
    pytest.importorskip("lm_eval")
    broken = QUIZ.replace("task: quiz", "task: broken").replace("FILE", "/none.jsonl")
    (folder / "tasks" / "broken.yaml").write_text(broken)
    with pytest.raises(UserError, match=r"evaluate.lm_eval.tasks 'broken': cannot be run \(.*none.jsonl"):
        run(folder, tiny_directory, ("broken",))
    with pytest.raises(UserError, match="include_path /none: no such folder"):
        run(folder, tiny_directory, ("quiz",), include_path="/none")


def stand_in() -> dict:
    """What `simple_evaluate` returns, with what of it is read."""
    scores = [1.0, 0.0, 1.0, 1.0]
    return {
        "results": {
            "a": {
                "alias": "a",
                "sample_len": 4,
                "acc,none": 0.75,
                "acc_stderr,none": 0.25,
                "f1,strict": 0.6,
                "f1_stderr,strict": 0.1,
                "bleu,none": "N/A",
            },
            "group": {"acc,none": 0.75},
        },
        "higher_is_better": {"a": {"acc": True, "f1": True}},
        "samples": {
            "a": [{"doc_id": 3 - n, "filter": "none", "acc": score} for n, score in enumerate(scores)]
            + [{"doc_id": n, "filter": "strict", "f1": (1, 0)} for n in range(4)]
        },
    }


def test_what_the_harness_returns_is_read():
    accuracy, f1 = read_results(stand_in())
    assert accuracy["metric"] == "acc"
    assert accuracy["values"] == [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]], "by document"
    assert (f1["metric"], f1["value"], f1["error"], f1["values"]) == ("f1, strict", 0.6, 0.1, None)
    one, other = (harness_figures(name, [accuracy, f1], seed=0, draws=4000) for name in ("M0", "M1"))
    assert one["acc"].interval(0.95) == pytest.approx((0.3006, 0.9544), abs=1e-3)  # Wilson, 3 of 4
    assert (one["acc"] - other["acc"]).draw_D.any() == np.False_, "the same examples"
    low, high = (one["f1, strict"] - other["f1, strict"]).interval(0.95)
    assert (low, high) == pytest.approx((-0.277, 0.277), abs=0.03)  # 1.96 * sqrt(2) * 0.1, unpaired


def test_values_that_are_not_the_metrics_are_left():
    assert example_values("acc", [1.0, 0.0], 0.5) == [[1.0, 1.0], [0.0, 1.0]]
    assert example_values("acc", [1.0, 0.0], 0.7) is None
    assert example_values("acc", [1.0, None], 0.5) is None
    assert example_values("byte_perplexity", [(-2.0, 1), (-4.0, 2)], math.e**2) == [[2.0, 1.0], [4.0, 2.0]]


def test_without_the_extra(folder, tiny_directory, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"pip install 'congrad\[eval\]'"):
        run(folder, tiny_directory, ("quiz",))
