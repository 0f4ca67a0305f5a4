"""A run from a stranger, whose every text is hostile, under every command: nothing runs, nothing is written but what
was asked for, nothing is sent, and what reaches the terminal is plain text."""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Called, preference_rows
from tests.exports.scripts import run_scripts
from tests.files import write_jsonl
from tests.report.loops import make_loop

from congrad.errors import UserError
from congrad.evaluation.run import run_evaluate
from congrad.exports import FORMATS, export_run
from congrad.filtering.run import filter_preferences
from congrad.report.loop import show_stage
from congrad.report.write import write_report
from congrad.settings.evaluation import Evaluate
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig
from congrad.words import JOINERS

HOSTILE = [
    "x\ntouch CANARY\n",
    "x\n__import__('os').system('touch CANARY')\n",
    "x\r\ntrust_remote_code: true\nplugins: [evil]\n",
    "$(touch CANARY) `touch CANARY` ${IFS} '$(touch CANARY)' \"; touch CANARY; \" | & > CANARY",
    "--trust_remote_code",
    '"""\n__import__("os").system("touch CANARY")\n"""',
    "\u2028touch CANARY\u0085touch CANARY\x0btouch CANARY",
    "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\link\x9b31m\x9d0;x\x9c\x08\x7f",
    "!!python/object/apply:os.system ['touch CANARY']",
    "&a [*a, *a] *b %YAML --- ... ? : {x: !!set}",
    "</script><script>touch('CANARY')</script><img src=x onerror=alert(1)> ![a](http://evil.example/a.png)",
    "[bold red on white]x[/] [link=http://evil.example]y[/link] :bomb: {{ 7*7 }} {% x %} %s %n {0}",
    "\u202etxt.exe\u2066\u200b\ufeff\U000e0041",
    "\ud800 half",
    "nul\x00byte",
    "../../../CANARY",
    "CANARY",
    "/dev/stdin",
    "//evil.example/share",
    "http://evil.example/x",
    "hf://datasets/evil/x",
    "x" * 5000,
    "x/" * 3000,
    "",
]
DATA = ("\u00e9", "x\ny", "\x1b[2J\u202e", "</script><script>x", "[bold]x[/] | `y`", "../../x", "x" * 300)
"""Languages of a run that was made of hostile data."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename": 2, "os.symlink": 2, "os.link": 2}
CHANGES |= dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"), 1)
STARTS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.", "socket.")
watched: list[tuple[str, tuple[Any, ...]]] | None = None


def _hear(event: str, details: tuple[Any, ...]) -> None:
    if watched is not None:
        opens = event == "open" and isinstance(details[2], int) and details[2] & WRITES
        if opens or event in CHANGES or event.startswith(STARTS):
            watched.append((event, details))


sys.addaudithook(_hear)


@contextmanager
def only_within(*places: Path) -> Iterator[None]:
    """Fails where anything is started, sent, or changed elsewhere."""
    global watched
    watched = heard = []
    try:
        yield
    finally:
        watched = None
    roots = [place.resolve() for place in (*places, Path(os.environ["HF_DATASETS_CACHE"]))]
    for event, details in heard:
        assert not event.startswith(STARTS), (event, details)
        if event in CHANGES and event != "os.truncate" and details[-1] not in (-1, None):
            continue  # below a folder that is open, as `shutil.rmtree` does it, which was heard before
        for path in details[: CHANGES.get(event, 1)]:
            if not isinstance(path, int) and "__pycache__" not in (name := os.fsdecode(path)):
                place = Path(os.path.abspath(name))
                assert any(place.is_relative_to(root) for root in roots), (event, details)


# A run, and what stands in its files


@pytest.fixture(scope="module")
def made(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A whole run with its data, index, exports, report and an evaluation; of plain data, or of hostile data."""
    found: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in found:
            place = tmp_path_factory.mktemp(kind)
            rows = preference_rows(30)
            if kind == "hostile":
                texts = HOSTILE[:14]
                for number, row in enumerate(rows):
                    row["language"] = DATA[number % len(DATA)]
                    row["id"] = row["prompt"] = texts[number % len(texts)].encode("utf-8", "replace").decode()
            data = write_jsonl(place / "pairs.jsonl", rows)
            model = Model(str(tiny_directory), dtype="float32", device="cpu")
            config = FilterConfig(Input(str(data)), model, PassSettings(projection_size=4))
            filter_preferences(config, place / "run")
            write_report(place / "run")
            for name in FORMATS:
                export_run(place / "run", name)
            run_evaluate({"M0": model}, Evaluate(pairs=str(data), draws=100), place / "table")
            found[kind] = place
        return found[kind]

    return make


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def received(made: Path, place: Path) -> Path:
    shutil.rmtree(place / "received", ignore_errors=True)
    shutil.copytree(made, place / "received")
    return place / "received"


