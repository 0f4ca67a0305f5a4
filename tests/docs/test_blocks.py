"""Every command and every Python block of the documentation does what it is there for.

The blocks of a page run in their order and share a directory, a shell's and Python's names. A tiny random model stands
in for those that are named, which is what makes them fast; the tutorial's output is compared with the real one's in
`test_tutorial.py`. What cannot be run says why in a comment above it: `<!-- not run: ... -->`.
"""

import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.conftest import preference_rows
from tests.docs.pages import PAGES, ROOT, Block, blocks, lines, prose
from tests.files import write_jsonl
from typer.main import get_command

from congrad.cli import app

MODELS = ("MODEL", "gemma3-270m", "smollm2-135m")
KINDS = {"sh", "python", "json", "text", "yaml", "bibtex"}
SHELL = {"head", "cat", "ls"}  # run as they are
ALL = [block for page in PAGES for block in blocks(page)]
TARGETS = {
    name
    for line in re.findall(r"^([\w .-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for name in line.split()
}


# What the commands call, by module: a package may have a function of its module's name.
DOERS = (
    ("congrad.filtering.run", "filter_preferences"),
    ("congrad.filtering.run", "refilter"),
    ("congrad.exports", "export_run"),
    ("congrad.exports.groups", "write_groups"),
    ("congrad.filtering.advise", "advise_run"),
    ("congrad.report.write", "write_report"),
    ("congrad.loop.run", "run_loop"),
    ("congrad.selfreward.generate", "run_generate"),
    ("congrad.selfreward.judge", "run_judge"),
    ("congrad.selfreward.pair", "run_pair"),
    ("congrad.training.train", "train"),
    ("congrad.evaluation.run", "run_evaluate"),
)


def of(*kinds: str) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in ALL if block.kind in kinds]


def test_every_block_is_of_a_kind_that_is_tested():
    unknown = [block.name for block in ALL if block.kind not in KINDS and not block.kind.startswith("{")]
    assert not unknown


def test_what_is_not_run_says_why():
    assert [block.name for block in ALL if block.why_not is not None and len(block.why_not.split()) < 3] == []
    marked = sum(block.why_not is not None for block in ALL)
    written = sum(page.read_text(encoding="utf-8").count("not run:") for page in PAGES)
    assert marked == written, "a comment stands before no block"
    assert marked < sum(block.kind in ("sh", "python") for block in ALL) / 2


@pytest.mark.parametrize("block", of("json"))
def test_json_is_json(block: Block):
    for line in block.text.splitlines():
        json.loads(line)


def congrad_arguments(line: str) -> list[str] | None:
    """The arguments of `congrad`, also where a launcher starts it; None for another command."""
    words = shlex.split(line, comments=True)
    return words[words.index("congrad") + 1 :] if "congrad" in words else None


COMMANDS = [
    pytest.param(words, id=" ".join(words))
    for block in ALL
    if block.kind == "sh"
    for line in lines(block)
    if (words := congrad_arguments(line)) is not None
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_is_accepted_also_where_it_is_not_run(congrad, monkeypatch, words):
    """Its options exist and make a configuration."""
    called = []

    def stop(*arguments: object, **options: object) -> None:
        called.append(arguments)
        raise typer.Exit

    # All are imported before any is replaced: a module that is imported afterwards would keep the stand-in for good.
    found = [(importlib.import_module(module), name) for module, name in DOERS]
    for module, name in found:
        monkeypatch.setattr(module, name, stop)
    if not Path("demo").exists():
        Path("demo").symlink_to(ROOT / "demo")
    write_yaml_files(ALL)
    if words[0] == "filter" and not {"--model", "-m", "--config", "--help"} & set(words):
        plan = Path(words[1]) / "index" / "plan.json"
        plan.parent.mkdir(parents=True)
        plan.write_text("{}")
    if words[0] == "inspect":
        Path(words[1]).mkdir(parents=True, exist_ok=True)
        write_jsonl(Path(words[1]) / "pairs.jsonl", preference_rows(4))
    if words[0] == "train":
        Path(words[1]).mkdir(parents=True, exist_ok=True)
        (Path(words[1]) / "kept.jsonl").touch()
    done = congrad(*words)
    assert done.code == 0, done.err
    assert called or words[0] in ("env", "settings", "inspect") or {"--help", "--version"} & set(words)


@pytest.mark.parametrize("block", of("sh"))
def test_make_targets_exist(block: Block):
    for line in lines(block):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert words[1] in TARGETS


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "settings.md", ROOT / "docs" / "exports.md"])
def test_options_named_in_the_text_exist(page: Path):
    commands = get_command(app).commands.values()
    known = {name for one in commands for parameter in one.params for name in parameter.opts}
    spans = [span for span in re.findall(r"`([^`]+)`", prose(page)) if not span.startswith("torchrun")]
    named = {option for span in spans for option in re.findall(r"--[\w-]+", span)}
    assert named <= known | {"--help", "--version"}


RUN = [
    page for page in PAGES if any(block.why_not is None and block.kind in ("sh", "python") for block in blocks(page))
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL 1.16 uses names that transformers 5 has given up
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_one_after_the_other(congrad, place, finished_run, tiny_directory, page):
    def stand_in(text: str) -> str:
        for model in MODELS:
            text = re.sub(rf"\b{model}\b", str(tiny_directory), text)
        return text

    names: dict[str, object] = {}
    for block in blocks(page):
        if block.why_not is not None:
            continue
        if block.kind == "python":
            exec(compile(stand_in(block.text), block.name, "exec"), names)
        elif block.kind == "sh":
            for line in lines(block):
                run_line(stand_in(line), block, congrad)
        else:
            write_yaml_files([block], stand_in)


def write_yaml_files(wanted: list[Block], edited: Callable[[str], str] = str) -> None:
    """A YAML block whose first line is `# NAME.yaml` is that file."""
    for block in wanted:
        if block.kind == "yaml" and (named := re.match(r"# ([\w.-]+\.yaml)\n", block.text)):
            Path(named[1]).write_text(edited(block.text), encoding="utf-8")


def run_line(line: str, block: Block, congrad: Callable[..., Any]) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "congrad":
        done = congrad(*words[1:])
        assert done.code == 0, f"{block.name}: {line}\n{done.err}"
    elif words[0] in SHELL:
        subprocess.run(words, check=True, capture_output=True)
    else:
        assert words[0] == "make", f"{block.name}: {words[0]} is not run by a test; mark the block with the reason"


@pytest.fixture
def finished_run(place, congrad, tiny_directory) -> Path:
    """`runs/x`, which many pages go on from; a page that makes it finds it made of the same pairs."""
    done = congrad("filter", "pairs/", "--model", tiny_directory, "--output", "runs/x", "--quiet", "report.write=false")
    assert done.code == 0, done.err
    return Path("runs/x")


def test_the_package_s_docstring_runs(place, tiny_directory):
    import congrad

    code = "\n".join(line[4:] for line in congrad.__doc__.splitlines() if line.startswith("    "))
    assert "build_index" in code
    exec("from congrad import *\n" + code.replace("gemma3-270m", str(tiny_directory)), {})


def test_the_readme_shows_how_to_filter_and_to_refilter():
    shown = [parameter.values[0] for parameter in COMMANDS]
    assert any("--model" in words for words in shown)
    assert any("--model" not in words for words in shown if words[0] == "filter")


def test_pages_link_to_files_that_exist():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
