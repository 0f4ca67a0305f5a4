"""What a received run says of places and sizes is not taken on trust: an index elsewhere is told, what claims more than
its files hold is refused at once, and nothing is written through links."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import preference_rows
from tests.exports.rows import CONVERSATIONS
from tests.files import write_jsonl
from tests.report.loops import make_loop
from tests.runs import make_run

from congrad.errors import UserError
from congrad.exports import export_run
from congrad.files import write_json
from congrad.filtering.finished import open_run, read_run, rows_at
from congrad.filtering.run import filter_preferences
from congrad.loop.dry_run import size_of
from congrad.models.compute import begun_dtype
from congrad.report.loop import show_stage
from congrad.report.write import write_report
from congrad.selfreward.responses import read_responses, read_scores
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig
from congrad.stage import begin, finish, read_json, read_rows

LIMIT = 60  # seconds of a process of its own, most of them for its imports
NESTED = ['{"congrad": 1, "a": ' + "[" * deep + "]" * deep + "}" for deep in (100, 900, 100_000)]


@pytest.fixture(scope="module")
def made(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    data = write_jsonl(place / "pairs.jsonl", preference_rows(30))
    model = Model(str(tiny_directory), dtype="float32", device="cpu")
    filter_preferences(FilterConfig(Input(str(data)), model, PassSettings(projection_size=4)), place / "run")
    return place / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The index


def test_an_index_elsewhere_is_told(congrad, made, run):
    assert "lies elsewhere" not in congrad("filter", run).err
    for place in (str(made / "index"), os.path.relpath(made / "index", run)):
        change(run / "manifest.json", index=place)
        done = congrad("filter", run)
        assert done.code == 0, done.err
        assert f"the index of {run} lies elsewhere: {made / 'index'}" in done.err
        shutil.rmtree(run)
        shutil.copytree(made, run)
    shutil.rmtree(run / "index")
    (run / "index").symlink_to(made / "index")
    done = congrad("filter", run, "-o", run.parent / "other")
    assert f"the index of {run} lies elsewhere: {made / 'index'}" in done.err


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({}, "no gradient index"),
        ({"plan.json": b"{"}, "plan.json cannot be read"),
        ({"plan.json": b"secret: 1"}, "plan.json cannot be read"),
        ({"plan.json": b'{"format": 4}'}, "plan.json: damaged: model is missing"),
        ({"plan.json": b'{"key": "secret"}'}, "plan.json: damaged: format is missing"),
    ],
)
def test_what_is_no_index_of_ours_is_refused(congrad, run, tmp_path, there, said):
    (tmp_path / "else").mkdir()
    for name, content in there.items():
        (tmp_path / "else" / name).write_bytes(content)
    change(run / "manifest.json", index=str(tmp_path / "else"))
    done = congrad("filter", run)
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert "secret" not in done.err


CLAIMS = [
    {"num_pairs": 10**11, "num_rows": 10**11},
    {"shard_pairs": 1, "num_pairs": 10**11},
    {"dims": 10**12, "settings": {"projection_size": 10**6, "normalise": "sum"}},
    {"num_weights": 10**400},
]


@pytest.mark.parametrize("claims", CLAIMS, ids=range(len(CLAIMS)))
def test_a_plan_that_claims_much_is_refused_at_once(run, claims):
    change(run / "index" / "plan.json", **claims)
    command = [sys.executable, "-m", "congrad", "filter", run]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2, done.stderr
    assert f"congrad: {run / 'index'}" in done.stderr.splitlines()[-1]
    assert ": damaged: " in done.stderr.splitlines()[-1]


def test_a_plan_that_says_other_sizes_is_not_continued(congrad, made, run, tiny_directory):
    change(run / "index" / "plan.json", num_weights=1)
    options = ("--dtype", "float32", "--device", "cpu", "index.projection_size=4")
    done = congrad("filter", made.parent / "pairs.jsonl", "-m", tiny_directory, *options, "-o", run)
    assert done.refused
    assert "was begun with num_weights 1, now " in done.err


def test_a_run_does_not_choose_the_bounds_of_its_data(congrad, run):
    manifest = json.loads((run / "manifest.json").read_text())
    data = Path(manifest["config"]["input"]["source"])
    manifest["config"]["input"]["bounds"] |= {"row_bytes": 2**60, "languages": 2}
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert congrad("filter", run, "-o", run.parent / "other").code == 0
    done = congrad("filter", run, "input.bounds.row_bytes=40")
    assert done.refused
    assert f"{data}:" in done.err
    assert "raise input.bounds.row_bytes" in done.err


# Scores and rows


def test_scores_that_claim_more_rows_than_there_are_texts_are_refused(tmp_path):
    directory = make_run(tmp_path / "run", each=5)
    many = pa.table({"language": pa.array(["de"] * 10**6), "keep": pa.array(np.ones(10**6, dtype=bool))})
    pq.write_table(many, directory / "scores.parquet")
    for read in (read_run, lambda run: export_run(run, "trl")):
        with pytest.raises(UserError, match=r"1000000 rows, more than kept.jsonl and dropped.jsonl have room for"):
            read(directory)


@pytest.mark.parametrize("name", ["scores.parquet", "kept.jsonl", "dropped.jsonl"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    directory = make_run(tmp_path / "run", each=5)
    (directory / name).unlink()
    os.mkfifo(directory / name)
    with pytest.raises(UserError):
        read_run(directory)


NO_PAIRS: list[dict[str, Any]] = [
    {},
    {"chosen": "a"},
    {"chosen": "a", "rejected": None},
    {"chosen": 1, "rejected": 2},
    {"chosen": ["a"], "rejected": ["b"]},
    {"chosen": [], "rejected": []},
    {"chosen": "a", "rejected": CONVERSATIONS[0]["rejected"]},
    {**CONVERSATIONS[0], "prompt": "a"},
    {**CONVERSATIONS[0], "rejected": [{"role": "assistant"}]},
    {**CONVERSATIONS[0], "rejected": [{"role": ["assistant"], "content": "a"}]},
    {**CONVERSATIONS[0], "rejected": [{"role": "assistant", "content": ["a"]}]},
]


@pytest.mark.parametrize("row", NO_PAIRS, ids=range(len(NO_PAIRS)))
def test_a_row_that_is_no_pair_is_refused(tmp_path, row):
    directory = make_run(tmp_path / "run", each=2, languages=("de", "en"))
    lines = (directory / "kept.jsonl").read_text().splitlines()
    score = json.loads(lines[0])["congrad_score"]
    (directory / "kept.jsonl").write_text("\n".join([json.dumps(row | {"congrad_score": score}), *lines[1:]]) + "\n")
    for name in ("trl", "axolotl", "ms-swift"):
        with pytest.raises(UserError, match=r"kept.jsonl:1: is no pair of texts or of conversations"):
            export_run(directory, name)
    with pytest.raises(UserError, match=r"kept.jsonl:1: does not match its row of scores.parquet"):
        rows_at(read_run(directory), range(4))


def test_a_score_that_is_text_is_refused(tmp_path):
    directory = make_run(tmp_path / "run", each=2, languages=("de", "en"))
    path = directory / "kept.jsonl"
    rows = [json.loads(line) | {"congrad_score": "high"} for line in path.read_text().splitlines()]
    write_jsonl(path, rows)
    with pytest.raises(UserError, match=r"kept.jsonl:1: does not match its row of scores.parquet"):
        rows_at(read_run(directory), range(4))


def test_conversations_of_a_manifest_that_says_text(tmp_path):
    """`input.chat` is for text alone; a manifest that says otherwise makes no conversation of conversations."""
    directory = make_run(tmp_path / "run", each=2, languages=("de", "en"))
    write_jsonl(directory / "kept.jsonl", CONVERSATIONS)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["config"]["input"]["chat"] = True
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert export_run(directory, "axolotl").num_pairs == len(CONVERSATIONS)


@pytest.mark.parametrize("text", NESTED, ids=("100", "900", "100000"))
def test_what_is_nested_deep_is_refused_by_name(tmp_path, text):
    directory = make_run(tmp_path / "run", each=2, languages=("de", "en"))
    (directory / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest.json cannot be read \((nested more|maximum)"):
        open_run(directory)
    (tmp_path / "stage.json").write_text(text.replace('"congrad": 1', '"stage": "x", "settings": {}'))
    with pytest.raises(UserError, match=r"stage.json cannot be read \((nested more|maximum)"):
        begin(tmp_path, "x", {})


def test_a_row_that_could_not_be_written_is_refused(tmp_path):
    inner = json.dumps({"a": json.loads("[" * 500 + "]" * 500)})
    (tmp_path / "kept.jsonl").write_text(inner + "\n")
    with pytest.raises(UserError, match=r"kept.jsonl:1: not JSON that can be read \(nested more than 250 deep"):
        list(read_rows(tmp_path / "kept.jsonl"))


def test_a_dtype_is_looked_for_in_what_can_be_read(tmp_path):
    for deep in (60, 900, 100_000):
        (tmp_path / "stage.json").write_text('{"a": ' * deep + "1" + "}" * deep)
        assert begun_dtype(tmp_path) is None


@pytest.mark.parametrize("header", [b"", b"\xff" * 8, b"\x02" + 7 * b"\0" + b"{{", b"\x04" + 7 * b"\0" + b'{"a"'])
def test_the_header_of_a_model_s_weights_is_checked(tmp_path, header):
    (tmp_path / "model.safetensors").write_bytes(header)
    with pytest.raises(UserError, match=r"model.safetensors: unreadable \("):
        size_of(str(tmp_path))


def test_half_a_surrogate_pair_is_written_as_json_escapes_it(tmp_path):
    write_json(tmp_path / "manifest.json", {"command": ["filter", "\udcff.jsonl", "né"]})
    assert read_json(tmp_path / "manifest.json") == {"command": ["filter", "\udcff.jsonl", "né"]}
    assert "né" in (tmp_path / "manifest.json").read_text(encoding="utf-8")


# Links, and names


def test_an_export_goes_through_no_link_that_came_with_the_run(congrad, tmp_path):
    directory = make_run(tmp_path / "run", each=5)
    (tmp_path / "mine").mkdir()
    (directory / "trl").symlink_to(tmp_path / "mine")
    done = congrad("export", directory)
    assert done.refused
    assert f"output: {directory / 'trl'} is a symbolic link, which is not written through; remove the link" in done.err
    assert not list((tmp_path / "mine").iterdir())
    assert congrad("export", directory, "-o", directory / "trl").code == 0  # named by the user


@pytest.mark.parametrize("link", ["congrad", "congrad/round-1", "congrad/round-1/filter"])
def test_a_page_of_a_loop_goes_through_no_link(tmp_path, link):
    loop, mine = make_loop(tmp_path / "loop", "de"), tmp_path / "mine"
    (loop / link).rename(mine)
    (loop / link).symlink_to(mine)
    with pytest.raises(UserError, match=f"output: {loop / link} is a symbolic link, which is not written through"):
        write_report(loop)
    assert not list(tmp_path.rglob("report.html"))


def test_a_mark_that_cannot_be_read_ends_no_filter(congrad, run):
    assert congrad("export", run).code == 0
    for text in ("{", "[]", "{}", '{"selection": 1}'):
        (run / "trl" / "congrad.json").write_text(text)
        done = congrad("filter", run, "-q")
        assert done.code == 0, done.err
        assert f"{run / 'trl'} holds the pairs of an earlier selection" in done.err


@pytest.mark.parametrize("command", ["filter", "report", "export"])
def test_a_name_that_no_file_can_have(congrad, command):
    done = congrad(command, "x" * 300)
    assert done.refused
    assert f"congrad: '{'x' * 196}...: cannot be used (File name too long); choose a shorter name" in done.err


def test_an_index_that_may_not_be_looked_at(congrad, run, tmp_path, monkeypatch):
    stat, locked = os.stat, str(tmp_path / "locked")

    def denied(path, **options):
        if str(path).startswith(locked):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    change(run / "manifest.json", index=locked)
    monkeypatch.setattr("os.stat", denied)
    done = congrad("filter", run)
    assert done.refused
    assert "locked/plan.json': cannot be used (Permission denied); check its permissions" in done.err


# A loop, and what its stages read of each other


DAMAGE = [
    ("round-1/generate/manifest.json", "prompts", "many"),
    ("round-1/judge/manifest.json", "warnings", 5),
    ("round-1/judge/hygiene.json", "all", None),
    ("round-1/judge/hygiene.json", "all", {"responses": 1}),
    ("round-1/judge/hygiene.json", "languages", ["de"]),
    ("round-1/pair/manifest.json", "pairs", 10**400),
    ("round-1/pair/language.json", "languages", ["de"]),
    ("round-1/pair/language.json", "languages", {"de": {"off_target_rate": "x"}}),
    ("random/round-1/filter/manifest.json", "kept", "all"),
    ("random/round-1/filter/manifest.json", "settings", "none"),
    ("random/round-1/train/manifest.json", "first_loss", "x"),
    ("random/round-1/train/manifest.json", "first_loss", float("nan")),
    ("evaluate/evaluation.json", "models", {}),
    ("evaluate/evaluation.json", "headline", ["x"]),
    ("evaluate/evaluation.json", "confidence", 10**400),
    ("evaluate/evaluation.json", "metrics", [{}]),
    ("evaluate/evaluation.json", "tax", {}),
    ("evaluate/evaluation.json", "notes", 5),
]


@pytest.mark.parametrize(("name", "key", "value"), DAMAGE, ids=range(len(DAMAGE)))
def test_a_loop_that_says_what_no_stage_wrote_is_refused(tmp_path, name, key, value):
    path = make_loop(tmp_path / "loop", "de", evaluated=True) / name
    change(path, **{key: value})
    for show in (lambda: write_report(tmp_path / "loop"), lambda: show_stage(path.parent.name, path.parent, "x")):
        with pytest.raises(UserError, match=rf"{path}: damaged: {key}"):
            show()


def test_a_stage_that_says_what_none_wrote_is_refused(tmp_path):
    for content in ({}, {"stage": 5, "settings": {}}, {"stage": "x"}, {"stage": "x", "settings": []}):
        (tmp_path / "stage.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"stage.json: damaged: (stage|settings) "):
            begin(tmp_path, "x", {})
    (tmp_path / "stage.json").write_text(json.dumps({"stage": "\x1b[2J" + "y" * 500, "settings": {}}))
    with pytest.raises(UserError, match=r"holds the stage '\\x1b\[2Jy+\.\.\., not 'x'"):
        begin(tmp_path, "x", {})


RESPONSE = {
    "key": "k",
    "prompt_key": "p",
    "row": 0,
    "language": "de",
    "prompt": "a",
    "response": "b",
    "num_tokens": 1,
    "sample": 0,
}


def test_responses_and_scores_that_no_stage_wrote_are_refused(tmp_path):
    generated, judged = tmp_path / "generate", tmp_path / "judge"
    begin(generated, "generate", {"system": None})
    finish(generated, {"chat": True})
    write_jsonl(generated / "responses.jsonl", [RESPONSE])
    begin(judged, "judge", {})
    finish(judged, {})
    write_jsonl(judged / "scores.jsonl", [{"key": "k", "score": 1}])
    assert read_scores(judged, read_responses(generated)) == [1]
    write_jsonl(judged / "scores.jsonl", [{"key": "k", "score": "1"}])
    with pytest.raises(UserError, match=r"scores.jsonl:1: damaged: score should be a valid number"):
        read_scores(judged, read_responses(generated))
    for change_of in ({"prompt": []}, {"prompt": [{"role": "user", "content": 5}]}, {"response": None}, {"key": [1]}):
        write_jsonl(generated / "responses.jsonl", [RESPONSE, RESPONSE | change_of])
        with pytest.raises(UserError, match=rf"responses.jsonl:2: damaged: {next(iter(change_of))}"):
            read_responses(generated)
    change(generated / "manifest.json", settings={})
    with pytest.raises(UserError, match=r"manifest.json: damaged: settings.system is missing"):
        read_responses(generated)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"model": 5}, "damaged: model "),
        ({}, "model.name is missing"),
        ({"model": None}, "model.name is missing"),
    ],
)
def test_the_model_of_answers_is_text(congrad, tmp_path, kept, said):
    generated = tmp_path / "generate"
    begin(generated, "generate", {"system": None})
    finish(generated, {"chat": True} | kept)
    write_jsonl(generated / "responses.jsonl", [RESPONSE])
    done = congrad("judge", generated, "-o", tmp_path / "judge")
    assert done.refused
    assert said in done.err