def rows_of(path: Path) -> list[Any]:
    """All that a JSON file holds, or a JSONL file line by line."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def texts(content: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each text of a JSON value stands; `(..., None, key)` is a key."""
    if isinstance(content, str):
        yield where
    elif isinstance(content, list):
        for number, each in enumerate(content):
            yield from texts(each, (*where, number))
    elif isinstance(content, dict):
        for key, each in content.items():
            yield (*where, None, key)
            yield from texts(each, (*where, key))


def put(content: Any, where: tuple[Any, ...], text: str) -> None:
    *way, last = where
    is_key = bool(way) and way[-1] is None
    for key in way[:-1] if is_key else way:
        content = content[key]
    content[text if is_key else last] = content.pop(last) if is_key else text


def replaced(content: Any, text: str, kept: tuple[str, ...] = ()) -> Any:
    """The same with every text replaced, but for those below a key that is kept."""
    if isinstance(content, str):
        return text
    if isinstance(content, list):
        return [replaced(each, text, kept) for each in content]
    if isinstance(content, dict):
        return {key: each if key in kept else replaced(each, text, kept) for key, each in content.items()}
    return content


# The commands


def commands(place: Path, model: Path) -> dict[str, tuple[object, ...]]:
    run, data = place / "received" / "run", place / "received" / "pairs.jsonl"
    tiny, draws = ("--dtype", "float32", "--device", "cpu"), "evaluate.draws=100"
    return {
        "filter": ("filter", run, "--keep", 0.4, "-o", place / "other"),
        "report": ("report", run),
        **{name: ("export", run, "-f", name) for name in FORMATS},
        "groups": ("groups", run, "-n", 2, "--all", "-o", place / "received" / "groups"),
        "refilter": ("filter", run, "--keep", 0.3),
        "advise": ("advise", run),
        "figures": ("report", run, "--figures", place / "figures"),
        "continue": ("filter", data, "-m", model, *tiny, "-o", run, "index.projection_size=4"),
        "evaluate": ("evaluate", f"M0={model}", "-o", place / "received" / "table", f"evaluate.pairs={data}", draws),
        "kept": ("evaluate", f"M0={model}", "-o", place / "table", f"evaluate.pairs={run / 'kept.jsonl'}", draws),
    }


def check(done: Called, what: object) -> None:
    assert done.code == 0 or done.refused, (what, done)
    for line in (done.out + done.err).split("\n"):
        assert all(character.isprintable() or character in JOINERS for character in line), (what, line)
    assert "Traceback" not in done.err, (what, done.err)
    assert "this is a bug" not in done.err


def check_exports(run: Path, clean: Path, seen: set[bytes]) -> None:
    """Runs the scripts that were not run before, and looks at what the configurations say."""
    for name in FORMATS:
        files = {path.name: path.read_bytes() for path in (run / name).glob("train_dpo.*")}
        if (joined := b"".join(files.values())) in seen:
            continue
        seen.add(joined)
        run_scripts(run / name)
        for file, text in files.items():
            assert all(line.isprintable() for line in text.decode().split("\n"))
            if file.endswith(".yaml"):
                assert list(yaml.safe_load(text)) == list(yaml.safe_load((clean / name / file).read_text()))


def pages(place: Path) -> list[int]:
    """How many scripts and images each page has."""
    return [
        sum(page.read_text(encoding="utf-8").lower().count(mark) for mark in ("<script", "<img", "<iframe", "<a "))
        for page in sorted(place.rglob("report.html"))
    ]


def attack(
    congrad: Callable[..., Called], place: Path, model: Path, names: Sequence[str], what: object
) -> dict[str, int]:
    """How each command ended."""
    codes = {}
    with only_within(place / "received", *(place / name for name in ("other", "figures", "table"))):
        for name in names:
            done = congrad(*commands(place, model)[name])
            check(done, (name, what))
            codes[name] = done.code
    assert not list((place / "work").iterdir())
    assert not (place / "canary").exists()
    return codes


def armed(place: Path) -> list[str]:
    return [text.replace("CANARY", str(place / "canary")) for text in HOSTILE]


EXPORT = "export"  # stands for one of the formats, in turn
JSON_FILES = {
    "run/manifest.json": ("filter", "report", "advise", EXPORT, "groups"),
    "run/languages.json": ("report", "trl", "groups"),
    "run/advice.json": ("report",),
    "run/index/plan.json": ("filter", "continue", "groups"),
    "run/index/index.json": ("filter",),
    **{f"run/{name}/congrad.json": ("refilter",) for name in FORMATS},
    "table/stage.json": ("evaluate",),
    "table/manifest.json": ("evaluate",),
    "table/evaluation.json": ("evaluate",),
}
"""All JSON of a run and of an evaluation, with the commands that read it."""
FILES = JSON_FILES | dict.fromkeys(("run/kept.jsonl", "run/dropped.jsonl"), ("report", EXPORT, "groups"))
MOST, FEW = 12, 2  # texts of a file that are replaced one at a time; a few where files are many and alike


