"""Tasks of lm-evaluation-harness (extra `eval`), run in process on a loaded model.

The harness measures; what it says of every example is kept, so that intervals and deltas to M0 are paired as elsewhere.
A metric that is not a mean over examples (say F1 over a corpus) has only the harness's own standard error: its interval
is normal, and its delta is taken as if the two models had been measured on different examples, which makes it too wide.
"""

import contextlib
import io
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from congrad.errors import UserError
from congrad.evaluation.intervals import Examples, Figure, figure, mean, normal
from congrad.settings.evaluation import Harness
from congrad.stage import LogRow, Record, RowLog, content_key
from congrad.words import one_line, quote

BOOTSTRAP = 1000  # draws of the harness's own, for metrics that are not means
RATIOS: dict[str, Callable[[Any], Any]] = {  # per-example values are (log-likelihood, weight)
    "bits_per_byte": lambda nats: nats / math.log(2),
    "byte_perplexity": np.exp,
    "word_perplexity": np.exp,
}
ERRORS = (KeyError, ValueError, TypeError, OSError, ImportError, RuntimeError, NotImplementedError)


class Measure(Record):
    """What the harness says of a subtask by one metric; see `run_harness`."""

    task: str
    metric: str
    value: float
    error: float | None
    higher_is_better: bool
    values: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None


class TaskRow(LogRow):
    """A row of the log: all of a task."""

    measures: list[Measure]


def run_harness(
    load: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    settings: Harness,
    path: Path,
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[dict[str, Any]]]:
    """What each of `settings.tasks` measures of a model; continues from the tasks that are in the log at `path`.

    Args:
        load: gives the model, frozen, where there is anything left to measure.
        seed: of the choice of few-shot examples.

    Returns:
        By task, a measure per subtask and metric: `task`, `metric`, `value`, `error`, `higher_is_better`, and `values`,
        pairs of numerator and denominator for every example, or null.
    """
    with RowLog(path, TaskRow) as log:
        keys = {task: content_key(task) for task in settings.tasks}
        on_progress(sum(key in log.rows for key in keys.values()))
        for task, key in keys.items():
            if key not in log.rows:
                measures = run_task(load(), tokenizer, task, settings, seed)
                log.append([{"key": key, "task": task, "measures": measures}])
                on_progress(len(log.rows))
        return {task: log.rows[key]["measures"] for task, key in keys.items()}


def run_task(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: str, settings: Harness, seed: int
) -> list[dict[str, Any]]:
    """Runs one task, group or tag."""
    with quiet():
        try:
            from lm_eval import simple_evaluate
            from lm_eval.models.huggingface import HFLM
        except ImportError as error:
            fix = "pip install 'congrad[eval]'"
            raise UserError("needs lm-evaluation-harness", fix, key="evaluate.lm_eval") from error
        try:
            found = simple_evaluate(
                HFLM(pretrained=model, tokenizer=tokenizer, batch_size=settings.batch_size),
                tasks=[task],
                task_manager=task_manager(settings.include_path, settings.tasks),
                num_fewshot=settings.num_fewshot,
                limit=settings.limit,
                apply_chat_template=settings.chat,
                bootstrap_iters=BOOTSTRAP,
                random_seed=None,  # the global generators are left alone
                numpy_random_seed=None,
                torch_random_seed=None,
                fewshot_random_seed=seed,
            )
        except ERRORS as error:
            problem = f"cannot be run ({one_line(error) or type(error).__name__})"
            fix = "check its name, its data and the network, or leave it out"
            raise UserError(problem, fix, key="evaluate.lm_eval.tasks", value=quote(task)) from error
    assert found is not None
    return read_results(found)


