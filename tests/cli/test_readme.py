"""Every command and every Python block of the documentation does what it is there for."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from congrad.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "demo" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODELS = {"MODEL", "gemma3-270m", "smollm2-135m"}


def blocks(page: Path, *languages: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in fenced if language in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in a page's shell blocks, prompts, comments and output apart."""
    for language in ("sh", "bash", "shell", "console"):
        for block in blocks(page, language):
            for line in block.replace("\\\n", " ").splitlines():
                if language != "console" or line.startswith("$ "):
                    words = shlex.split(line.removeprefix("$ "), comments=True)
                    if words:
                        yield words


def congrad_commands(page: Path) -> list[list[str]]:
    """The arguments of `congrad`, also where a launcher starts it; those that leave something out apart."""
    found = [words[words.index("congrad") + 1 :] for words in commands(page) if "congrad" in words]
    return [words for words in found if "..." not in words and "…" not in words]


def as_id(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


ALL = [words for page in PAGES for words in congrad_commands(page)]


def test_the_readme_shows_how_to_filter_and_to_filter_anew():
    shown = congrad_commands(ROOT / "README.md")
    assert any("--model" in words or "-m" in words for words in shown)
    assert any("--model" not in words and "-m" not in words for words in shown if words[0] == "filter")


@pytest.mark.parametrize("words", ALL, ids=as_id)
def test_a_documented_command_is_accepted(congrad, monkeypatch, words):
    """Its options exist and make a configuration; nothing is run."""
    called = []

    def stop(*arguments: object, **options: object) -> None:
        called.append(arguments)
        raise typer.Exit

    monkeypatch.setattr("congrad.filtering.filter_preferences", stop)
    monkeypatch.setattr("congrad.filtering.refilter", stop)
    if words[0] == "filter" and not {"--model", "-m", "--help"} & set(words):
        plan = Path(words[1]) / "index" / "plan.json"
        if not plan.is_absolute():
            plan.parent.mkdir(parents=True)
            plan.write_text("{}")
    done = congrad(*words)
    assert done.code == 0, done.err
    assert called or {"--help", "--version"} & set(words)


def test_options_named_in_the_text_exist():
    command = get_command(app).commands["filter"]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    prose = re.sub(r"^```.*?^```", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S)
    named = {span.split()[0] for span in re.findall(r"`(--[^`]+)`", prose)}
    assert named <= known | {"--help", "--version"}


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^([\w .-]+):(?!=)", makefile, re.M) for name in line.split()}
    named = {words[1] for page in PAGES for words in commands(page) if words[0] == "make"}
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.fixture
def demo() -> None:
    """The demo's pairs, as seen from the checkout."""
    Path("demo").symlink_to(ROOT / "demo")


def test_the_readme_s_commands_run_one_after_the_other(congrad, save_rows, make_rows, tiny_directory, demo):
    """On pairs of ours, with a tiny model in the place of any other."""
    Path("pairs").mkdir()
    save_rows(Path("pairs") / "all.jsonl", make_rows(30))
    for words in congrad_commands(ROOT / "README.md"):
        done = congrad(*(tiny_directory if word in MODELS else word for word in words))
        assert done.code == 0, done.err
    assert list(Path("runs").glob("*/kept.jsonl"))


def test_the_readme_s_python_runs(tiny_directory, demo):
    """With a tiny model."""
    found = blocks(ROOT / "README.md", "python")
    assert found
    namespace: dict[str, object] = {}
    for block in found:
        for model in MODELS - {"MODEL"}:
            block = block.replace(model, str(tiny_directory))
        exec(compile(block, "README.md", "exec"), namespace)


def test_the_package_s_docstring_runs(tiny_directory, save_rows, make_rows):
    import congrad

    Path("pairs").mkdir()
    save_rows(Path("pairs") / "all.jsonl", make_rows(12))
    code = "\n".join(line[4:] for line in congrad.__doc__.splitlines() if line.startswith("    "))
    assert "build_index" in code
    exec("from congrad import *\n" + code.replace("gemma3-270m", str(tiny_directory)), {})
