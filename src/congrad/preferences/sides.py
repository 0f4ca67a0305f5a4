"""Names of columns that belong to one of two sides: `response_0` and `response_1`, `score_A` and `score_B`.

Two columns belong together whose names differ in one word, and that word is a marker of a side. What they hold is told
by the words that are left.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

Two = tuple[str, str]
MARKERS: tuple[Two, ...] = (("0", "1"), ("1", "2"), ("a", "b"), ("first", "second"), ("left", "right"), ("one", "two"))
A_THIRD = {"2", "3", "c", "third", "three", "middle"}  # with which there are more than two sides
RESPONSE = frozenset(
    "answer answers candidate chat completion completions continuation conversation conversations dialog dialogue "
    "generation generations message messages output outputs ref reply resp response responses solution summary text "
    "translation".split()
)
BY_WHOM = frozenset("agent ai assistant bot full generated human llm model system".split())
MODEL = frozenset("generator model name".split())
MARK = frozenset("best better chosen preferred selected win winner wins won".split())
SCORE = frozenset("points rating ratings reward rewards score scores upvotes votes".split())
TIE = frozenset("both bothbad bothgood draw equal equally neither same tie tied ties".split())


@dataclass(frozen=True)
class Sides:
    """Two columns, one a side.

    Attributes:
        markers: the words in which their names differ; None where a person named them.
        words: those that their names share, in order.
    """

    first: str
    second: str
    markers: Two | None = None
    words: tuple[str, ...] = ()

    @property
    def columns(self) -> Two:
        return self.first, self.second

    @property
    def hold_responses(self) -> bool:
        """The last word says what a name means: `model_a_response` is a response, `response_a_model` is a model."""
        return bool(self.words) and self.words[-1] in RESPONSE and RESPONSE | BY_WHOM >= set(self.words)

    @property
    def hold_models(self) -> bool:
        return bool(self.words) and self.words[-1] in MODEL and not {"generator", "model"}.isdisjoint(self.words)

    @property
    def hold_scores(self) -> bool:
        return bool(self.words) and self.words[-1] in SCORE

    @property
    def hold_marks(self) -> bool:
        """Each says whether its own side is better, one of them per row: `winner_model_a`, `winner_model_b`."""
        return not MARK.isdisjoint(self.words) and MARK | RESPONSE | BY_WHOM | {"is"} >= set(self.words)


def words_of(name: str) -> tuple[str, ...]:
    """The words and numbers of a name, in lower case: `human_ref_A`, `humanRefA` and `human-ref A` alike."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(word.casefold() for word in re.findall(r"[^\W\d_]+|\d+", split))


def all_sides(columns: Collection[str]) -> list[Sides]:
    """All pairs of columns whose names differ in their side alone, in the order of the columns."""
    found: dict[tuple[tuple[str, ...], int], dict[str, list[str]]] = {}
    for column in columns:
        for words, position, marker in _marked(column):
            found.setdefault((words, position), {}).setdefault(marker, []).append(column)
    return [
        Sides(named[first][0], named[second][0], (first, second), words)
        for (words, _), named in found.items()
        for first, second in MARKERS
        if {first, second} <= named.keys() and not named.keys() & (A_THIRD - {second})
        if len(named[first]) == len(named[second]) == 1 and not (first == "1" and "0" in named)
    ]


def _marked(column: str) -> Iterator[tuple[tuple[str, ...], int, str]]:
    words = words_of(column)
    for position, word in enumerate(words):
        if word in A_THIRD or any(word in two for two in MARKERS):
            yield words[:position] + words[position + 1 :], position, word
