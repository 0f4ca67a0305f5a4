"""The checked rows of a preference dataset: which row is which, in which file, of which language."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from congrad.errors import Spot, UserError
from congrad.preferences.known_names import CANONICAL
from congrad.sources.part import LeftOut
from congrad.sources.source import BATCH, Source

if TYPE_CHECKING:
    import datasets

# What decides how a row is tokenised (TRL reads `tools` and `chat_template_kwargs` on conversational rows).
TEMPLATE_COLUMNS = ("tools", "chat_template_kwargs")
READ_COLUMNS = (*CANONICAL, *TEMPLATE_COLUMNS)


@dataclass(frozen=True)
class Preferences:
    """Preference pairs whose columns have been checked. Build one with `load_preferences`.

    Attributes:
        dataset: The input's own columns, in input order, memory-mapped where it came from files.
        language_column: The column that groups the rows; None where their languages come from names or texts.
        languages: The group of each row of `dataset`; groups that are not strings are turned into strings.
        rows: The row number (0-based) of each row of `dataset` in the whole input, all sources one after the other.
        sources: What the whole input was read from, in order.
        left_out: Rows of the input that make no pair, and why.
        notes: What was chosen for the user, in sentences that are said once.
        tags: What a language's name in the data was taken for, where that is another.
    """

    dataset: "datasets.Dataset"
    language_column: str | None
    languages: list[str]
    rows: list[int]
    sources: tuple[Source, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, position: int) -> Spot:
        """Name the row at `position` of `dataset` for a person, by file and line where there is one."""
        row = self.rows[position]
        for source in self.sources:
            if row < source.num_rows:
                return source.where(row)
            row -= source.num_rows
        raise AssertionError("the row is after the last source")

    @cached_property
    def conversational(self) -> bool:
        """Whether the rows are lists of messages rather than plain text."""
        import datasets

        return not isinstance(self.dataset.features["chosen"], datasets.Value)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the languages and of all that is tokenised, in order.

        The same rows have the same fingerprint from any path and any file format. Other columns do not count.
        """
        columns = read_columns(self.dataset)
        digest = hashlib.sha256(json.dumps(["preferences", 1, columns]).encode())
        parts: list[bytes] = []
        for language, row in zip(self.languages, iterate(self.dataset), strict=True):
            for value in (language, *(row[column] for column in columns)):
                data = (value if isinstance(value, str) else _canonical(value)).encode()
                parts += (len(data).to_bytes(8, "big"), data)
            if len(parts) >= BATCH:  # an update for every value takes longer than the hashing
                digest.update(b"".join(parts))
                parts.clear()
        digest.update(b"".join(parts))
        return digest.hexdigest()


def read_columns(dataset: "datasets.Dataset") -> list[str]:
    """The columns of `dataset` that decide how its rows are tokenised, in a fixed order."""
    return [column for column in READ_COLUMNS if column in dataset.column_names]


def iterate(dataset: "datasets.Dataset", columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows, with some columns (`read_columns`), decoded in batches (ten times as fast as one at a time)."""
    for batch in dataset.select_columns(columns or read_columns(dataset)).iter(batch_size=BATCH):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def sample(preferences: Preferences, limit: int, seed: int = 0) -> Preferences:
    """Take `limit` rows (1 or more, else a `UserError`), stratified by language, in input order.

    Each language gets its share of `limit` by the largest remainder, and at least one row where `limit` allows it.
    The draw within a language depends on `seed` and on the language's own rows only.
    """
    if limit < 1:
        raise UserError(f"limit: {limit} rows cannot be sampled", "give 1 or more")
    if limit >= len(preferences):
        return preferences
    positions: dict[str, list[int]] = {}
    for position, language in enumerate(preferences.languages):
        positions.setdefault(language, []).append(position)
    quota = largest_remainder({language: len(positions[language]) for language in sorted(positions)}, limit)
    drawn = (random.Random(f"{seed} {key}").sample(positions[key], num_rows) for key, num_rows in quota.items())
    chosen = sorted(chain.from_iterable(drawn))
    return replace(
        preferences,
        dataset=preferences.dataset.select(chosen),
        languages=[preferences.languages[position] for position in chosen],
        rows=[preferences.rows[position] for position in chosen],
    )


def largest_remainder(counts: dict[str, int], total: int) -> dict[str, int]:
    """Share `total` among the keys in proportion to `counts`, at least 1 each where `total` allows it.

    Ties go to the earlier key. `total` is at most the sum of `counts`; no key gets more than its count.
    """
    exact = {key: total * count / sum(counts.values()) for key, count in counts.items()}
    floor = 1 if total >= len(counts) else 0
    quota = {key: max(floor, int(share)) for key, share in exact.items()}
    while sum(quota.values()) < total:
        quota[max(quota, key=lambda key: exact[key] - quota[key])] += 1
    while sum(quota.values()) > total:  # the floor of 1 gave out too many: take from the one furthest above its share
        spare = [key for key in quota if quota[key] > floor]
        quota[max(spare, key=lambda key: quota[key] - exact[key])] -= 1
    return quota


def _canonical(value: Any) -> str:
    """JSON of a conversation, of tools or of template arguments, the same whichever file format it came from."""
    if isinstance(value, list):  # Arrow fills a message's missing keys with null, and templates never see a null key
        value = [
            {key: item for key, item in message.items() if item is not None} if isinstance(message, dict) else message
            for message in value
        ]
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)  # a date in a template's arguments
