"""The command line itself: help, version, and mistakes that the parser finds."""

import importlib.metadata
import inspect
import re

import pytest

from congrad.cli.filter import INDEX_OPTIONS, filter_command


def test_help_fits_and_begins_with_what_is_needed_most(congrad):
    done = congrad("filter", "--help")
    assert done.code == 0
    options = re.findall(r"^\W*(--[\w-]+)", done.out, re.M)
    assert options[:7] == ["--model", "--output", "--keep", "--limit", "--dry-run", "--quiet", "--help"]
    titles = [done.out.index(f" {title} ") for title in ("Input", "Gradient pass", "Consensus", "Selection")]
    assert titles == sorted(titles)
    assert "[0.5]" in done.out  # square brackets are the default, not markup
    assert "[language]" in done.out
    names = {"--" + name.replace("_", "-") for name in inspect.signature(filter_command).parameters}
    assert names - {"--source"} <= set(options)
    assert all(len(line) <= 200 for line in done.out.splitlines())


def test_every_option_of_the_index_is_one(congrad):
    assert set(INDEX_OPTIONS) <= set(inspect.signature(filter_command).parameters)


def test_help_fits_a_narrow_terminal(congrad, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = congrad("filter", "--help")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "…" not in done.out, "an option's name is cut off"


def test_version(congrad):
    done = congrad("--version")
    assert (done.code, done.out) == (0, f"congrad {importlib.metadata.version('congrad')}\n")


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
