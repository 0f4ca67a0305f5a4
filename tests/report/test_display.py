"""What is shown while a command works: lines with the time in a log file, bars on a terminal, nothing when quiet."""

import io
import re
import sys
import time

import pytest
from rich.console import Console
from rich.text import Text

from congrad.progress import Progress
from congrad.report import display as shown
from congrad.report.display import Bars, Lines, Pace, Screen, display, say, show, show_traceback
from congrad.tables import Table, columns, to_terminal

LINE = re.compile(r"\d\d:\d\d:\d\d (.+)")


def lines(text: str) -> list[str]:
    """Without the time, which every line begins with."""
    found = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(found), text
    return [match[1] for match in found if match]


@pytest.fixture
def quick(monkeypatch):
    """Nothing is held back, and half a second of silence is long."""
    monkeypatch.setattr(shown, "HOLD", 0.0)
    monkeypatch.setattr(shown, "INTERVAL", 0.5)
    monkeypatch.setattr(shown, "CHECK", 0.02)


def test_a_command_that_ends_at_once_writes_no_stage(capsys):
    with display(quiet=False) as showing:
        showing.listener.on_stage("reading the pairs")
    assert capsys.readouterr().err == ""


def test_the_first_stage_is_written_when_the_moment_has_passed(capsys, monkeypatch):
    monkeypatch.setattr(shown, "HOLD", 0.2)
    with display(quiet=False) as showing:
        showing.listener.on_stage("reading the pairs")
        assert capsys.readouterr().err == ""
        time.sleep(0.8)
        assert lines(capsys.readouterr().err) == ["reading the pairs"]


def test_it_is_written_at_once_where_pytorch_is_imported_next(capsys, monkeypatch):
    with display(quiet=False) as showing:
        showing.listener.on_stage("reading the pairs")
        showing.listener.on_stage("starting PyTorch")
        assert capsys.readouterr().err == ""
    monkeypatch.delitem(sys.modules, "torch")
    with display(quiet=False) as showing:
        showing.listener.on_stage("reading the pairs")
        showing.listener.on_stage("starting PyTorch")
        assert lines(capsys.readouterr().err) == ["reading the pairs", "starting PyTorch"]


@pytest.mark.usefixtures("quick")
def test_a_stage_that_is_named_again_goes_on(capsys):
    with display(quiet=False) as showing:
        showing.listener.on_stage("starting PyTorch")
        showing.listener.on_stage("starting PyTorch")
        time.sleep(0.2)
    assert lines(capsys.readouterr().err) == ["starting PyTorch"]


def test_notes_and_warnings_are_never_held_back(capsys):
    with display(quiet=False) as showing:
        showing.listener.on_note("624 pairs")
        showing.listener.on_warning("slow")
    assert lines(capsys.readouterr().err) == ["624 pairs", "warning: slow"]


@pytest.mark.usefixtures("quick")
def test_a_silent_stage_shows_life(capsys):
    with display(quiet=False) as showing:
        showing.listener.on_stage("loading a model")
        time.sleep(1.8)
    first, *rest = lines(capsys.readouterr().err)
    assert first == "loading a model"
    assert 2 <= len(rest) <= 3
    assert rest[-1] in ("loading a model: 1 s so far", "loading a model: 2 s so far")


@pytest.mark.usefixtures("quick")
def test_a_stage_that_counts_says_how_far_it_is_and_no_oftener_than_the_interval(capsys):
    with display(quiet=False) as showing:
        for done in range(100, 231):
            showing.listener.on_progress(Progress("sketching", done, 1000, "pairs"))
            time.sleep(0.01)
    first, *rest = lines(capsys.readouterr().err)
    assert first == "sketching: 100 of 1,000 pairs"
    assert 1 <= len(rest) <= 4
    done, rate, left = re.fullmatch(r"sketching: (\d+) of 1,000 pairs, (\d+) pairs/s, (\d+) s left", rest[-1]).groups()
    assert int(left) == pytest.approx((1000 - int(done)) / int(rate), abs=1.5)


