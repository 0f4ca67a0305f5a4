"""What a model says of the items of likelihood tasks, and what follows from it for every language."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from congrad.evaluation.intervals import Examples
from congrad.evaluation.tasks import Item, continuation, right_choices, windows
from congrad.gradients.logps import Row, SideRow, logged_logps
from congrad.gradients.packing import Triple
from congrad.settings.evaluation import LocalTask
from congrad.stage import content_key


@dataclass(frozen=True)
class ItemLogps:
    """Of one item: log-probability and length in tokens of each of its choices, or of each window of its text."""

    logps: list[float]
    tokens: list[int]


def measure_items(
    load: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    task: LocalTask,
    items: Sequence[Item],
    path: Path,
    *,
    max_length: int = 1024,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[ItemLogps]:
    """Log-probabilities for every item; continues from those that are in the log at `path`.

    Args:
        load: gives the model, frozen, where there is anything left to compute.
        max_length: tokens of a window, or of prompt and choice.
    """
    parts: list[list[Triple]] = [
        windows(item.options[0], tokenizer, max_length)
        if task.kind == "perplexity"
        else [continuation(item.prompt, option, tokenizer, max_length) for option in item.options]
        for item in items
    ]
    keys = [[content_key(item.key, part) for part in range(len(own))] for item, own in zip(items, parts, strict=True)]
    flat, flat_keys = [part for own in parts for part in own], [key for own in keys for key in own]

    def rows(position: int, logp: float, _: float) -> list[Row]:
        return [{"key": flat_keys[position], "logp": logp}]

    def tell(num_rows: int) -> None:
        on_progress(len(items) * num_rows // max(len(flat), 1))

    log = logged_logps(load, flat, path, rows, tell, SideRow)
    found = []
    for own, own_keys in zip(parts, keys, strict=True):
        logps = [log[key]["logp"] for key in own_keys]
        found.append(ItemLogps([math.nan if logp is None else logp for logp in logps], [len(part[1]) for part in own]))
    return found


def likelihood_examples(
    task: LocalTask, items: Sequence[Item], found: Mapping[str, Sequence[ItemLogps]]
) -> dict[str, dict[str, dict[str, Examples]]]:
    """By measure, model and language: `bits-per-byte` and `per-token` (nats; of a text), or `accuracy` and
    `accuracy-normalised`. Items that any model gives no finite log-probability are left out for all."""
    numbers: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        if all(math.isfinite(logp) for own in found.values() for logp in own[number].logps):
            numbers.setdefault(item.language, []).append(number)
    measures: dict[str, dict[str, dict[str, Examples]]] = {}
    for name, own in found.items():
        for language, those in sorted(numbers.items()):
            for measure, examples in of_language(task, [items[n] for n in those], [own[n] for n in those]).items():
                measures.setdefault(measure, {}).setdefault(name, {})[language] = examples
    return measures


def of_language(task: LocalTask, items: Sequence[Item], found: Sequence[ItemLogps]) -> dict[str, Examples]:
    if task.kind == "perplexity":
        nats = [-sum(each.logps) for each in found]
        sizes = [float(len(item.options[0].encode("utf-8", "surrogatepass"))) for item in items]
        return {
            "bits-per-byte": Examples.of_ratio([each / math.log(2) for each in nats], sizes),
            "per-token": Examples.of_ratio(nats, [float(sum(each.tokens)) for each in found]),
        }
    right = right_choices(list(items), [each.logps for each in found])
    return {"accuracy": Examples.of(right["raw"]), "accuracy-normalised": Examples.of(right["normalised"])}
