"""What is attacked: for each target, how a case of it is made. Every case begins with a fresh copy of the seeds."""

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bench.fuzz import seeds
from bench.fuzz.mutations import TEXTS, hostile_value, mutate_bytes, mutate_file, mutate_value, shown
from bench.fuzz.sandbox import DRIPPING, ENDLESS, ZIPPED

OUT = ("-o", "out")
FORMATS = ("trl", "llamafactory", "ms-swift", "axolotl", "openrlhf")
STATUSES = (200, 201, 204, 301, 307, 308, 400, 401, 404, 422, 429, 500, 503)
LAYOUTS = ("jsonl", "jsonl", "json", "csv", "parquet", "jsonl.gz")
KEYS = ("selection.keep", "input.limit", "input.columns.language", "index.seed", "model.dtype", "model.name",
        "model.adapter", "consensus.aggregator", "generate.samples", "prompts.source", "evaluate.pairs", "loss.name",
        "evaluate.tasks", "train.beta", "rounds.lora", "judge.template")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One case; the same name makes the same input. `only` takes one of its mutations instead of all."""

    target: str
    seed: int
    number: int
    only: int | None = None

    @classmethod
    def named(cls, name: str) -> "Case":
        target, *numbers = name.split("/")
        return cls(target, *map(int, numbers))

    def __str__(self) -> str:
        parts = (self.target, self.seed, self.number, self.only)
        return "/".join(str(part) for part in parts if part is not None)

    def random(self, part: object) -> Random:
        return Random(f"{self.target}/{self.seed}/{self.number}/{part}")

    @property
    def mutations(self) -> list[int]:
        return list(range(self.random("count").choice((1, 1, 2, 3)))) if self.only is None else [self.only]

    def each(self, mutate: Callable[[Random], str]) -> list[str]:
        """Does every mutation of the case; what each did."""
        return [mutate(self.random(number)) for number in self.mutations]


@dataclass(frozen=True)
class Command:
    """What is run, what the endpoint answers, what may change in the working directory, and what the mutations did."""

    words: Sequence[object]
    told: list[str]
    replies: Sequence[bytes] = ()
    may_change: tuple[str, ...] = ("out",)


# Rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([row.get(name, "") for name in names] for row in rows)


def write_parquet(path: Path, rows: list[dict[str, Any]], random: Random) -> None:
    """A column that Arrow cannot hold is JSON; now and then the metadata declare other types."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name.encode("utf-8", "replace").decode()] = pa.array(values)
        except (pa.ArrowException, UnicodeError, OverflowError):
            columns[name.encode("utf-8", "replace").decode()] = pa.array([json.dumps(value) for value in values])
    table = pa.table(columns)
    if random.random() < 0.3:
        kinds = ({"_type": "Image"}, {"_type": "Audio"}, {"dtype": "int8", "_type": "Value"}, {"_type": "Nobody"}, [1])
        features = {name: random.choice(kinds) for name in columns}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def mutated_rows(case: Case, source: Path) -> tuple[str, list[str]]:
    """The name of a file of other rows in one of the layouts."""
    random = case.random("layout")
    layout = "jsonl" if source.name == "tasks.jsonl" else random.choice(LAYOUTS)
    path = source.with_name(f"hostile.{layout}")
    rows = [json.loads(line) for line in source.read_bytes().splitlines()]
    if layout == "jsonl":
        path.write_bytes(source.read_bytes())
        return path.name, case.each(lambda own: mutate_file(path, own))

    def mutate(own: Random) -> str:
        number, every, drawn = own.randrange(len(rows)), own.random() < 0.3, own.getrandbits(64)
        for place in range(len(rows)) if every else [number]:
            rows[place], what = mutate_value(rows[place], Random(drawn))
        return f"row {'all' if every else number + 1}: {what}"

    told = case.each(mutate)
    objects = [row for row in rows if isinstance(row, dict)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if layout == "csv":
        write_csv(path, objects)
    elif layout == "parquet":
        write_parquet(path, objects, random)
    else:
        path.write_bytes(gzip.compress(data) if layout == "jsonl.gz" else json.dumps(rows).encode())
    if random.random() < 0.25:
        told.append(mutate_bytes(path, random))
    return path.name, [layout, *told]


def filter_rows(case: Case, work: Path, model: Path) -> Command:
    name, told = mutated_rows(case, work / "pairs.jsonl")
    return Command(("filter", name, "-m", model, *OUT, *seeds.SMALL), told)


def generate_rows(case: Case, work: Path, model: Path) -> Command:
    name, told = mutated_rows(case, work / "prompts.jsonl")
    return Command(("generate", name, "-m", model, *OUT, *seeds.ASKING), told, seeds.bodies(seeds.ANSWERS))


def evaluate_rows(case: Case, work: Path, model: Path) -> Command:
    held_out = case.random("which").random() < 0.5
    name, told = mutated_rows(case, work / ("pairs.jsonl" if held_out else "tasks.jsonl"))
    task = {"name": "sums", "path": name, "kind": "perplexity", "text_column": "question"}
    what = f"evaluate.pairs={name}" if held_out else f"evaluate.tasks={json.dumps([task])}"
    return Command(("evaluate", f"m={model}", *OUT, "model.dtype=float32", "evaluate.draws=100", what), told)


# Settings


def as_word(value: object) -> str:
    """As a word of a command line can be."""
    text = value if isinstance(value, str) else json.dumps(value)
    return os.fsdecode(text.encode("utf-8", "surrogatepass")).replace("\0", "")


def settings(case: Case, work: Path, model: Path) -> Command:
    """Whatever a configuration says; that it asks for much work is no mistake, so that nothing long is begun."""
    path, random = work / "settings.yaml", case.random("command")
    words: list[str] = []

    def mutate(own: Random) -> str:
        kind = own.random()
        if kind < 0.2:
            words.append(f"{own.choice(KEYS)}={as_word(hostile_value(own))}")
            return shown(words[-1])
        if kind < 0.4:
            return mutate_bytes(path, own)
        try:
            value, what = mutate_value(yaml.safe_load(path.read_bytes()), own)
            path.write_bytes(yaml.safe_dump(value, sort_keys=False).encode("utf-8", "surrogatepass"))
        except (ValueError, yaml.YAMLError, RecursionError):
            return mutate_bytes(path, own)
        return f"settings.yaml: {what}"

    told, config = case.each(mutate), ("-c", path.name)
    command: Sequence[object] = random.choice(
        (
            ("filter", "pairs.jsonl", *config, *OUT, "--dry-run"),
            ("filter", "run", *config, *OUT),
            ("run", path.name, *OUT, "--dry-run"),
            ("run", path.name, "-o", "loop", "--dry-run"),
            ("pair", "judge", *config, *OUT),
            ("evaluate", f"m={model}", *config, *OUT),
        )
    )
    return Command((*command, *words), told)


# What a command wrote


def files_below(folders: Iterable[Path], suffixes: Sequence[str] = ("",)) -> list[Path]:
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path.name.endswith(tuple(suffixes)) and path.name != "report.html"]