def read_results(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measures in what `simple_evaluate` returns; groups are left to the mean of their subtasks."""
    measures = []
    for task in sorted(found["samples"]):
        for name, value in found["results"][task].items():
            metric, comma, chosen_filter = name.partition(",")
            if not comma or metric.endswith("_stderr") or not is_number(value):
                continue
            error = found["results"][task].get(f"{metric}_stderr,{chosen_filter}")
            samples = [each for each in found["samples"][task] if each["filter"] == chosen_filter]
            samples.sort(key=lambda each: each["doc_id"])
            measures.append(
                {
                    "task": task,
                    "metric": metric if chosen_filter == "none" else f"{metric}, {chosen_filter}",
                    "value": float(value),
                    "error": float(error) if is_number(error) else None,
                    "higher_is_better": bool(found["higher_is_better"][task].get(metric, True)),
                    "values": example_values(metric, [each.get(metric) for each in samples], float(value)),
                }
            )
    return measures


def example_values(metric: str, values: Sequence[Any], value: float) -> list[list[float]] | None:
    """Numerator and denominator of every example, if their ratio is the metric's value; else None."""
    if metric in RATIOS and all(isinstance(each, tuple | list) and len(each) == 2 for each in values):
        pairs = [[-float(each[0]), float(each[1])] for each in values]
        ratio = RATIOS[metric](sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs))
    elif values and all(is_number(each) for each in values):
        pairs = [[float(each), 1.0] for each in values]
        ratio = sum(pair[0] for pair in pairs) / len(pairs)
    else:
        return None
    return pairs if math.isclose(ratio, value, rel_tol=1e-6, abs_tol=1e-9) else None


def is_number(value: object) -> bool:
    return isinstance(value, bool | int | float | np.number) and math.isfinite(float(value))


def harness_figures(name: str, measures: Sequence[Mapping[str, Any]], *, seed: int, draws: int) -> dict[str, Figure]:
    """By metric: the mean over subtasks of what the model of this name scored."""
    by_metric: dict[str, list[Figure]] = {}
    for each in measures:
        if each["values"] is None:
            error = each["error"] if each["error"] is not None else math.nan
            apart = f"{name} {each['task']}"  # models that cannot be compared example by example are drawn separately
            own = normal(each["value"], error, 0, seed=seed, name=apart, draws=draws)
        else:
            pairs = np.array(each["values"], dtype=float)
            alone = np.arange(len(pairs))
            is_share = bool((pairs[:, 1] == 1).all() and (pairs[:, 0] >= 0).all() and (pairs[:, 0] <= 1).all())
            examples = Examples(pairs[:, 0], pairs[:, 1], alone, is_share)
            own = figure(examples, seed=seed, name=each["task"], draws=draws)
            if each["metric"] in RATIOS:
                own = own.map(RATIOS[each["metric"]])
        by_metric.setdefault(each["metric"], []).append(own)
    return {metric: mean(figures, draws) for metric, figures in by_metric.items()}


def is_accuracy(measures: Sequence[Mapping[str, Any]], metric: str) -> bool:
    """Whether a metric is a share of right answers, so that it may enter the mean of the tax."""
    own = [each for each in measures if each["metric"] == metric]
    return all(
        each["higher_is_better"]
        and each["values"] is not None
        and all(0 <= numerator <= 1 and denominator == 1 for numerator, denominator in each["values"])
        for each in own
    )


@cache
def task_manager(include_path: str | None, tasks: tuple[str, ...]) -> Any:
    """The harness's index of tasks: the user's folder alone where that has them all, as the rest take long to read."""
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        if not Path(include_path).is_dir():
            raise UserError("no such folder", "check the path", key="evaluate.lm_eval.include_path", value=include_path)
        own = TaskManager(include_path=include_path, include_defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    return TaskManager(include_path=include_path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the harness's log, bars and warnings off the screen, and gives all back as it was."""
    log = logging.getLogger("lm_eval")
    level, before = log.level, os.environ.get("TOKENIZERS_PARALLELISM")
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if before is None:
            os.environ.pop("TOKENIZERS_PARALLELISM", None)
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
