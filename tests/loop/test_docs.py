"""The loop's documentation: its commands run, its reference is the code's, its demo is a configuration."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from congrad.loop.config import read_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "loop.md"
FIELDS_OF_A_ROUND = {
    "generate": "responses.jsonl",
    "judge": "hygiene.json",
    "pair": "pairs.jsonl",
    "filter": "kept.jsonl",
    "train": "model/model.safetensors",
    "evaluate": "evaluation.md",
}


def commands() -> Iterator[list[str]]:
    """The arguments of every `congrad` in the page's shell blocks."""
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[0] == "congrad":
                yield words[1:]


def test_the_page_names_every_command_of_the_loop():
    assert {words[0] for words in commands()} == {"run", "filter", *FIELDS_OF_A_ROUND}


def test_the_demo_asks_in_five_languages(monkeypatch):
    from congrad.selfreward.prompts import load_prompts

    monkeypatch.chdir(ROOT)
    config = read_config(Path("demo/loop.yaml"))
    assert {prompt.language for prompt in load_prompts(config.prompts)} == set(config.evaluate.seen)
    assert len(config.evaluate.seen) >= 5
    assert config.rounds.count == 2


@pytest.mark.slow
def test_the_page_s_commands_run_one_after_the_other(congrad, place, talker, monkeypatch):
    """With a tiny model in place of the demo's, and the demo's files; of the pairs to evaluate on, a tenth."""
    (place / "demo").mkdir()
    for name in ("prompts", "judge.txt", "pairs"):
        (place / "demo" / name).symlink_to(ROOT / "demo" / name)
    text = (ROOT / "demo" / "loop.yaml").read_text(encoding="utf-8")
    text = text.replace("gemma3-270m", str(talker)).replace("max_tokens: 32", "max_tokens: 4")
    text = text.replace("limit: 260", "limit: 26")
    (place / "demo" / "loop.yaml").write_text(text.replace("max_length: 128", "max_length: 1024"), encoding="utf-8")
    for words in commands():
        words = [word.replace("gemma3-270m", str(talker)).replace("128", "1024").replace("390", "39") for word in words]
        done = congrad(*words)
        assert done.code == 0, f"{words}\n{done.err}"
    assert (place / "runs" / "loop" / "round-3" / "train" / "model").is_dir()
    assert (place / "runs" / "loop" / "evaluate-1" / "evaluation.md").is_file()
    for stage, name in FIELDS_OF_A_ROUND.items():
        assert (place / "round" / stage / name).is_file()
