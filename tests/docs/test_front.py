"""What stands beside the code: the citation, the changelog, and the hooks."""

import re
import tomllib

import yaml
from tests.docs.pages import ROOT


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    assert paper["authors"][0]["family-names"] == "Li"
    assert paper["year"] == 2026
    assert "2503.23777" in str(paper["identifiers"])
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in read("README.md")


def test_the_changelog_keeps_its_form():
    titles = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.M)
    assert titles[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", title) for title in titles[1:])
    kinds = set(re.findall(r"^### (.+)$", read("CHANGELOG.md"), re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_hooks_are_those_of_make_lint_and_fetch_nothing():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [one["repo"] for one in hooks] == ["local"]
    entries = [hook["entry"] for hook in hooks[0]["hooks"]]
    assert {hook["language"] for hook in hooks[0]["hooks"]} == {"system"}
    lint = read("Makefile").split("lint:")[1].split("\n\n")[0]
    tools = set(re.findall(r"\$\(BIN\)/([\w-]+)", lint))
    assert {entry.split()[0].removeprefix(".venv/bin/") for entry in entries} == tools


def test_the_picture_of_the_house_is_what_the_import_contracts_prove():
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one["type"] == "layers"]
    picture = read("CONTRIBUTING.md").split("## The house")[1].split("```text\n")[1].split("```")[0]
    assert [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()] == layers


def test_the_files_that_own_one_thing_exist():
    table = read("CONTRIBUTING.md").split("| one thing |")[1].split("\n\n")[0]
    owners = re.findall(r"`([\w/]+\.py)`", table)
    assert len(owners) == len(set(owners)) >= 8
    assert all((ROOT / "src" / "congrad" / name).is_file() for name in owners)


def test_every_page_of_the_site_is_in_its_index():
    listed = re.findall(r"^([\w-]+)$", read("docs/index.md"), re.M)
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"} <= set(listed)


def test_servers_that_are_shown_answer_this_machine_alone():
    shown = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "demo" / "loop.yaml"]
    shown += (ROOT / "src").rglob("*.py")
    lines = [line for path in shown for line in path.read_text(encoding="utf-8").splitlines() if "vllm serve" in line]
    assert len(lines) >= 5
    assert [line for line in lines if "--host 127.0.0.1" not in line] == []
