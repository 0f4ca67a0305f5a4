"""A listener of a stage's progress alone."""

from collections.abc import Callable

from congrad.progress import Listener


def counting(call: Callable[[str, int, int], object]) -> Listener:
    """Calls with the stage, what is done, and the total."""
    return Listener(on_progress=lambda progress: call(progress.stage, progress.done, progress.total))
