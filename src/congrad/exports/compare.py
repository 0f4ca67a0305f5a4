"""How the tokens that a trainer sees differ from those that were scored, in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from congrad.exports.seen import Dropped, Ids, Seen
from congrad.words import quote

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Difference:
    """What is different.

    Attributes:
        lost: the trainer leaves the row out, or sees another text.
    """

    reason: str
    lost: bool = False


def difference(
    wanted: Seen, found: Seen | Dropped, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> Difference | None:
    """None where the tokens are the same."""
    if isinstance(found, Dropped):
        return Difference(found.reason, lost=True)
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
            return Difference(f"{counts[1]} BOS tokens at the start instead of {counts[0]}")
    ends = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    tails = []
    for ids in (wanted, found):
        length = len(ids)
        while length and (ids[length - 1] in ends or not tokenizer.decode([ids[length - 1]]).strip()):
            length -= 1
        tails.append((ids[:length], ids[length:]))
    if tails[0][0] == tails[1][0]:
        said, scored = (quote(tokenizer.decode(tail)) for _, tail in (tails[1], tails[0]))
        return Difference(f"ends with {said} instead of {scored}")
    if max(len(wanted), len(found)) >= max_length:
        return Difference("cut elsewhere at the length limit")
    if tokenizer.decode(wanted) == tokenizer.decode(found):
        return Difference("the same text in other tokens, where prompt and response meet")
    texts = [tokenizer.decode(body).strip() for body, _ in tails]
    if texts[0] == texts[1]:
        said, scored = (quote(tokenizer.decode(tail)) for _, tail in (tails[1], tails[0]))
        return Difference(f"ends with {said} instead of {scored}")
    return Difference("another text than was scored", lost=True)


def _leading(ids: Ids, token: int) -> int:
    return next((place for place, each in enumerate(ids) if each != token), len(ids))
