"""Runs from strangers: what their manifests say stays text in scripts, configurations and cards, and nothing else is
uploaded."""

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from tests.exports.rows import PLAIN
from tests.exports.scripts import run_scripts
from tests.exports.test_hub import FakeApi

from congrad.errors import UserError
from congrad.exports import FORMATS, export_run
from congrad.exports.configs import CONFIGS
from congrad.exports.hub import push
from congrad.exports.setup import Setup

HOSTILE = [
    "x\ntouch here\n",
    "x\n__import__('os').system('touch here')\n",
    "x\r\ntrust_remote_code: true\nplugins: [evil]\n",
    "$(touch here) `touch here` '$(touch here)' \"; touch here; \"",
    "--trust_remote_code",
    "-x\ntouch here",
    '"""\n__import__("os").system("touch here")\n"""',
    "\u2028touch here\u0085touch here\x0btouch here\x1b[2J",
    "!!python/object/apply:os.system ['touch here']",
    "<script>x</script> ![a](http://evil.example/a.png) [b](javascript:x) <http://evil.example> www.evil.example",
    "http://evil.example a@evil.example | # - * `x`\n\n# heading\n\n1. item",
]
IDS = range(len(HOSTILE))


def hostile(content: Any, text: str) -> Any:
    """The same with every text replaced but for what says what kind of file it is."""
    if isinstance(content, str):
        return text
    if isinstance(content, list):
        return [hostile(each, text) for each in content]
    return {key: hostile(each, text) for key, each in content.items()} if isinstance(content, dict) else content


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
@pytest.mark.parametrize("name", FORMATS)
def test_nothing_of_a_manifest_runs(make_run, name, text):
    run = make_run(PLAIN)
    clean = export_run(run, name).directory
    before = {path.name for path in clean.iterdir()}
    keys = {path.name: list(yaml.safe_load(path.read_text())) for path in clean.glob("*.yaml")}
    path = run / "manifest.json"
    path.write_text(json.dumps(hostile(json.loads(path.read_text()), text)))
    with suppress(UserError):
        directory = export_run(run, name).directory
        run_scripts(directory)
        assert {path.name for path in directory.iterdir()} == before
        for file in directory.glob("*.yaml"):
            assert list(yaml.safe_load(file.read_text())) == keys[file.name]
        for file in directory.glob("train_dpo.*"):
            assert all(line.isprintable() for line in file.read_text().split("\n"))
    assert not list(run.rglob("here"))


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_writer_is_safe_by_itself(tmp_path, name, text):
    """Whatever is checked before it."""
    setup = Setup(text, True, text, 0.1, None, None, 256)
    directory = tmp_path / "export"
    directory.mkdir()
    for file, content in CONFIGS[name](setup).files.items():
        (directory / file).write_bytes(content.encode())
    run_scripts(directory)
    assert not list(tmp_path.rglob("here"))
    for file in directory.glob("*.yaml"):
        settings = yaml.safe_load(file.read_text())
        assert text in settings.values()
        assert not {"trust_remote_code", "plugins"} & set(settings)
    for words in (tmp_path / "stubs").glob("*.words"):
        given = words.read_bytes().decode().split("\0")
        assert text in given or f"--model={text}" in given or f"--model.model_name_or_path={text}" in given
        assert text != "--trust_remote_code" or text not in given


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_a_card_shows_foreign_text_as_text(make_run, text):
    run = make_run(PLAIN)

    def marks() -> set[tuple[str, str]]:
        """All that is no plain text in the card, with where it leads."""
        card = (export_run(run, "trl").directory / "README.md").read_text(encoding="utf-8")
        _, header, body = card.split("---\n", 2)
        assert set(yaml.safe_load(header)) <= {"license", "language", "task_categories", "tags", "configs"}
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(body)
        inner = [child for token in tokens for child in (token, *(token.children or ()))]
        kinds = ("html_inline", "html_block", "link_open", "image", "heading_open", "list_item_open", "hr")
        return {(each.type, str(each.attrGet("href") or each.attrGet("src"))) for each in inner if each.type in kinds}

    before = marks()
    for name in ("manifest.json", "languages.json"):
        content = json.loads((run / name).read_text())
        content |= {"warnings": [text, text], "kept": text, "rows": text} if name == "manifest.json" else {}
        if "config" in content:
            content["config"]["input"]["source"] = content["config"]["model"]["device"] = text
            content["versions"] = {text: text}
            content["data_fingerprint"] = text
        else:
            content["languages"] = ["de", text]
        (run / name).write_text(json.dumps(content))
    with suppress(UserError):
        assert marks() == before


def test_a_model_s_name_that_none_can_have_is_refused(make_run):
    run = make_run(PLAIN, model="x\ny")
    with pytest.raises(UserError, match=r"manifest.json: the name of its model, 'x\\ny', cannot be one"):
        export_run(run, "trl")


def test_only_what_the_export_wrote_is_uploaded(make_run, tmp_path):
    directory = export_run(make_run(PLAIN), "trl").directory
    (tmp_path / "secret").write_text("secret")
    (directory / "notes.txt").write_text("mine")
    (directory / "train_dpo.yaml").symlink_to(tmp_path / "secret")
    (directory / "dataset_info.json").symlink_to(tmp_path / "secret")
    (directory / "sub").symlink_to(tmp_path)
    api = FakeApi()
    push(directory, "me/kept", api=api)
    assert sorted(api.asked[-1][1]["allow_patterns"]) == ["README.md", "congrad.json", "kept.jsonl", "train_dpo.py"]
