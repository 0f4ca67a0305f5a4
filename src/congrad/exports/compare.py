"""How the tokens that a trainer sees differ from those that were scored, in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from congrad.exports.seen import Dropped, Ids, Seen
from congrad.words import quote

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOST = 3


@dataclass(frozen=True)
class Difference:
    """What is different.

    Attributes:
        weight: how much: 1 at the start or end, 2 within, 3 where the trainer leaves the row out or sees another text.
    """

    reason: str
    weight: int = 1

    @property
    def lost(self) -> bool:
        """Whether the trainer does not learn from this pair."""
        return self.weight == LOST


def difference(
    wanted: Seen, found: Seen | Dropped, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> Difference | None:
    """None where the tokens are the same."""
    if isinstance(found, Dropped):
        return Difference(found.reason, weight=LOST)
    if wanted == found:
        return None
    for one, other in zip(_sequences(wanted), _sequences(found), strict=True):
        if said := _of_sequences(one, other, tokenizer, max_length):
            return said
    return Difference("the response begins at another token")


def _sequences(seen: Seen) -> list[Ids]:
    return [seen.prompt + seen.chosen, seen.prompt + seen.rejected]


def _of_sequences(wanted: Ids, found: Ids, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> Difference | None:
    if wanted == found:
        return None
    bos = tokenizer.bos_token_id
    if bos is not None:
        counts = [_leading(ids, bos) for ids in (wanted, found)]
        if counts[0] != counts[1] and wanted[counts[0] :] == found[counts[1] :]:
            return Difference(f"BOS tokens at the start: {counts[1]} instead of {counts[0]}")
    shared = _shared(wanted, found)
    rests = [ids[shared:] for ids in (wanted, found)]
    if all(_is_end(rest, tokenizer) for rest in rests):
        scored, said = (quote(tokenizer.decode(rest)) if rest else "" for rest in rests)
        if said and scored:
            return Difference(f"ends with {said} instead of {scored}")
        return Difference(f"{said} is added at the end" if said else f"{scored} is missing at the end")
    if max(len(wanted), len(found)) >= max_length:
        return Difference("cut elsewhere at the length limit")
    texts = [tokenizer.decode(ids) for ids in (wanted, found)]
    if texts[0] == texts[1]:
        return Difference("the same text in other tokens, where prompt and response meet")
    if "".join(texts[0].split()) == "".join(texts[1].split()):
        return Difference("other white space than was scored", weight=2)
    return Difference("another text than was scored", weight=LOST)


def _shared(one: Ids, other: Ids) -> int:
    length = min(len(one), len(other))
    return next((place for place in range(length) if one[place] != other[place]), length)


def _is_end(ids: Ids, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether these are only special tokens and white space."""
    ends = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return all(each in ends or not tokenizer.decode([each]).strip() for each in ids)


def _leading(ids: Ids, token: int) -> int:
    return next((place for place, each in enumerate(ids) if each != token), len(ids))
