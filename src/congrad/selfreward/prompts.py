"""Prompts in any number of languages, from whatever `datasets` loads: checked, each once, and sampled by language."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from congrad.errors import UNSET, UserError
from congrad.preferences.bad_rows import settle
from congrad.preferences.glance import glance
from congrad.preferences.names import check_prompt_names
from congrad.preferences.rows import largest_remainder
from congrad.settings.selfreward import Prompts
from congrad.sources.source import BATCH
from congrad.stage import content_key

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Prompt:
    """One prompt of one language: text, or a list of messages."""

    key: str  # made of the language and the prompt
    row: int  # number (0-based) of its first row in the whole input
    language: str
    prompt: str | list[dict[str, Any]]
    repeats: int = 0  # how many more rows of the language hold the same prompt


def glance_at_prompts(prompts: Prompts) -> None:
    """Finds the commonest mistakes without `datasets`; raises as `load_prompts`."""
    if prompts.source is None:
        raise UserError("is missing", "name a file or folder of prompts", key="prompts.source")
    check = partial(check_prompt_names, prompt_column=prompts.columns.prompt)
    with of_the_prompts():
        glance(prompts.source, prompts.read_as(prompts.source), check)


@contextmanager
def of_the_prompts() -> Iterator[None]:
    """Errors that leave the block name the settings of prompts, and not those of pairs."""
    try:
        yield
    except UserError as error:
        # Of prompts, all files and all rows are read.
        error.fix = error.fix.replace("leave them out with input.files, or ", "")
        error.fix = error.fix.replace(", or leave them out with input.on_bad_row=drop", "")
        for section in ("columns", "bounds"):
            error.fix = error.fix.replace(f"input.{section}.", f"prompts.{section}.")
        if error.key == "input.languages":
            error.key, error.value = None, UNSET
        raise


def load_prompts(prompts: Prompts) -> list[Prompt]:
    """Reads, checks and samples the prompts, in input order.

    A language gets its share of `limit` by the largest remainder, and at least one prompt where `limit` allows it. The
    draw within a language depends on the seed and on the language's own prompts only.

    Raises:
        UserError: whatever is wrong with the input, in one line: what, where (file, row, column), and the fix.
    """
    glance_at_prompts(prompts)
    from congrad.preferences.check import check_prompts, without_language
    from congrad.preferences.languages import languages_of
    from congrad.preferences.pairs import without
    from congrad.sources.read import read_parts

    assert prompts.source is not None
    wanted, column = prompts.read_as(prompts.source), prompts.columns.prompt
    with of_the_prompts():
        parts = read_parts(prompts.source, wanted)
        settle(parts, wanted)  # lines that are no rows
    for part in parts:
        check_prompt_names(part.dataset.column_names, part.source.name, column)
    with of_the_prompts():
        named = languages_of(parts, wanted, prompts.source)
    for part in parts:
        check_prompts(part, column)
    with of_the_prompts():
        settle(
            [
                without(part, without_language(part.dataset, named.column, own))
                for part, own in zip(parts, named.languages, strict=True)
            ],
            wanted,
        )
    languages = [language for own in named.languages for language in own if language is not None]
    found: dict[str, Prompt] = {}
    values = (value for part in parts for value in _values(part.dataset, column))
    for row, (language, value) in enumerate(zip(languages, values, strict=True)):
        key = content_key(language, value)
        first = found.get(key)
        found[key] = Prompt(key, row, language, value) if first is None else replace(first, repeats=first.repeats + 1)
    return _sample(list(found.values()), prompts.limit, prompts.seed)


def _values(dataset: "datasets.Dataset", column: str) -> Iterator[str | list[dict[str, Any]]]:
    for batch in dataset.select_columns([column]).iter(batch_size=BATCH):
        for value in batch[column]:
            # Arrow fills a message's missing keys with null, and templates never see a null key.
            yield (
                value
                if isinstance(value, str)
                else [{key: item for key, item in message.items() if item is not None} for message in value]
            )


def _sample(prompts: list[Prompt], limit: int | None, seed: int) -> list[Prompt]:
    if limit is None or limit >= len(prompts):
        return prompts
    of_language: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        of_language.setdefault(prompt.language, []).append(prompt)
    quota = largest_remainder({language: len(of_language[language]) for language in sorted(of_language)}, limit)
    chosen: list[Prompt] = []
    for language, count in quota.items():
        chosen += random.Random(f"{seed} {language}").sample(of_language[language], count)
    return sorted(chosen, key=lambda prompt: prompt.row)
