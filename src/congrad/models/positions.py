"""How many positions a model has: in a table of learned ones none is beyond its end, while rotary ones go on.

A pair that is longer than the table would end its forward with an index error, which on a GPU ends the process.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from torch import nn
from transformers import PreTrainedModel

from congrad.errors import UserError

MOST_SPARE = 8  # rows of a table beyond its positions: OPT's has two


def claimed_positions(model: PreTrainedModel) -> int | None:
    """What the configuration says: positions that the model was made for."""
    claimed = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return claimed if isinstance(claimed, int) and claimed > 0 else None


def last_position(model: PreTrainedModel) -> int | None:
    """The most tokens that a model with a table of positions takes; None where nothing of it is as long as they are.

    The table is an embedding that is not that of the tokens. One with a row for padding counts from behind it.
    """
    claimed, tokens = claimed_positions(model), None
    with suppress(NotImplementedError):  # code of a model's own need not say which they are
        tokens = model.get_input_embeddings()
    tables = (each for each in model.modules() if isinstance(each, nn.Embedding) and each is not tokens)
    sizes = [
        min(claimed, table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
        for table in tables
        if claimed is not None and 0 <= table.num_embeddings - claimed <= MOST_SPARE
    ]
    return min(sizes, default=None)


def check_positions(
    model: PreTrainedModel, lengths: Sequence[int], max_length: int, on_note: Callable[[str], object]
) -> None:
    """Refuses sequences of more tokens than the model has positions for; where it goes on beyond, that is noted.

    Args:
        lengths: tokens of each sequence.
        max_length: what they were cut to.

    Raises:
        UserError: by `input.max_length`, with the model's limit.
    """
    longest, name = max(lengths, default=0), model.config.name_or_path or type(model).__name__
    if (last := last_position(model)) is not None and longest > last:
        problem = f"{sum(length > last for length in lengths):,} of {len(lengths):,} pairs have more tokens than the "
        problem += f"{last:,} positions of model {name} (the longest has {longest:,})"
        raise UserError(problem, f"set it to {last} or less", key="input.max_length", value=max_length)
    if (claimed := claimed_positions(model)) is not None and longest > claimed:
        on_note(
            f"the longest pair has {longest:,} tokens and model {name} was made for {claimed:,} positions: what it "
            "says of the tokens beyond may mean little"
        )
