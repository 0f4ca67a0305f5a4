"""What a command pulls in: nobody waits for a library that is not used, or is broken by a version that is pinned."""

import subprocess
import sys

import pytest
from tests.files import write_jsonl

FILTER_AGAIN = "import congrad.filtering.conclude, congrad.report.screen, congrad.selection.keep"
WHOLE_FILTER = FILTER_AGAIN + ", congrad.filtering.gradient_pass"
SETTINGS = "import congrad, congrad.loop.config, congrad.filtering.run, congrad.report.display"
HELP = "import congrad.cli"


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        (FILTER_AGAIN, {"transformers", "trl", "peft", "openai", "lingua", "plotly"}),
        (WHOLE_FILTER, {"trl", "openai", "lingua", "lm_eval", "vllm"}),
        (SETTINGS, {"torch", "transformers", "datasets", "trl", "openai"}),
        (HELP, {"torch", "transformers", "datasets", "trl", "openai"}),
    ],
)
def test_unused_libraries_stay_out(imports, unwanted):
    program = f"{imports}\nimport sys\nprint(*({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# Mistakes, and what is not imported before they are found


PROGRAM = """
import atexit, sys
from congrad.cli import main
atexit.register(lambda: print(*({"torch", "transformers", "datasets", "trl"} & set(sys.modules))))
main()
"""
ROW = {"prompt": "Hallo?", "chosen": " Haus", "rejected": " Baum", "language": "de"}
FILTER = ["filter", "pairs.jsonl", "--model", "m", "--output", "out"]
LOOP = ["run", "run.yaml", "--output", "out"]
MISTAKES = {
    "path": (["filter", "none.jsonl", "--model", "m"], "none.jsonl: no such file or folder"),
    "column": ([*FILTER, "--language-column", "lang"], "pairs.jsonl: no column 'lang'"),
    "line": (["filter", "broken.jsonl", "--model", "m"], "broken.jsonl:2: not JSON"),
    "keep": ([*FILTER, "--keep", "2"], "--keep 2: must be above 0 and at most 1"),
    "dtype": ([*FILTER, "--dtype", "int8"], "--dtype int8: must be one of auto"),
    "device": ([*FILTER, "--device", "gpu"], "--device gpu: must be"),
    "loss": ([*FILTER, "loss.name=dop"], "loss.name=dop: must be one of"),
    "aggregator": ([*FILTER, "consensus.aggregator=pcgard"], "did you mean pcgrad?"),
    "format": ([*FILTER, "--format", "trll"], "--format 'trll': choose from"),
    "output": (["filter", "pairs.jsonl", "--model", "m", "--output", "pairs.jsonl"], "pairs.jsonl is a file"),
    "prompts of a loop": ([*LOOP, "prompts.source=none.jsonl"], "none.jsonl: no such file or folder"),
    "column of a loop": ([*LOOP, "prompts.columns.prompt=text"], "prompts.jsonl: no column 'text'"),
    "pairs of a loop": ([*LOOP, "evaluate.pairs=none/"], "none/: no such file or folder"),
    "key of a loop": ([*LOOP, "generate.sample=3"], "generate.sample"),
    "value of a loop": ([*LOOP, "rounds.count=0"], "rounds.count=0"),
    "generate": (["generate", "none.jsonl", "--model", "m", "--output", "out"], "none.jsonl: no such file"),
    "judge": (["judge", "none", "--model", "m", "--output", "out", "judge.samples=0"], "judge.samples=0"),
    "name of train": ([*LOOP, "train.learning_rat=1"], "did you mean learning_rate?"),
    "train": (["train", "none/", "--model", "m", "--output", "out"], "none"),
    "evaluate": (["evaluate", "m", "--output", "out", "evaluate.pairs=none/"], "none/: no such file or folder"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_before_anything_heavy_is_imported(tmp_path, words, message):
    write_jsonl(tmp_path / "pairs.jsonl", [ROW, ROW])
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "Hallo?", "language": "de"}])
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    (tmp_path / "broken.jsonl").write_text(f"{lines[0]}\n{lines[1][:-1]}\n")
    (tmp_path / "run.yaml").write_text(
        "model: {name: m}\nprompts: {source: prompts.jsonl}\ntrain: {beta: 0.1}\nevaluate: {pairs: pairs.jsonl}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("congrad: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert done.stdout.split() == [], "imported before the mistake was found"


def test_a_mistake_in_the_environment_is_found_as_soon(tmp_path, monkeypatch):
    monkeypatch.setenv("CONGRAD_BFLOAT16", "maybe")
    done = subprocess.run([sys.executable, "-c", PROGRAM, *FILTER], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "congrad: the environment variable CONGRAD_BFLOAT16 is 'maybe'; set it to slow, fast or measure\n"
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(("chosen", "message"), [(7, "holds 7, not text"), (None, "is null or missing")])
def test_a_row_that_the_full_check_refuses_needs_no_pytorch(tmp_path, chosen, message):
    write_jsonl(tmp_path / "pairs.jsonl", [ROW, ROW | {"chosen": chosen}])
    done = subprocess.run([sys.executable, "-c", PROGRAM, *FILTER], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"pairs.jsonl:2: column 'chosen' {message}" in done.stderr
    assert done.stdout.split() == ["datasets"]