def test_how_a_stage_ended_is_said_when_the_next_begins(capsys):
    with display(quiet=False) as showing:
        showing.listener.on_stage("reading")
        showing.listener.on_progress(Progress("reading", 7, 7, "rows"))
        showing.listener.on_progress(Progress("sketching", 1, 4, "pairs"))
        showing.listener.on_progress(Progress("sketching", 4, 4, "pairs"))
        showing.listener.on_progress(Progress("scoring", 4, 4, "pairs"))
        showing.listener.on_note("done")
        showing.rest()
    assert lines(capsys.readouterr().err) == [
        "reading",
        "reading: 7 of 7 rows",
        "sketching: 1 of 4 pairs",
        "sketching: 4 of 4 pairs",
        "scoring: 4 of 4 pairs",
        "done",
    ]


@pytest.mark.usefixtures("quick")
def test_nothing_is_said_between_stages(capsys):
    with display(quiet=False) as showing:
        showing.listener.on_stage("loading a model")
        showing.rest()
        time.sleep(1.2)
    assert lines(capsys.readouterr().err) == ["loading a model"]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_quiet_and_the_other_processes_show_nothing(capsys, monkeypatch, rank):
    monkeypatch.setenv("RANK", rank)
    with display(quiet=rank == "0") as showing:
        showing.listener.on_note("624 pairs")
        showing.listener.on_stage("one")
        showing.listener.on_stage("two")
    assert capsys.readouterr().err == ""


def test_time_goes_by_work_and_not_by_what_was_done_before(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: now[0])
    pace = Pace(Progress("sketching", 100, 200, "pairs", work=(5000, 8000)))
    assert pace.rate is None
    assert pace.left is None
    now[0] = 10.0
    pace.last = Progress("sketching", 120, 200, "pairs", work=(6000, 8000))
    assert pace.rate == pytest.approx(2.0)
    assert pace.left == pytest.approx(20.0)


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    """A terminal of 100 columns that remembers what was written."""
    screen = io.StringIO()
    monkeypatch.setattr(shown, "console", Console(file=screen, force_terminal=True, width=100, highlight=False))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return screen


def test_bars_on_a_terminal(terminal):
    with display(quiet=False) as showing:
        assert isinstance(showing, Bars)
        showing.listener.on_stage("loading [red]model")
        showing.listener.on_note("chosen [red]for you")
        showing.listener.on_progress(Progress("sketching", 1, 4, "pairs", work=(10, 40)))
        showing.listener.on_progress(Progress("sketching", 4, 4, "pairs", work=(40, 40)))
        showing.listener.on_stage("finding the consensus")
    text = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", terminal.getvalue())
    assert "loading [red]model" in text
    assert "chosen [red]for you\n" in text
    assert "4/4 pairs" in text
    assert "finding the consensus" in text


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    with display(quiet=False) as showing:
        showing.listener.on_note("624 pairs")
    assert terminal.getvalue() == ""


HOSTILE = "[bold]de[/bold]\x1b[2J\x1b]0;x\x07\x9b31m\u202e:warning:"


@pytest.mark.parametrize("terminal", [False, True])
def test_other_people_s_text_cannot_act_on_a_terminal(monkeypatch, capsys, terminal):
    """Neither as text, nor in a table, a bar or a traceback."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    show(HOSTILE, to_terminal(Table(columns(HOSTILE, HOSTILE), [[HOSTILE, HOSTILE]])), Text(HOSTILE))
    monkeypatch.setattr(shown, "console", Screen(stderr=True))
    say(HOSTILE, warning=True)
    bars = Bars()
    bars.stage(HOSTILE)
    bars.progress(Progress(HOSTILE, 1, 2, HOSTILE))
    bars.close()
    log = Lines()
    log.say(HOSTILE)
    log.close()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        show_traceback()
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "[bold]de[/bold]" in text
        assert ":warning:" in text
        for sequence in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"):
            assert sequence not in text
    if not terminal:
        assert "\x1b" not in out + err