def mutate_one_of(folders: Iterable[Path], case: Case) -> list[str]:
    """Mutates files, those of JSON more often than others."""
    every, texts = files_below(folders), files_below(folders, (".json", ".jsonl", ".yaml"))
    return case.each(lambda own: mutate_file(own.choice(texts if own.random() < 0.8 else every), own))


def refilter(case: Case, work: Path, model: Path) -> Command:
    random, told = case.random("command"), mutate_one_of([work / "run"], case)
    words: list[object] = ["filter", "run", "--keep", random.choice(("0.3", "0.9"))]
    words += random.choice(([], ["-o", "out"])) + random.choice(([], [], ["-f", random.choice(FORMATS)]))
    return Command(words, told, may_change=("out",) if "-o" in words else ("run",))


def report(case: Case, work: Path, model: Path) -> Command:
    run = case.random("which").choice(("run", "run", "loop"))
    return Command(("report", run), mutate_one_of([work / run], case), may_change=(f"{run}/report.html",))


def export(case: Case, work: Path, model: Path) -> Command:
    random, told = case.random("format"), mutate_one_of([work / "run"], case)
    return Command(("export", "run", "-f", random.choice(FORMATS), *random.choice(((), OUT))), told,
                   may_change=("out", *(f"run/{name}" for name in FORMATS)))  # fmt: skip


def index(case: Case, work: Path, model: Path) -> Command:
    """The filter goes on with an index that was begun, or finished."""
    random, run = case.random("how far"), work / "run"
    gone = ["manifest.json", "kept.jsonl", *random.choice(([], ["index/index.json"]))]
    gone += random.choice(([], ["index/sketches-00000.safetensors", "index/pairs.parquet"]))
    for name in gone:
        (run / name).unlink()
    told = mutate_one_of([run / "index"], case)
    return Command((*seeds.FILTER, "-m", model), [f"without {gone}", *told], may_change=("run",))


