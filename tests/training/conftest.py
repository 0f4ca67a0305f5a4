"""A trainer on the tiny model, and warnings of libraries that are not ours to mend."""

from collections.abc import Iterator

import pytest

from congrad.training.config import quiet


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """TRL 1.16 and PEFT 0.21 call what transformers 5.23 renamed."""
    with quiet():
        yield