def in_turn(names: Sequence[str], number: int) -> list[str]:
    return [FORMATS[number % len(FORMATS)] if name == EXPORT else name for name in names]


def test_a_run_of_hostile_data(congrad, made, place, tiny_directory):
    run = received(made("hostile"), place) / "run"
    with only_within(place):
        for name, words in commands(place, tiny_directory).items():
            done = congrad(*words)
            check(done, name)
            assert done.code == 0, (name, done.err)
    check_exports(run, made("plain") / "run", set())
    assert set(pages(place)) == set(pages(made("plain")))


def test_these_are_all_files(made):
    found = {str(path.relative_to(made("plain"))) for path in made("plain").rglob("*.json")}
    assert found - {"run/llamafactory/dataset_info.json"} == set(JSON_FILES)  # which nothing of ours reads


CHECKED = ("input", "loss", "consensus", "selection", "index", "dtype", "device", "languages", "data_fingerprint")
CHECKED += ("settings", "stage", "unit", "kind")
"""Keys below which texts are compared with something, or are one of a few."""


@pytest.mark.parametrize(("kind", "kept"), [("plain", ()), ("hostile", CHECKED)], ids=["all", "free"])
def test_all_texts_at_once(congrad, made, place, tiny_directory, kind, kept):
    seen: set[bytes] = set()
    everything = [name for name in commands(place, place) if name != "figures"]
    for number, text in enumerate(armed(place)):
        run = received(made(kind), place) / "run"
        for path in (place / "received" / name for name in JSON_FILES):
            own = (*kept, "verdict") if kept and path.name == "languages.json" else kept  # one of three, there
            write_rows(path, [replaced(content, text, own) for content in rows_of(path)])
        names = everything if number % 12 == 0 else in_turn(("filter", "report", EXPORT), number)
        codes = attack(congrad, place, tiny_directory, names, text)
        assert (codes["report"] == 0) == bool(kept)
        assert (codes["filter"] == 0) == bool(kept and text)  # without a name there is no model
        check_exports(run, made("plain") / "run", seen)


@pytest.mark.parametrize("name", FILES)
def test_one_text_at_a_time(congrad, made, place, tiny_directory, name):
    seen: set[bytes] = set()
    draw, whole = random.Random(name), rows_of(made("plain") / name)
    places = [(row, where) for row, content in enumerate(whole) for where in texts(content)]
    most = FEW if FILES[name][0] in ("refilter", "evaluate") else MOST
    for number, (row, where) in enumerate(draw.sample(places, min(most, len(places)))):
        text = draw.choice(armed(place))
        run = received(made("plain"), place) / "run"
        rows = rows_of(place / "received" / name)
        put(rows[row], where, text)
        write_rows(place / "received" / name, rows)
        attack(congrad, place, tiny_directory, in_turn(FILES[name], number), (where, text))
        check_exports(run, made("plain") / "run", seen)


def test_the_place_of_watched_pairs(congrad, made, place, tiny_directory):
    """It is what a manifest says, and so are the words for where they were read."""
    for text in armed(place):
        path = received(made("plain"), place) / "run/manifest.json"
        (manifest,) = rows_of(path)
        manifest |= {"watch": text}
        manifest["config"]["advice"]["watch"] = text
        write_rows(path, [manifest])
        codes = attack(congrad, place, tiny_directory, ("filter", "advise"), text)
        assert set(codes.values()) == ({2} if text else {0})


def test_a_loop(congrad, place, capsys):
    """Every text of every file of a loop, one at a time and all at once."""
    loop, draw = place / "received" / "loop", random.Random(0)
    make_loop(loop, "[bold]x[/] \x1b[2J\n</script><script>x", evaluated=True)
    check(congrad("report", loop), "as it was made")
    before, num_pages = {path: path.read_bytes() for path in sorted(loop.rglob("*.json"))}, pages(loop)
    for path in before:
        (content,) = rows_of(path)
        places = list(texts(content))
        most = MOST if path.name == "evaluation.json" else FEW
        for where in [*draw.sample(places, min(most, len(places))), None]:
            text = draw.choice(armed(place))
            (content,) = rows_of(path)
            if where is None:
                content = replaced(content, text)
            else:
                put(content, where, text)
            write_rows(path, [content])
            with only_within(loop):
                check(congrad("report", loop), (path, where, text))
                stage = path.parent.name
                with suppress(UserError):
                    show_stage(stage, path.parent, "title")
            out, err = capsys.readouterr()
            check(Called(0, out, err), (path, where, text))
            assert len(pages(loop)) == len(num_pages)
            assert set(pages(loop)) == set(num_pages)
            path.write_bytes(before[path])