STAGES: dict[str, tuple[tuple[str, ...], Sequence[object], Sequence[str]]] = {
    "judge": (("generate",), ("judge", "generate", *OUT, *seeds.ASKING), seeds.JUDGEMENTS),
    "pair": (("generate", "judge"), ("pair", "judge", *OUT), ()),
    "filter": (("paired",), ("filter", "paired", *OUT, *seeds.SMALL), ()),
    "generate again": (("generate",), seeds.GENERATE, seeds.ANSWERS),
    "judge again": (("judge",), seeds.JUDGE, seeds.JUDGEMENTS),
    "pair again": (("paired",), seeds.PAIR, ()),
    "evaluate again": (("evaluate",), ("evaluate", "m={model}", "-c", "settings.yaml", "-o", "evaluate"), ()),
}


def stages(case: Case, work: Path, model: Path) -> Command:
    """A stage reads another's directory, or goes on with its own."""
    random = case.random("stage")
    name = random.choice(list(STAGES))
    folders, words, texts = STAGES[name]
    if random.random() < 0.5 and name.endswith("again"):
        (work / folders[0] / "manifest.json").unlink()
    told = mutate_one_of([work / folder for folder in folders], case)
    words = [str(word).replace("{model}", str(model)) for word in words]
    words += [] if name.startswith(("pair", "evaluate")) else ["-m", str(model)]
    words += ["evaluate.draws=100"] if name.startswith("evaluate") else []
    return Command(words, told, seeds.bodies(texts), may_change=("out", folders[0] if "again" in name else "out"))


def loop(case: Case, work: Path, model: Path) -> Command:
    """A run of the loop goes on."""
    random = case.random("how far")
    for manifest in files_below([work / "loop"], ("manifest.json",)):
        if random.random() < 0.3:
            manifest.unlink()
    told = mutate_one_of([work / "loop"], case)
    return Command(seeds.LOOP, told, seeds.bodies(seeds.BOTH), may_change=("loop",))


# Replies


def mutated_reply(value: Any, random: Random) -> tuple[bytes, str]:
    kind, body = random.random(), json.dumps(value).encode()
    if kind < 0.5:
        value, what = mutate_value(value, random)
        return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass"), what
    if kind < 0.7:
        status, text = random.choice(STATUSES), random.choice(TEXTS)
        return f"HTTP {status}\n".encode() + text.encode("utf-8", "surrogatepass"), f"{status} {shown(text)}"
    if kind < 0.8:
        place, junk = random.randrange(len(body)), random.randbytes(4)
        return body[:place] + junk + body[place + random.randrange(8) :], f"{junk!r} at {place}"
    odd = (
        *(ENDLESS, DRIPPING, ZIPPED + b'{"choices": [{"message": {"content": "%s"}}]}', b"", b"[" * 100_000),
        *(b'{"choices":' * 5000, b" " * 3_000_000, json.dumps(seeds.completion("a" * 5_000_000)).encode()),
    )
    drawn = random.choice(odd)
    return drawn, ascii(drawn[:40])


def replies(case: Case, work: Path, model: Path) -> Command:
    """An endpoint that answers anything, when it writes, judges and compares."""
    win_rate = {"prompts": {"source": "prompts.jsonl"}, "judge_max_tokens": 32}
    comparing = (
        "evaluate",
        f"m={model}",
        f"n={model}",
        "evaluate.draws=100",
        "evaluate.win_rate=" + json.dumps(win_rate),
    )
    engine = [word.replace("generate.", "evaluate.", 1) for word in seeds.ASKING]
    words, texts = case.random("command").choice(
        (
            (("generate", "prompts.jsonl", "-m", model, "generate.samples=2", *seeds.ASKING), seeds.ANSWERS),
            (("judge", "generate", "-m", model, *seeds.ASKING), seeds.JUDGEMENTS),
            ((*comparing, *engine), seeds.VERDICTS),
        )
    )
    answers = seeds.bodies(texts) if case.random("others").random() < 0.7 else []

    def mutate(own: Random) -> str:
        body, what = mutated_reply(seeds.completion(own.choice(texts)), own)
        answers.insert(own.randrange(len(answers) + 1), body)
        return what

    return Command((*words, *OUT), case.each(mutate), answers)


TARGETS: dict[str, Callable[[Case, Path, Path], Command]] = {
    "filter-rows": filter_rows,
    "generate-rows": generate_rows,
    "evaluate-rows": evaluate_rows,
    "settings": settings,
    "refilter": refilter,
    "report": report,
    "export": export,
    "index": index,
    "stages": stages,
    "loop": loop,
    "replies": replies,
}
