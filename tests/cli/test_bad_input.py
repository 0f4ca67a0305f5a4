"""The bad-input table: exit code 2, one line that names file, row and column and the mend, and nothing half-written."""

import builtins
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from congrad.models.load import load

ROW = {"prompt": "Hallo?", "chosen": " Haus", "rejected": " Baum", "language": "de"}
TALK = {
    "prompt": [{"role": "user", "content": "Hallo?"}],
    "chosen": [{"role": "assistant", "content": "Haus"}],
    "rejected": [{"role": "assistant", "content": "Baum"}],
    "language": "de",
}


@pytest.fixture
def refused(congrad, files, tmp_path, monkeypatch) -> Callable[..., str]:
    """The line that a command is refused with, before any model is loaded, leaving all as it was."""

    def call(*arguments: object, loads: bool = False) -> str:
        def watched(*arguments: object, **options: object) -> object:
            assert loads, "the model is loaded although the command could be refused before"
            return load(*arguments, **options)

        monkeypatch.setattr("congrad.filtering.gradient_pass.load", watched)
        before = files(tmp_path) | files(Path.cwd())
        done = congrad("filter", *arguments)
        assert (done.code, done.out) == (2, ""), done.err
        *stages, line = done.err.splitlines()
        assert line.startswith("congrad: ")
        assert line.isprintable()
        assert all(re.match(r"\d\d:\d\d:\d\d ", stage) for stage in stages), done.err  # on a slow machine
        assert files(tmp_path) | files(Path.cwd()) == before
        return line

    return call


def without(column: str, row: dict = ROW) -> dict:
    return {name: value for name, value in row.items() if name != column}


# What the second line of x.jsonl holds, and what is said of it.
ROWS = {
    "null": ({**ROW, "chosen": None}, ["x.jsonl:2", "'chosen'", "null", "fill it or remove the row"]),
    "absent field": (without("rejected"), ["x.jsonl:2", "'rejected'", "null or missing", "fill it"]),
    "number": ({**ROW, "rejected": 7}, ["x.jsonl:2", "'rejected'", "holds 7", "write it as text"]),
    "empty prompt": ({**ROW, "prompt": ""}, ["x.jsonl:2", "'prompt'", "empty prompt", "fill it"]),
    "empty language": ({**ROW, "language": ""}, ["x.jsonl:2", "'language'", "empty language", "fill it"]),
    "null language": ({**ROW, "language": None}, ["x.jsonl:2", "'language'", "null", "fill it"]),
}


@pytest.mark.parametrize(("row", "parts"), ROWS.values(), ids=ROWS)
def test_a_bad_row_is_named_by_file_line_and_column(refused, save_rows, tiny_directory, tmp_path, row, parts):
    source = save_rows(tmp_path / "x.jsonl", [ROW, row])
    line = refused(source, "--model", tiny_directory, "--output", tmp_path / "run")
    assert str(source) in line
    assert all(part in line for part in parts), line


LINES = {
    "no JSON": (b'{"prompt": "a",', ["x.jsonl:2", "not JSON", "fix the line or remove it"]),
    "no object": (b"7", ["x.jsonl:2", "not a JSON object", "write one {...}"]),
    "not UTF-8": (
        json.dumps({**ROW, "prompt": "Käse"}, ensure_ascii=False).encode("latin-1"),
        ["x.jsonl:2", "'prompt' is not UTF-8", "iconv -f"],
    ),
}


