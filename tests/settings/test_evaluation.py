"""The section `evaluate`: built from YAML, every mistake named by its key and line."""

from pathlib import Path

import pytest

from congrad.errors import UserError
from congrad.settings.evaluation import Evaluate, Harness, LocalTask
from congrad.settings.read import read as read_given


def read(path: Path, text: str) -> Evaluate:
    path.write_text("evaluate:\n" + text)
    return read_given(path).section(Evaluate)


def test_a_whole_section(tmp_path):
    settings = read(
        tmp_path / "run.yaml",
        """
  seen: [de, en]
  unseen: [sw]
  pairs: held-out/
  win_rate:
    prompts: {source: prompts.jsonl, limit: 50}
    judge: {kind: openai, url: http://localhost:8000/v1}
  tasks:
    - {name: xcopa, layout: xcopa, path: tasks/xcopa_*.jsonl, limit: 100}
    - {name: maths, layout: mgsm, path: tasks, prompt: "{question}"}
    - {name: texts, kind: perplexity, path: texts.jsonl}
    - name: quiz
      kind: multiple-choice
      path: quiz.jsonl
      prompt: "{question}\\nAnswer:"
      choices: [right, wrong]
  lm_eval: {tasks: [hellaswag], num_fewshot: 0}
""",
    )
    assert [task.kind for task in settings.tasks] == ["multiple-choice", "exact-match", "perplexity", "multiple-choice"]
    assert settings.win_rate is not None
    assert settings.win_rate.judge is not None
    assert settings.win_rate.prompts.limit == 50
    assert settings.lm_eval == Harness(("hellaswag",), num_fewshot=0)
    assert not settings.measures_nothing
    assert Evaluate().measures_nothing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  seen: [de]\n  unseen: [en, de]\n", "run.yaml:3: evaluate.unseen names 'de'"),
        ("  sen: [de]\n", "run.yaml:2: evaluate.sen is unknown; did you mean seen?"),
        ("  draws: 10\n", "run.yaml:2: evaluate.draws 10: must be 100 or more"),
        ("  confidence: 95\n", r"run.yaml:2: evaluate.confidence 95: must be 0.5 or more"),
        ("  lm_eval: {tasks: []}\n", "run.yaml:2: evaluate.lm_eval.tasks is empty"),
        ("  lm_eval:\n    tasks: [a]\n    limit: 0\n", "run.yaml:4: evaluate.lm_eval.limit 0"),
        ("  win_rate:\n    prompts: {pairs: x}\n", "evaluate.win_rate.prompts.source is missing"),
        (
            "  win_rate:\n    prompts: {source: x}\n    top_p: 2\n",
            r"run.yaml:4: evaluate.win_rate.top_p 2: must be above 0",
        ),
        ("  tasks:\n    - {name: a, path: b}\n", "evaluate.tasks.0.kind is missing; choose from perplexity"),
        (
            "  tasks:\n    - {name: a, path: b, kind: perplexity, rule: text}\n",
            "rule would be ignored by a task of kind perplexity",
        ),
        (
            "  tasks:\n    - {name: a, path: b, kind: perplexity, chat: true}\n",
            "chat would be ignored",
        ),
        ("  tasks:\n    - {name: a, path: b, kind: exact-match, prompt: x}\n", "prompt is missing or names no column"),
        ("  tasks:\n    - {name: a, path: b, kind: multiple-choice, prompt: '{x}'}\n", "choices is missing"),
        (
            "  tasks:\n    - {name: a, path: b, layout: xcopa, kind: perplexity}\n",
            "must be multiple-choice with the layout xcopa",
        ),
        ("  tasks:\n    - {name: a, path: b, layout: mgsm, answer_column: c}\n", "the layout mgsm sets its columns"),
        ("  tasks:\n    - {name: ' ', path: b, layout: mgsm}\n", "name is empty"),
        (
            "  tasks:\n    - {name: a, path: b, layout: mgsm}\n    - {name: a, path: c, layout: xcopa}\n",
            "run.yaml:2: evaluate.tasks holds two tasks that are named 'a'",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path / "run.yaml", text)


def test_a_layout_settles_the_kind():
    assert LocalTask("x", "p", layout="xcopa").kind == "multiple-choice"
