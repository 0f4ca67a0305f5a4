"""Columns `prompt`, `chosen` and `rejected` in a file of their own, beside the data that they were made of."""

from collections.abc import Mapping
from typing import Any

import datasets
from datasets.arrow_writer import ArrowWriter

from congrad.preferences.conversations import READ_KEYS
from congrad.preferences.sides import Pair
from congrad.sources.scratch import new_arrow_file
from congrad.sources.source import BATCH

MESSAGE = {"role": datasets.Value("string"), "content": datasets.Value("string")}


class Writer:
    """Writes pairs batch by batch, so that memory stays as it is.

    Args:
        texts: the type of the text in each column; the columns that pairs have.
        conversational: they are messages, and not text.
        plain: messages have a role, a text and no more.
    """

    def __init__(self, texts: Mapping[str, str], *, conversational: bool, plain: bool) -> None:
        self.names = tuple(texts)
        self.plain = plain
        talk = datasets.List(MESSAGE if plain else datasets.Json())
        self.path = new_arrow_file()
        self.features = datasets.Features(
            {name: talk if conversational else datasets.Value(kind) for name, kind in texts.items()}
        )
        self.writer = ArrowWriter(features=self.features, path=str(self.path))
        self.written = 0
        self.waiting: list[Pair] = []

    def add(self, pair: Pair) -> None:
        self.waiting.append(pair)
        if len(self.waiting) == BATCH:
            self._write()

    def close(self) -> datasets.Dataset:
        self._write()
        if not self.written:  # a file without rows has no columns
            return datasets.Dataset.from_dict({name: [] for name in self.names}, features=self.features)
        self.writer.finalize()
        return datasets.Dataset.from_file(str(self.path))

    def _write(self) -> None:
        if self.waiting:
            columns = {name: [self._stored(getattr(pair, name)) for pair in self.waiting] for name in self.names}
            self.writer.write_batch(columns)
            self.written += len(self.waiting)
        self.waiting = []

    def _stored(self, side: Any) -> Any:
        if isinstance(side, str):
            return side
        if self.plain:
            return [{"role": message["role"], "content": message["content"]} for message in side]
        return [
            {
                "role": message["role"],
                "content": message.get("content"),
                **{key: message[key] for key in READ_KEYS if message.get(key) is not None},
            }
            for message in side
        ]


def joined(dataset: datasets.Dataset, canonical: datasets.Dataset) -> datasets.Dataset:
    """A dataset with other columns beside its own, or in their places."""
    replaced = [column for column in dataset.column_names if column in canonical.column_names]
    order = list(dict.fromkeys([*dataset.column_names, *canonical.column_names]))
    if not len(canonical):  # tables without rows lose their columns when they are joined
        features = datasets.Features({**dataset.features, **canonical.features})
        return datasets.Dataset.from_dict({name: [] for name in features}, features=features)
    rest = dataset.remove_columns(replaced)
    if not rest.column_names:
        return canonical.select_columns(order)
    return datasets.concatenate_datasets([rest, canonical], axis=1).select_columns(order)