@pytest.mark.parametrize(("data", "parts"), LINES.values(), ids=LINES)
def test_a_line_that_cannot_be_read_is_named(refused, tiny_directory, tmp_path, data, parts):
    (tmp_path / "x.jsonl").write_bytes(json.dumps(ROW).encode() + b"\n" + data + b"\n")
    line = refused(tmp_path / "x.jsonl", "-m", tiny_directory, "-o", tmp_path / "run")
    assert all(part in line for part in parts), line


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]"])
def test_no_rows(refused, tiny_directory, tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    assert "x.json: no rows" in refused(tmp_path / "x.json", "-m", tiny_directory, "-o", tmp_path / "run")


COLUMNS = {
    "misspelt": ("rejected", "rejcted", ["no column 'rejected'", "the nearest is 'rejcted': rename it"]),
    "capital": ("chosen", "Chosen", ["no column 'chosen'", "the nearest is 'Chosen': rename it"]),
    "misspelt prompt": ("prompt", "promt", ["no column 'prompt', but 'promt'; rename it"]),
    "language": ("language", "langage", ["no column 'language'", "nearest is 'langage'", "input.columns.language"]),
    "missing": ("language", "x", ["no column 'language'", "'x'", "input.columns.language"]),
}


@pytest.mark.parametrize(("old", "new", "parts"), COLUMNS.values(), ids=COLUMNS)
def test_a_missing_column_is_named_with_the_nearest(refused, save_rows, tiny_directory, tmp_path, old, new, parts):
    source = save_rows(tmp_path / "x.jsonl", [without(old) | {new: ROW[old]}])
    line = refused(source, "-m", tiny_directory, "-o", tmp_path / "run")
    assert all(part in line for part in [str(source), *parts]), line


def test_no_such_data(refused, tiny_directory, tmp_path):
    line = refused(tmp_path / "none.jsonl", "-m", tiny_directory, "-o", tmp_path / "run")
    assert f"{tmp_path / 'none.jsonl'}: no such file or folder; check the path" in line
    assert "hub" in refused("nobody/nothing", "-m", tiny_directory, "-o", tmp_path / "run")


# Options besides `filter PAIRS --model TINY --output RUN`, of which no model needs to be loaded to refuse them.
OPTIONS = {
    "keep 0": (["--keep", "0"], ["--keep 0", "above 0 and at most 1"]),
    "keep 1.5": (["--keep", "1.5"], ["--keep 1.5", "above 0 and at most 1"]),
    "keep -1": (["--keep", "-1"], ["--keep -1", "above 0 and at most 1"]),
    "keep nan": (["--keep", "nan"], ["--keep nan", "a number"]),
    "two rules": (["--keep", "0.5", "--min-score", "0"], ["--min-score 0 excludes selection.keep", "give one"]),
    "min score": (["--min-score", "3"], ["--min-score 3", "-1 or more and at most 1"]),
    "scope of a score": (
        ["--min-score", "0", "selection.scope=global"],
        ["selection.scope=global would be ignored"],
    ),
    "scope": (["selection.scope=galaxy"], ["selection.scope=galaxy", "language or global"]),
    "aggregator": (
        ["consensus.aggregator=upgrat"],
        ["aggregator=upgrat", "did you mean upgrad?", "pcgrad, mean"],
    ),
    "accumulation": (["consensus.accumulate=sum"], ["consensus.accumulate=sum", "mean or ema"]),
    "decay of a mean": (
        ["consensus.ema_decay=0.5"],
        ["ema_decay=0.5 would be ignored", "consensus.accumulate to ema"],
    ),
    "decay": (["consensus.accumulate=ema", "consensus.ema_decay=1"], ["consensus.ema_decay=1", "below 1"]),
    "batch": (["consensus.accumulate=ema", "consensus.ema_batch=0"], ["consensus.ema_batch=0", "1 or more"]),
    "one fold": (["consensus.cross_fit=1"], ["consensus.cross_fit=1", "2 or more, or 0"]),
    "loss": (["loss.name=dpa"], ["loss.name=dpa", "did you mean dpo?", "simpo"]),
    "beta": (["loss.beta=0"], ["loss.beta=0", "above 0"]),
    "penalty of dpo": (
        ["loss.length_penalty=0.1"],
        ["length_penalty=0.1 would be ignored by the dpo", "lp-dpo"],
    ),
    "lp-dpo without": (["loss.name=lp-dpo"], ["loss.length_penalty is missing"]),
    "robust without": (["loss.name=robust"], ["loss.label_smoothing is missing"]),
    "smoothing": (["loss.name=robust", "loss.label_smoothing=0.5"], ["loss.label_smoothing=0.5", "below 0.5"]),
    "ipo of sums": (["loss.name=ipo"], ["loss.name=ipo", "index.normalise=mean"]),
    "dpo of means": (["index.normalise=mean"], ["loss.name dpo", "index.normalise=sum"]),
    "normalise": (["index.normalise=max"], ["index.normalise=max", "sum or mean"]),
    "size": (["index.projection_size=0"], ["index.projection_size=0", "1 or more"]),
    "budget": (["index.token_budget=0"], ["index.token_budget=0", "1 or more"]),
    "layers": (["index.layers=top"], ["index.layers=top", "upper", "'12:'"]),
    "dtype": (["--dtype", "int8"], ["--dtype int8", "auto, float32, bfloat16, float16"]),
    "device": (["--device", "gpu"], ["--device gpu", "must be auto, cpu, cuda"]),
    "other device": (["--device", "meta"], ["--device meta", "must be auto, cpu, cuda, cuda:1, xpu or mps"]),
    "no such device": (["--device", "cuda:99"], ["--device cuda:99", "CUDA devices", "use cpu"]),
    "length": (["input.max_length=0"], ["input.max_length=0", "2 or more"]),
    "limit 0": (["--limit", "0"], ["--limit 0", "1 or more"]),
    "limit -3": (["--limit", "-3"], ["--limit -3", "1 or more"]),
    "split": (["input.split=test"], ["pairs.jsonl", "no split 'test'", "leave input.split out"]),
    "no room": (["input.max_length=3"], ["none of the 30 pairs can be scored", "length limit", "input.max_length"]),
    "chat": (["input.chat=true"], ["no chat template", "leave input.chat out"]),
}


@pytest.mark.parametrize(("options", "parts"), OPTIONS.values(), ids=OPTIONS)
def test_a_wrong_option_is_refused_before_the_model_is_loaded(
    refused, pairs_file, tiny_directory, tmp_path, options, parts
):
    line = refused(pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", *options)
    assert all(part in line for part in parts), line


def test_cuda_where_there_is_none(refused, pairs_file, tiny_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    line = refused(pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "--device", "cuda")
    assert "finds 0 CUDA devices; use cpu" in line


def test_layers_that_the_model_does_not_have(refused, pairs_file, tiny_directory, tmp_path):
    line = refused(pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "index.layers=5:", loads=True)
    assert "index.layers=5:: selects none of the model's 2 decoder blocks" in line


def test_conversations_need_a_chat_template(refused, save_rows, tiny_directory, tmp_path):
    source = save_rows(tmp_path / "x.jsonl", [TALK, TALK])
    line = refused(source, "-m", tiny_directory, "-o", tmp_path / "run")
    assert "the tokenizer has no chat template for conversations" in line
    assert "use a model tuned for chat" in line


def test_a_tokenizer_without_a_padding_token_will_do(congrad, pairs_file, tiny_directory, tmp_path):
    assert "pad_token" not in json.loads((tiny_directory / "tokenizer_config.json").read_text())
    assert congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run").code == 0


def test_no_model(refused, pairs_file, tmp_path):
    assert "a model is needed" in refused(pairs_file, "-o", tmp_path / "run")


@pytest.mark.parametrize("name", ["nobody/nothing", "./none", "gemma3-271m"])
def test_unknown_model(refused, pairs_file, tmp_path, name):
    line = refused(pairs_file, "-m", name, "-o", tmp_path / "run")
    assert name in line
    assert "no such directory, and the hub does not have it or cannot be reached" in line
    assert "gemma3-270m, smollm2-135m" in line


def test_a_folder_that_is_no_model(refused, pairs_file, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused(pairs_file, "-m", tmp_path / "empty", "-o", tmp_path / "run")
    assert f"{tmp_path / 'empty'} cannot be loaded: there is no config.json in that directory; name the" in line


def test_a_model_of_another_kind(refused, pairs_file, tiny_directory, tmp_path):
    shutil.copytree(tiny_directory, tmp_path / "bert")
    config = json.loads((tiny_directory / "config.json").read_text())
    config |= {"architectures": ["BertForMaskedLM"], "model_type": "bert"}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    line = refused(pairs_file, "-m", tmp_path / "bert", "-o", tmp_path / "run", loads=True)
    assert "BertForMaskedLM: a causal language model is needed" in line


def test_a_model_that_computes_no_numbers(refused, pairs_file, tiny_directory, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_directory, tmp_path / "nan")
    weights = load_file(tiny_directory / "model.safetensors")
    weights["model.norm.weight"].fill_(torch.nan)
    save_file(weights, tmp_path / "nan" / "model.safetensors", {"format": "pt"})
    line = refused(pairs_file, "-m", tmp_path / "nan", "-o", tmp_path / "run", "-q", loads=True)
    assert "no finite log-probability for the first 8 pairs in float32; try another model.dtype" in line


def test_no_such_adapter_or_reference(refused, pairs_file, tiny_directory, tmp_path):
    command = (pairs_file, "-m", tiny_directory, "-o", tmp_path / "run")
    assert "no adapter_config.json there" in refused(*command, "--adapter", tmp_path / "none", loads=True)
    assert "./none: no such directory" in refused(*command, "--reference", "./none", loads=True)


@pytest.mark.parametrize("name", ["upgrad", "mgda", "cagrad", "gradvac", "aligned-mtl"])
def test_an_aggregator_without_its_extra(refused, pairs_file, tiny_directory, tmp_path, monkeypatch, name):
    for module in [module for module in sys.modules if module.split(".")[0] == "torchjd"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    line = refused(pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", f"consensus.aggregator={name}")
    assert "pip install 'congrad[torchjd]'" in line
    assert name in line


def test_an_output_that_is_no_run(refused, pairs_file, tiny_directory, tmp_path):
    for name, content in (("notes.txt", "mine"), ("manifest.json", '{"version": 1}'), ("deep/kept.jsonl", "{}")):
        directory = tmp_path / name.replace("/", "-").split(".")[0]
        (directory / name).parent.mkdir(parents=True)
        (directory / name).write_text(content)
        line = refused(pairs_file, "-m", tiny_directory, "-o", directory)
        assert f"output: {directory} is not empty and is not a congrad run; choose another output directory" in line
        assert (directory / name).read_text() == content


def test_an_output_that_is_a_file(refused, pairs_file, tiny_directory, tmp_path):
    line = refused(pairs_file, "-m", tiny_directory, "-o", pairs_file)
    assert f"output: {pairs_file} is a file; name a directory" in line


def test_an_output_that_cannot_be_made(refused, pairs_file, tiny_directory, tmp_path):
    """Root may write anywhere but below a file."""
    line = refused(pairs_file, "-m", tiny_directory, "-o", pairs_file / "deep" / "run")
    assert "cannot be written (Not a directory); choose another output directory" in line


def test_an_output_that_cannot_be_written(refused, pairs_file, tiny_directory, tmp_path, monkeypatch):
    path_open = Path.open

    def refuse(path: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if "x" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return path_open(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    (tmp_path / "locked").mkdir()
    for target in (tmp_path / "locked", tmp_path / "new" / "run"):
        line = refused(pairs_file, "-m", tiny_directory, "-o", target)
        assert f"output: {target} cannot be written (Permission denied); choose another output directory" in line


class FullDisk:
    """`open` for writing to a file of this name fails once some bytes are written."""

    def __init__(self, name: str) -> None:
        self.name, self.hit, self.open = name, False, builtins.open

    def __call__(self, file, mode="r", *arguments, **options):
        opened = self.open(file, mode, *arguments, **options)
        if "x" in mode and self.name in os.path.basename(os.fspath(file)):
            self.hit = True
            return Full(opened)
        return opened


class Full:
    def __init__(self, file) -> None:
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data) -> None:
        self.file.write(b"{")
        raise OSError(errno.ENOSPC, "No space left on device")


NAMES = ["plan.json", "sketches-00000", "index.json", "kept.jsonl", "scores.parquet", "languages.json", "manifest.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_no_file_half_written(
    congrad, files, pairs_file, tiny_directory, tmp_path, monkeypatch, name
):
    """The same command then finishes, and a finished run stays as it was."""
    full, path_open = FullDisk(name), Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, *arguments, **options: full(path, *arguments, **options))
        done = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    assert full.hit
    assert Path.open is path_open
    assert done.refused, done.err
    assert not done.out
    assert "No space left on device" in done.err
    assert "free some space" in done.err
    assert not any(Path(path).name.startswith(".") for path in files(tmp_path))
    assert not any(name in Path(path).name for path in files(tmp_path))
    assert not (tmp_path / "run" / "manifest.json").exists()

    assert congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "-q").code == 0
    whole = {path: (tmp_path / path).read_bytes() for path in files(tmp_path) if (tmp_path / path).is_file()}
    if name in NAMES[3:]:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda path, *arguments, **options: full(path, *arguments, **options))
            done = congrad("filter", tmp_path / "run", "--keep", 0.1)
        assert done.code == 2
        assert {
            path: (tmp_path / path).read_bytes() for path in files(tmp_path) if (tmp_path / path).is_file()
        } == whole


def test_a_mistake_of_ours_is_told_as_one(congrad, pairs_file, tiny_directory, tmp_path, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("congrad.filtering.conclude.score", fail)
    done = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    assert done.code == 1
    assert "ZeroDivisionError: oh" in done.err
    assert done.err.endswith(
        "congrad: this is a bug; please report it with the lines above and what `congrad env` prints\n"
    )
