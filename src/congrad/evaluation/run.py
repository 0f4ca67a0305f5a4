"""The stage `evaluate`: every model of a run measured in the same way, in one table.

parts/*.jsonl      what each model scored, example by example, appended as it comes
outputs/*.json     answers to the win rate's prompts, as alpaca_eval reads them
verdicts.jsonl     every judgement
evaluation.json    all figures with intervals and deltas to M0
evaluation.md      the same as tables
manifest.json      written last
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from congrad.engines.interface import identity
from congrad.errors import UserError
from congrad.evaluation.measure import (
    PARTS,
    Found,
    Inputs,
    counter,
    file_name,
    judge_contests,
    measure_model,
    the_judge,
)
from congrad.evaluation.report import make_report
from congrad.evaluation.table import evaluation_markdown
from congrad.evaluation.tasks import load_task
from congrad.evaluation.verdict import read_template
from congrad.evaluation.winrate import alpaca_outputs, contests_of, verdict_rows
from congrad.files import without_nan, write_atomically, write_json
from congrad.models.compute import in_dtype_of, settle_stage
from congrad.preferences.load import read_preferences
from congrad.progress import SILENT, Listener
from congrad.selfreward.prompts import load_prompts
from congrad.settings.evaluation import Evaluate
from congrad.settings.model import Model
from congrad.stage import begin, content_key, finish, write_rows

OUTPUTS, VERDICTS = "outputs", "verdicts.jsonl"
TITLES = {"none": "unfiltered", "congrad": "ConGrad"}


def row_name(method: str, round: int) -> str:
    """The name of a row of the table: `ConGrad, round 2`; the filter `none` is `unfiltered`."""
    return f"{TITLES.get(method, method)}, round {round}"


def opponents(methods: Sequence[str], rounds: Sequence[int]) -> dict[str, list[str]]:
    """For `run_evaluate`: ConGrad's model of every round against each baseline's of the same round."""
    baselines = [method for method in methods if method != "congrad"]
    if "congrad" not in methods:
        return {}
    return {row_name("congrad", round): [row_name(method, round) for method in baselines] for round in rounds}


def run_evaluate(
    models: Mapping[str, Model],
    settings: Evaluate,
    output: Path,
    *,
    against: Mapping[str, Sequence[str]] | None = None,
    listener: Listener = SILENT,
) -> None:
    """Measures all models and writes the table; returns at once where that is done already.

    Args:
        models: by the name of the row, in the order of the table. The first is M0, whatever its name: deltas, implicit
            rewards and win rates are taken against it, and it is the judge where none is named.
        against: by name, other rows whose answers a row's are compared with too (`opponents`).

    Raises:
        UserError: there is nothing to measure; whatever is wrong with data, models or endpoints.
    """
    if not models:
        raise UserError("has no model to measure", "train one first", key="evaluate")
    settings.check()
    for name, others in (against or {}).items():
        for other in (name, *others):
            assert other in models, f"{other} is not one of the models"
    inputs = read_inputs(settings)
    first = settle_stage(next(iter(models.values())), output, listener)
    models = {name: in_dtype_of(first, model) for name, model in models.items()}
    contests = contests_of(list(models), next(iter(models)), against or {}) if settings.win_rate else []
    if begin(output, "evaluate", decided(models, settings, inputs, contests)):
        return
    (output / PARTS).mkdir(exist_ok=True)
    (output / OUTPUTS).mkdir(exist_ok=True)
    counted = counter(listener, count_all(models, settings, inputs, contests))
    found = Found()
    for name, model in models.items():
        measure_model(name, model, settings, inputs, output, found, counted)
    if settings.win_rate is not None:
        judge_contests(models, settings, inputs, contests, output, found, counted)
    report = make_report(models, settings, inputs, found)
    for name, answers in found.answers.items():
        content = alpaca_outputs(name, inputs.prompts, answers)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomically(output / OUTPUTS / f"{file_name(name)}.json", text.encode("utf-8", "surrogatepass"))
    if settings.win_rate is not None:
        write_rows(output / VERDICTS, verdict_rows(found.judged))
    write_json(output / "evaluation.json", without_nan(report))
    write_atomically(output / "evaluation.md", evaluation_markdown(report).encode("utf-8", "surrogatepass"))
    finish(output, {"warnings": report["notes"]})


def read_inputs(settings: Evaluate) -> Inputs:
    """Reads everything before any model is loaded, so that a mistake in the last part shows at once."""
    if settings.win_rate is not None:
        read_template(settings.win_rate.template)
    return Inputs(
        pairs=None if settings.pairs is None else read_preferences(settings.held_out),
        tasks={task.name: (task, load_task(task, settings.bounds)) for task in settings.tasks},
        prompts=[] if settings.win_rate is None else load_prompts(settings.win_rate.prompts),
    )


def decided(
    models: Mapping[str, Model], settings: Evaluate, inputs: Inputs, contests: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """All that decides the result, without paths: the content there counts."""
    content = asdict(settings)
    del content["pairs"], content["engine"], content["bounds"]
    for task in content["tasks"]:
        del task["path"]
    if content["lm_eval"] is not None:
        del content["lm_eval"]["include_path"]
    if settings.win_rate is not None:
        judge, engine = the_judge(models, settings)
        for key in ("prompts", "judge", "judge_model", "template"):
            del content["win_rate"][key]
        content["win_rate"] |= {
            "template": content_key(read_template(settings.win_rate.template)),
            "judged_by": identity(engine, judge),
            "prompts": content_key([prompt.key for prompt in inputs.prompts]),
        }
    return content | {
        "models": {name: {**identity(settings.engine, model), "dtype": model.dtype} for name, model in models.items()},
        "contests": [list(contest) for contest in contests],
        "data": {
            "pairs": None if inputs.pairs is None else inputs.pairs.fingerprint,
            "tasks": {name: content_key([item.key for item in items]) for name, (_, items) in inputs.tasks.items()},
        },
    }


def count_all(
    models: Mapping[str, Model], settings: Evaluate, inputs: Inputs, contests: Sequence[tuple[str, str]]
) -> int:
    examples = len(inputs.pairs or ()) + sum(len(items) for _, items in inputs.tasks.values()) + len(inputs.prompts)
    harness = len(settings.lm_eval.tasks) if settings.lm_eval is not None else 0
    return len(models) * (examples + harness) + 2 * len(contests) * len(inputs.prompts)
