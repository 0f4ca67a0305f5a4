"""What long work reports on its way. The command line decides how it is shown (`congrad.report.display`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a stage is.

    Attributes:
        stage: what is being done, as a person reads it: "sketching".
        done, total: how much of it, in `unit`; what an earlier, interrupted run did counts as done.
        unit: "pairs".
        work: done and total of what takes the time, where units differ in theirs (tokens of pairs); None for
            `done` and `total`.
    """

    stage: str
    done: int
    total: int
    unit: str = ""
    work: tuple[int, int] | None = None


def _nothing(*_: Any) -> None: ...


@dataclass(frozen=True)
class Listener:
    """What is called for each kind of news; by default nothing.

    Attributes:
        on_stage: a stage has begun, whose end is not known: "loading gemma3-270m".
        on_progress: a stage that counts has begun or gone on.
        on_note: a line that a person should have seen once: what was chosen for them, or an estimate, which becomes a
            line as text.
        on_warning: the same, of what may spoil a result or take long.
    """

    on_stage: Callable[[str], None] = _nothing
    on_progress: Callable[[Progress], None] = _nothing
    on_note: Callable[[object], None] = _nothing
    on_warning: Callable[[str], None] = _nothing


SILENT = Listener()
