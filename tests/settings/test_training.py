"""Settings refuse what cannot be meant, by their YAML key."""

from typing import Any

import pytest

from congrad.errors import UserError
from congrad.settings.training import Lora, Rounds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "rounds.count 0: must be 1 or more"),
        ({"reference": "first"}, "rounds.reference 'first': must be previous or initial"),
        ({"data": "all"}, "rounds.data 'all': must be latest or accumulated"),
        ({"length_penalty": float("nan")}, "rounds.length_penalty nan: must be a finite number"),
    ],
)
def test_rounds(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Rounds(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "rounds.lora.r 0: must be 1 or more"),
        ({"alpha": 0.0}, "rounds.lora.alpha 0.0: must be above 0"),
        ({"dropout": 1.0}, "rounds.lora.dropout 1.0: must be 0 or more and below 1"),
        ({"target_modules": ()}, "rounds.lora.target_modules is empty"),
    ],
)
def test_lora(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Lora(**options)
