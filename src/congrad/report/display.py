"""What a command shows while it works, on standard error: bars on a terminal, lines with the time elsewhere.

A line is written at the start of every stage and, within a stage, when `INTERVAL` has passed since the last line,
also while the stage says nothing: a log file always shows whether a run is slow or dead. The first line waits a moment,
so that a command that ends at once with a mistake has that mistake as its only line.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.text import Text

from congrad.models.ranks import is_first
from congrad.progress import Listener, Progress
from congrad.words import human_time, printable, printable_lines

INTERVAL = 28.0  # seconds; what comes late by a second still comes within half a minute
HOLD = 1.3  # seconds after the start; Python's own start takes up to half a second more
CHECK = 0.25  # how often the clock is looked at


class Screen(Console):
    """A console on which nobody else's text can act: of all that is drawn, what is not printable becomes a space, and
    `:name:` is no picture."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False, soft_wrap=not stderr)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable_lines(segment.text))


console = Screen(stderr=True)


def say(text: object, *, warning: bool = False) -> None:
    """A line of text on standard error."""
    console.print(("[yellow]warning:[/yellow] " if warning else "") + escape(str(text)), soft_wrap=True)


def show_traceback() -> None:
    """The error that is being handled, on standard error; its texts may be a data set's."""
    print(printable_lines(traceback.format_exc()), end="", file=sys.stderr)


def show(*renderables: RenderableType) -> None:
    """Results on standard output: text, in which square brackets are brackets, or tables."""
    out = Screen()
    for each in renderables:
        out.print(escape(each) if isinstance(each, str) else each)


class Pace:
    """How fast a stage goes: from its first progress on, so that what an earlier run did is not part of the rate."""

    def __init__(self, first: Progress) -> None:
        self.first, self.last, self.began = first, first, time.monotonic()

    @property
    def rate(self) -> float | None:  # units a second
        return self._per_second(self.last.done - self.first.done)

    @property
    def left(self) -> float | None:  # seconds to the end
        (done, total), (before, _) = _work(self.last), _work(self.first)
        speed = self._per_second(done - before)
        return (total - done) / speed if speed else None

    def _per_second(self, amount: float) -> float | None:
        seconds = time.monotonic() - self.began
        return amount / seconds if amount > 0 and seconds > 0.5 else None

    def rate_text(self) -> str:
        rate = self.rate
        return "" if rate is None else f", {rate:{',.0f' if rate >= 10 else '.2g'}} {self.last.unit}/s"


def _work(progress: Progress) -> tuple[int, int]:
    return progress.work or (progress.done, progress.total)


class Display:
    """What shows nothing; bars and lines are its kinds."""

    def stage(self, name: str) -> None:
        """A stage has begun; one that is named again continues."""

    def progress(self, progress: Progress) -> None:
        """A stage that counts has begun or gone on."""

    def say(self, text: object, *, warning: bool = False) -> None:
        """A line to be seen once."""

    def rest(self) -> None:
        """The stage has ended, and what follows is shown elsewhere."""

    def close(self) -> None:
        """The command has ended."""

    @property
    def listener(self) -> Listener:
        return Listener(self.stage, self.progress, self.say, lambda text: self.say(text, warning=True))


class Bars(Display):
    """On a terminal: one bar at a time; a stage that counts leaves its bar on the screen."""

    def __init__(self) -> None:
        self._name = ""
        self._bar: RichProgress | None = None
        self._pace: Pace | None = None

    def stage(self, name: str) -> None:
        if name == self._name:
            return
        self.rest()
        self._name = name
        self._bar = RichProgress(
            *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeColumn()),
            console=console,
            transient=True,
        )
        self._bar.add_task(escape(name), total=None, count="", left=None)
        self._bar.start()

    def progress(self, progress: Progress) -> None:
        if self._bar is None or progress.stage != self._name:
            self.stage(progress.stage)
        assert self._bar is not None
        if self._pace is None:
            self._pace = Pace(progress)
            self._bar.live.transient = False
        self._pace.last = progress
        done, total = _work(progress)
        count = f"{progress.done:,}/{progress.total:,} {progress.unit}{self._pace.rate_text()}"
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, count=count, left=self._pace.left)

    def say(self, text: object, *, warning: bool = False) -> None:
        say(text, warning=warning)

    def rest(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._name, self._bar, self._pace = "", None, None

    def close(self) -> None:
        self.rest()


class TimeColumn(ProgressColumn):
    """The time left; of a stage without an end, or at its end, the time it took."""

    def render(self, task: Task) -> Text:
        left = None if task.total is None or task.finished else task.fields["left"]
        return Text(human_time(task.elapsed or 0) if left is None else f"{human_time(left)} left")


class Lines(Display):
    """Elsewhere: lines with the time."""

    def __init__(self) -> None:
        self._began = self._spoke = time.monotonic()
        self._held: list[str] | None = []
        self._name, self._since = "", 0.0
        self._pace: Pace | None = None
        self._said = 0  # of what the stage counts
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._watch, daemon=True)
        self._clock.start()

    def close(self) -> None:
        """Ends the watch. Stages that were held back stay unsaid: the command has ended before anybody could wonder."""
        self._ended.set()
        self._clock.join()

    def stage(self, name: str) -> None:
        with self._lock:
            if name == self._name:
                return
            if self._name and "torch" not in sys.modules:
                self._release()  # the second stage imports it, which alone takes longer than the moment
            self._begin(name)
            self._write(name)

    def progress(self, progress: Progress) -> None:
        with self._lock:
            if progress.stage != self._name:
                self._begin(progress.stage)
                self._write(self._count(progress))
            if self._pace is None:
                self._pace = Pace(progress)
            self._pace.last = progress

    def say(self, text: object, *, warning: bool = False) -> None:
        with self._lock:
            self._release()
            self._write(f"warning: {text}" if warning else str(text))

    def rest(self) -> None:
        with self._lock:
            self._begin("")

    def _begin(self, name: str) -> None:
        if self._pace is not None and self._pace.last.done > self._said:
            self._write(f"{self._count(self._pace.last)}{self._pace.rate_text()}")  # how it ended
        self._name, self._since, self._pace, self._said = name, time.monotonic(), None, 0

    def _count(self, progress: Progress) -> str:
        self._said = progress.done
        return f"{progress.stage}: {progress.done:,} of {progress.total:,} {progress.unit}"

    def _write(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {printable(text)}"
        self._spoke = time.monotonic()
        if self._held is not None:
            self._held.append(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _release(self) -> None:
        held, self._held = self._held, None
        for line in held or ():
            print(line, file=sys.stderr, flush=True)

    def _watch(self) -> None:
        while not self._ended.wait(CHECK):
            with self._lock:
                now = time.monotonic()
                if self._held is not None and now - self._began >= HOLD:
                    self._release()
                if self._name and now - self._spoke >= INTERVAL:
                    self._write(self._state())

    def _state(self) -> str:
        """How far the stage is."""
        so_far = f"{human_time(time.monotonic() - self._since)} so far"
        if self._pace is None:
            return f"{self._name}: {so_far}"
        left = self._pace.left
        rest = so_far if left is None else f"{human_time(left)} left"
        return f"{self._count(self._pace.last)}{self._pace.rate_text()}, {rest}"


@contextmanager
def display(*, quiet: bool) -> Iterator[Display]:
    """Bars where standard error is a terminal, lines elsewhere; nothing when quiet, or in any but the first process."""
    showing: Display
    if quiet or not is_first():
        showing = Display()
    else:
        showing = Bars() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()
    try:
        yield showing
    finally:
        showing.close()
