"""The pairs as TRL takes them: its own columns alone, and what would stop it said before it starts."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from congrad.errors import Spot, UserError
from congrad.preferences import Preferences, load_preferences
from congrad.preferences.known_names import NOT_READ
from congrad.preferences.rows import iterate, read_columns
from congrad.preferences.tokenise import reserved_names, template_arguments
from congrad.settings.input import Bounds, Columns
from congrad.sources.concatenate import concatenate
from congrad.sources.part import Part
from congrad.stage import file_fingerprint, require_file

# The bounds of the filter were the user's, and so was what it left unread.
load = partial(
    load_preferences, bounds=Bounds(languages=2**31, columns=2**31, row_bytes=2**31), ignore=(*NOT_READ, "tools")
)


def fingerprint_pairs(path: Path) -> str:
    require_file(path)
    return file_fingerprint(path)


def read_pairs(paths: Sequence[Path], language_column: str) -> tuple[Dataset, list[str]]:
    """All pairs in the order of the files, in TRL's columns alone, and their languages."""
    filled = [path for path in paths if path.stat().st_size > 0]
    if not filled:
        problem = f"{', '.join(map(str, paths)) or 'train'}: no pairs to train on"
        raise UserError(problem, "raise selection.keep, lower pair.min_margin or give more prompts")
    parts = [load(path, columns=Columns(language=language_column)) for path in filled]
    dataset = concatenate([Part(part.sources[0], in_trl_columns(part.dataset), tuple(part.rows)) for part in parts])
    return dataset, [language for part in parts for language in part.languages]


def by_language(preferences: Preferences) -> dict[str, Dataset]:
    """The rows of each language, languages in order."""
    rows: dict[str, list[int]] = {}
    for number, language in enumerate(preferences.languages):
        rows.setdefault(language, []).append(number)
    dataset = in_trl_columns(preferences.dataset)
    return {language: dataset.select(rows[language]) for language in sorted(rows)}


def in_trl_columns(dataset: Dataset) -> Dataset:
    return dataset.select_columns(read_columns(dataset))


def check_template(dataset: Dataset, tokenizer: Any, name: str) -> None:
    """Refuses conversations without a template, and rows that set more than its variables."""
    if not isinstance(dataset[0]["chosen"], str) and tokenizer.chat_template is None:
        problem = f"the pairs are conversations and the tokenizer of {name} has no chat template"
        fix = "set chat_template in its tokenizer_config.json, use a model tuned for chat, or give plain text"
        raise UserError(problem, fix)
    if "chat_template_kwargs" in dataset.column_names:
        reserved = reserved_names(tokenizer)
        for number, row in enumerate(iterate(dataset)):
            template_arguments(row, partial(Spot, "the pairs", row=number), reserved)


def check_lengths(trainer: Any, max_length: int | None) -> None:
    """An error where TRL dropped every pair, or all of a language's held-out ones, as their prompts fill the limit."""
    parts = {"": trainer.train_dataset, **(trainer.eval_dataset or {})}
    for language, dataset in parts.items():
        if not len(dataset):
            which = f"held-out pair of {language}" if language else "pair"
            problem = f"no {which} has a prompt shorter than that"
            raise UserError(problem, "raise it", key="train.max_length", value=max_length)
