"""The command line itself: help, version, and mistakes that the parser finds."""

import importlib.metadata
import re

import pytest
from typer.main import get_command

from congrad.cli import app
from congrad.cli.filter import MOVED_FLAGS

FLAGS = [
    *(
        "--model",
        "--output",
        "--keep",
        "--min-score",
        "--language-column",
        "--limit",
        "--watch",
        "--dtype",
        "--device",
        "--adapter",
    ),
    *("--reference", "--revision", "--config", "--format", "--dry-run", "--quiet", "--help"),
]


def options_shown(text: str) -> list[str]:
    return re.findall(r"^\W*(--[\w-]+)", text, re.M)


def test_help_shows_the_flags_in_the_order_of_their_use(congrad, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = congrad("filter", "--help")
    assert done.code == 0
    assert options_shown(done.out) == FLAGS
    assert max(map(len, done.out.splitlines())) <= 80
    assert "…" not in done.out, "an option's name is cut off"
    assert "[0.5]" in done.out  # square brackets are the default, not markup
    assert "congrad settings" in done.out


@pytest.mark.parametrize(("flag", "key"), MOVED_FLAGS.items())
def test_a_flag_that_became_a_key_is_answered_with_the_key(congrad, flag, key):
    done = congrad("filter", "x", flag, "1")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"congrad: {flag} is not a flag any more; write {key}")
    assert done.err.count("\n") == 1
    assert congrad("filter", "x", f"{flag}=1").code == 2


@pytest.mark.parametrize("command", sorted(get_command(app).commands))
def test_the_help_of_every_command_fits_a_screen(congrad, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    done = congrad(command, "--help")
    assert done.code == 0
    assert len(done.out.splitlines()) <= (38 if command == "filter" else 24)


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
    [("congrad ", {"filter", "export", "settings", "env"}), ("congrad filter --ada", {"--adapter"})],
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
    "unknown command": ["fitler", "x"],
    "unknown option": ["filter", "x", "--keeep", "0.5"],
    "no value": ["filter", "x", "--model"],
}


@pytest.mark.parametrize("arguments", MISUSES.values(), ids=MISUSES)
def test_a_misuse_ends_with_code_2(congrad, arguments):
    done = congrad(*arguments)
    assert done.code == 2
    assert "Error" in done.err or "Usage" in done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["filter"], "input.source is missing; name the pairs, or a run"),
        (["filter", "x", "--keep", "half"], "--keep half: must be a number, above 0 and at most 1, or auto"),
        (["filter", "x", "y"], "'y' is not KEY=VALUE; write for instance index.projection_size=64"),
    ],
)
def test_a_misuse_of_settings_is_one_line(congrad, arguments, line):
    done = congrad(*arguments)
    assert (done.code, done.out, done.err) == (2, "", f"congrad: {line}\n")


def test_a_closed_pipe_is_no_bug(congrad, monkeypatch):
    def fail(*given: object, **options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("congrad.cli.filter.run_filter", fail)
    done = congrad("filter", "x")
    assert (done.code, done.out, done.err) == (1, "", "")


def test_a_message_of_several_lines_becomes_one(congrad, monkeypatch):
    from congrad.errors import UserError

    def fail(*given: object, **options: object) -> None:
        raise UserError("a\nb")

    monkeypatch.setattr("congrad.cli.filter.run_filter", fail)
    done = congrad("filter", "x")
    assert (done.code, done.err) == (2, "congrad: a b\n")
