"""The command line itself: help, version, and mistakes that the parser finds."""

import importlib.metadata
import inspect
import re

import pytest
from typer.main import get_command

from congrad.cli import app
from congrad.cli.filter import INDEX_OPTIONS, filter_command

COMMON = ["--model", "--output", "--keep", "--limit", "--format", "--dry-run", "--quiet", "--help-all", "--help"]


def options_shown(text: str) -> list[str]:
    return re.findall(r"^\W*(--[\w-]+)", text, re.M)


def test_help_shows_the_common_options_on_one_screen(congrad, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = congrad("filter", "--help")
    assert done.code == 0
    assert options_shown(done.out) == COMMON
    assert len(done.out.splitlines()) < 24
    assert "[0.5]" in done.out  # square brackets are the default, not markup


def test_help_all_shows_every_option_the_common_ones_first(congrad):
    done = congrad("filter", "--help-all")
    assert done.code == 0
    options = options_shown(done.out)
    assert options[: len(COMMON)] == COMMON
    titles = [done.out.index(f" {title} ") for title in ("Input", "Gradient pass", "Consensus", "Selection")]
    assert titles == sorted(titles)
    assert "[language]" in done.out
    names = {"--" + name.replace("_", "-") for name in inspect.signature(filter_command).parameters}
    assert names - {"--source"} <= set(options)
    assert all(len(line) <= 200 for line in done.out.splitlines())


@pytest.mark.parametrize("command", sorted(get_command(app).commands))
def test_the_help_of_every_command_fits_a_screen(congrad, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    done = congrad(command, "--help")
    assert done.code == 0
    assert len(done.out.splitlines()) <= 24


def test_every_option_of_the_index_is_one(congrad):
    assert set(INDEX_OPTIONS) <= set(inspect.signature(filter_command).parameters)


def test_help_fits_a_narrow_terminal(congrad, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = congrad("filter", "--help-all")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "…" not in done.out, "an option's name is cut off"


def test_version(congrad):
    done = congrad("--version")
    assert (done.code, done.out) == (0, f"congrad {importlib.metadata.version('congrad')}\n")


AS_INSTALLED = "import sys; sys.argv[0] = 'congrad'; from congrad.cli import main; main()"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_knows_commands_and_options(monkeypatch, start, shell):
    """The script that is shown asks `congrad` itself what may follow."""
    # Else Typer asks for the shell that started it, and in CI there may be none.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    script, told = start("-c", AS_INSTALLED, "--show-completion", shell).communicate()
    assert "_CONGRAD_COMPLETE" in script, told


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("congrad ", {"filter", "export", "env"}), ("congrad filter --agg", {"--aggregator"})],
    ids=["commands", "options"],
)
def test_completion_gives_what_may_follow(monkeypatch, start, words, wanted):
    monkeypatch.setenv("_CONGRAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    out, _ = start("-c", AS_INSTALLED).communicate()
    assert wanted <= set(out.split())


def test_help_alone(congrad):
    done = congrad("--help")
    assert done.code == 0
    assert "filter" in done.out


MISUSES = {
    "no command": [],
    "no data": ["filter"],
    "unknown command": ["fitler", "x"],
    "unknown option": ["filter", "x", "--keeep", "0.5"],
    "no number": ["filter", "x", "--keep", "half"],
    "no value": ["filter", "x", "--model"],
    "two data": ["filter", "x", "y"],
}


@pytest.mark.parametrize("arguments", MISUSES.values(), ids=MISUSES)
def test_a_misuse_ends_with_code_2(congrad, arguments):
    done = congrad(*arguments)
    assert done.code == 2
    assert "Error" in done.err or "Usage" in done.out
    assert "Traceback" not in done.err


def test_a_closed_pipe_is_no_bug(congrad, monkeypatch):
    def fail(given: dict) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("congrad.cli.filter.run_filter", fail)
    done = congrad("filter", "x")
    assert (done.code, done.out, done.err) == (1, "", "")


def test_a_message_of_several_lines_becomes_one(congrad, monkeypatch):
    from congrad.errors import UserError

    def fail(given: dict) -> None:
        raise UserError("a\nb")

    monkeypatch.setattr("congrad.cli.filter.run_filter", fail)
    done = congrad("filter", "x")
    assert (done.code, done.err) == (2, "congrad: a b\n")
