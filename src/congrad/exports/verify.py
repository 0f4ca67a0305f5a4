"""Choose how a trainer is given the pairs, and check what it will see of them against what was scored.

A trainer that prints templates of its own gets the one whose tokens are those that were scored, found on the first
pairs; where it has none, the export holds the conversations as the model's template prints them. After the export is
written, its file is loaded as the trainer loads it, and every pair's tokens are compared.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import datasets
from datasets.exceptions import DatasetGenerationError

from congrad.errors import UserError
from congrad.exports.compare import Difference, difference
from congrad.exports.layouts import KeptPair, Row, kept_pair, laid_out
from congrad.exports.scored import printed, scored
from congrad.exports.seen import READERS, Dropped, Seen
from congrad.exports.setup import Setup
from congrad.exports.templates import TEMPLATES
from congrad.preferences.render import is_pair
from congrad.sources.read import quiet
from congrad.sources.scratch import cache_folder
from congrad.words import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRIED = 64  # pairs by which a template is chosen
NEARLY = 0.9  # a trainer's own template is taken before the printed text if it does so well
BATCH = 256
WITH_ENDS = ("llamafactory", "openrlhf")  # read text as it is; the others add the tokenizer's BOS and EOS tokens


@dataclass(frozen=True)
class Check:
    """What was compared.

    Attributes:
        pairs: compared; None where nothing was, for the reason in `unchecked`.
        differences: number of pairs by what is different.
    """

    pairs: int | None
    differences: dict[str, int] = field(default_factory=dict)
    unchecked: str = ""

    @property
    def same(self) -> int:
        return (self.pairs or 0) - sum(self.differences.values())

    def in_words(self) -> list[str]:
        """Lines for a person."""
        if self.pairs is None:
            return [f"not checked against what was scored: {self.unchecked}"]
        if not self.differences:
            return [f"checked {self.pairs} pairs: all have the tokens that were scored"]
        first = f"checked {self.pairs} pairs: {self.same} of {self.pairs} have the tokens that were scored"
        return [first, *(f"{count} differ: {reason}" for reason, count in self.differences.items())]


def choose(format: str, pairs: Iterable[KeptPair], setup: Setup, tokenizer: "PreTrainedTokenizerBase") -> Setup:
    """The setup with the template that prints what was scored."""
    if not setup.conversational or format not in TEMPLATES:
        return setup
    sample = list(islice(pairs, TRIED))
    wanted = scored(sample, tokenizer, setup.max_length)
    options = [replace(setup, template=each.name) for each in TEMPLATES[format]]
    options.append(replace(setup, as_printed=True))
    points = [_points(format, sample, wanted, option, tokenizer) for option in options]
    best = max(points[:-1])
    own = best > 0 and best >= NEARLY * points[-1]
    return options[points.index(best)] if own else options[-1]


def _points(
    format: str, pairs: Sequence[KeptPair], wanted: Sequence[Seen], setup: Setup, tokenizer: "PreTrainedTokenizerBase"
) -> int:
    """2 for each pair whose tokens are the same, 1 where the text is."""
    points = 0
    for pair, tokens in zip(pairs, wanted, strict=True):
        found = express(pair, format, setup, tokenizer, tokens)
        points += 0 if isinstance(found, Dropped) else 2 if found[1] is None else 1
    return points


def express(
    pair: KeptPair, format: str, setup: Setup, tokenizer: "PreTrainedTokenizerBase", wanted: Seen
) -> tuple[Row, Difference | None] | Dropped:
    """The row whose tokens are those that were scored, or come nearest; why there is none."""
    shown: KeptPair | None = pair
    if format in WITH_ENDS and not setup.conversational:
        shown = printed(pair, tokenizer, ends=True)
    elif setup.as_printed:
        shown = printed(pair, tokenizer, ends=format in WITH_ENDS)
    if shown is None:
        return Dropped("the chat template prints its prompt otherwise where a response follows")
    try:
        row = laid_out(shown, format)
    except UserError as error:
        return Dropped(error.problem)
    if format == "trl":
        return row, None
    read = READERS[format]
    first = difference(wanted, read(row, tokenizer, setup), tokenizer, setup.max_length)
    if first is not None and setup.templated and format in TEMPLATES:  # most templates strip what a message says
        stripped = laid_out(_stripped(pair), format)
        second = difference(wanted, read(stripped, tokenizer, setup), tokenizer, setup.max_length)
        if second is None or second.weight < first.weight:
            row, first = stripped, second
    return Dropped(first.reason) if first is not None and first.lost else (row, first)


def _stripped(pair: KeptPair) -> KeptPair:
    sides = [
        [message | {"content": message["content"].strip()} for message in side]
        for side in (pair.prompt, pair.chosen, pair.rejected)
        if not isinstance(side, str)
    ]
    return replace(pair, prompt=sides[0], chosen=sides[1], rejected=sides[2])


def check(
    path: Path, format: str, pairs: Iterable[KeptPair], setup: Setup, tokenizer: "PreTrainedTokenizerBase"
) -> Check:
    """Loads a written file as trainers do, by `datasets`, and compares each row with its pair.

    Args:
        pairs: those that were written, in their order.
    """
    counts: Counter[str] = Counter()
    number, remaining = 0, iter(pairs)
    try:
        for rows in _loaded(path):
            batch = list(islice(remaining, len(rows)))
            wanted = scored(batch, tokenizer, setup.max_length)
            found: Sequence[Seen | Dropped]
            if format == "trl":
                if not all(map(is_pair, rows)):  # `datasets` makes dates of some text
                    return Check(None, unchecked="a row of the written file is read as no pair of texts")
                read_again = [kept_pair(row, pair.place) for pair, row in zip(batch, rows, strict=True)]
                found = scored(read_again, tokenizer, setup.max_length)
            else:
                found = [READERS[format](row, tokenizer, setup) for row in rows]
            for one, other in zip(wanted, found, strict=True):
                number += 1
                if said := difference(one, other, tokenizer, setup.max_length):
                    counts[said.reason] += 1
    except (
        DatasetGenerationError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # some of a date where text was
        return Check(None, unchecked=f"the written file cannot be loaded ({one_line(error)})")
    return Check(number, dict(counts.most_common()))


def _loaded(path: Path) -> Iterator[list[Row]]:
    with TemporaryDirectory(prefix="congrad-", dir=cache_folder()) as cache, quiet():
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        for batch in rows.iter(batch_size=BATCH):
            yield [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        del rows
