"""What is attacked: for each target, how a case of it is made. Every case begins with a fresh copy of the seeds."""

import csv
import errno
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
from bench.fuzz.mutations import (
    TEXTS,
    dumped,
    hostile_value,
    mutate_bytes,
    mutate_file,
    mutate_rows,
    mutate_value,
    shown,
)
from bench.fuzz.sandbox import Fault, Reply

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
    """What is run, what the endpoint answers, what may change in the working directory, what the mutations did, and
    what the machine refuses: the same command must then finish without that."""

    words: Sequence[str]
    told: list[str]
    replies: Sequence[Reply] = ()
    may_change: tuple[str, ...] = ("out",)
    fault: Fault | None = None


# Rows


def conversation(row: dict[str, Any]) -> dict[str, Any]:
    """The row as messages, with all that a template is handed."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    sides = {name: [{"role": role, "content": row[name]}] for name, role in roles.items() if name in row}
    return row | sides | {"tools": tools, "chat_template_kwargs": {"enable_thinking": True}}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        csv.writer(file).writerows([names, *([row.get(name, "") for name in names] for row in rows)])


def write_parquet(path: Path, rows: list[dict[str, Any]], random: Random) -> None:
    """What Arrow cannot hold is JSON; now and then the metadata declare other types."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values, stored = [row.get(name) for row in rows], name.encode("utf-8", "replace").decode()
        try:
            columns[stored] = pa.array(values)
            pq.write_table(pa.table({stored: columns[stored]}), path)
        except (pa.ArrowException, UnicodeError, OverflowError):
            columns[stored] = pa.array([json.dumps(value) for value in values])
    table = pa.table(columns)
    if random.random() < 0.3:
        kinds = ({"_type": "Image"}, {"_type": "Audio"}, {"dtype": "int8", "_type": "Value"}, {"_type": "Nobody"}, [1])
        features = {name: random.choice(kinds) for name in columns}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def mutated_rows(case: Case, source: Path) -> tuple[str, list[str]]:
    """The name of a file of other rows in one of the layouts, and what the mutations did."""
    random = case.random("layout")
    layout = "jsonl" if source.name == "tasks.jsonl" else random.choice(LAYOUTS)
    path = source.with_name(f"hostile.{layout}")
    rows: list[Any] = [json.loads(line) for line in source.read_bytes().splitlines()]
    if random.random() < 0.3:
        rows = [conversation(row) for row in rows]
    told = [layout] if layout == "jsonl" else [layout, *case.each(lambda own: mutate_rows(rows, own))]
    objects = [row for row in rows if isinstance(row, dict)]
    if layout == "csv":
        write_csv(path, objects)
    elif layout == "parquet":
        write_parquet(path, objects, random)
    elif layout == "json":
        path.write_bytes(json.dumps(rows).encode())
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines, mtime=0) if layout == "jsonl.gz" else lines)
    if layout == "jsonl":
        told += case.each(lambda own: mutate_file(path, own))
    elif random.random() < 0.25:
        told.append(mutate_bytes(path, random))
    return path.name, told


def filter_rows(case: Case, work: Path) -> Command:
    name, told = mutated_rows(case, work / "pairs.jsonl")
    return Command(("filter", name, *seeds.MODEL, *OUT, *seeds.SMALL), told)


def generate_rows(case: Case, work: Path) -> Command:
    name, told = mutated_rows(case, work / "prompts.jsonl")
    return Command(("generate", name, *seeds.MODEL, *OUT, *seeds.ASKING), told, seeds.answering(seeds.ANSWERS))


def evaluate_rows(case: Case, work: Path) -> Command:
    held_out = case.random("which").random() < 0.5
    name, told = mutated_rows(case, work / ("pairs.jsonl" if held_out else "tasks.jsonl"))
    task = {"name": "sums", "path": name, "kind": "perplexity", "text_column": "question"}
    what = f"evaluate.pairs={name}" if held_out else f"evaluate.tasks={json.dumps([task])}"
    return Command(("evaluate", "m={model}", *OUT, "model.dtype=float32", "evaluate.draws=100", what), told)


# Settings


SETTINGS = ("-c", "settings.yaml", *OUT)
READ_SETTINGS: tuple[tuple[str, ...], ...] = (
    ("filter", "pairs.jsonl", *SETTINGS, "--dry-run"),
    ("filter", "run", *SETTINGS),
    ("run", "settings.yaml", *OUT, "--dry-run"),
    ("run", "settings.yaml", "-o", "loop", "--dry-run"),
    ("pair", "judge", *SETTINGS),
    ("evaluate", "m={model}", *SETTINGS),
)


def as_word(value: object) -> str:
    """As a word of a command line can be."""
    text = value if isinstance(value, str) else json.dumps(value)
    return os.fsdecode(text.encode("utf-8", "surrogatepass")).replace("\0", "")


def settings(case: Case, work: Path) -> Command:
    """Whatever a configuration says; that it asks for much work is no mistake, so that nothing long is begun."""
    path, words = work / "settings.yaml", list(case.random("command").choice(READ_SETTINGS))

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

    return Command(words, case.each(mutate))


# What a command wrote


def files_below(folders: Iterable[Path], suffixes: Sequence[str] = ("",)) -> list[Path]:
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path.name.endswith(tuple(suffixes)) and path.name != "report.html"]


def mutate_one_of(folders: Iterable[Path], case: Case) -> list[str]:
    """Mutates files, those whose content can be read more often than others."""
    every, often = files_below(folders), files_below(folders, (".json", ".jsonl", ".parquet", ".yaml"))
    return case.each(lambda own: mutate_file(own.choice(often if own.random() < 0.8 else every), own))


def refilter(case: Case, work: Path) -> Command:
    random, told = case.random("command"), mutate_one_of([work / "run"], case)
    words: list[str] = ["filter", "run", "--keep", random.choice(("0.3", "0.9"))]
    words += random.choice(((), OUT)) + random.choice(((), ("-f", random.choice(FORMATS))))
    return Command(words, told, may_change=("out" if "-o" in words else "run",))


def report(case: Case, work: Path) -> Command:
    run = case.random("which").choice(("run", "run", "loop"))
    return Command(("report", run), mutate_one_of([work / run], case), may_change=(f"{run}/report.html",))


def export(case: Case, work: Path) -> Command:
    random, told = case.random("format"), mutate_one_of([work / "run"], case)
    return Command(("export", "run", "-f", random.choice(FORMATS), *random.choice(((), OUT))), told,
                   may_change=("out", *(f"run/{name}" for name in FORMATS)))  # fmt: skip


def index(case: Case, work: Path) -> Command:
    """The filter goes on with an index that was begun, or finished."""
    random, run = case.random("how far"), work / "run"
    gone = ["manifest.json", "kept.jsonl", *random.choice(([], ["index/index.json"]))]
    gone += random.choice(([], ["index/sketches-00000.safetensors", "index/pairs.parquet"]))
    for name in gone:
        (run / name).unlink()
    told = mutate_one_of([run / "index"], case)
    return Command(seeds.FILTER, [f"without {gone}", *told], may_change=("run",))


STAGES: tuple[tuple[tuple[str, ...], tuple[str, ...], Sequence[str]], ...] = (
    (("generate",), ("judge", "generate", *seeds.MODEL, *OUT, *seeds.ASKING), seeds.JUDGEMENTS),
    (("generate", "judge"), ("pair", "judge", *OUT), ()),
    (("paired",), ("filter", "paired", *seeds.MODEL, *OUT, *seeds.SMALL), ()),
    (("generate",), seeds.GENERATE, seeds.ANSWERS),
    (("judge",), seeds.JUDGE, seeds.JUDGEMENTS),
    (("paired",), seeds.PAIR, ()),
    (("evaluate",), seeds.EVALUATE, ()),
)


def stages(case: Case, work: Path) -> Command:
    """A stage reads another's directory, or goes on with its own."""
    random = case.random("stage")
    folders, words, texts = random.choice(STAGES)
    output = words[words.index("-o") + 1]
    if output in folders and random.random() < 0.5:
        (work / output / "manifest.json").unlink()
    told = mutate_one_of([work / folder for folder in folders], case)
    return Command(words, told, seeds.answering(texts), may_change=(output,))


def loop(case: Case, work: Path) -> Command:
    """A run of the loop goes on."""
    random = case.random("how far")
    for manifest in files_below([work / "loop"], ("manifest.json",)):
        if random.random() < 0.3:
            manifest.unlink()
    told = mutate_one_of([work / "loop"], case)
    return Command(seeds.LOOP, told, seeds.answering(seeds.BOTH), may_change=("loop",))


# Replies


def mutated_reply(value: Any, random: Random) -> tuple[Reply, str]:
    kind, body = random.random(), json.dumps(value).encode()
    if kind < 0.5:
        value, what = mutate_value(value, random)
        return Reply(dumped(value, random)), what
    if kind < 0.7:
        status, text = random.choice(STATUSES), random.choice(TEXTS)
        return Reply(text.encode("utf-8", "surrogatepass"), status), f"{status} {shown(text)}"
    if kind < 0.8:
        place, junk = random.randrange(len(body)), random.randbytes(4)
        return Reply(body[:place] + junk + body[place + random.randrange(8) :]), f"{junk!r} at {place}"
    long = json.dumps(seeds.completion("a" * 5_000_000)).encode()
    odd = {
        "endless": Reply(b"x" * 65536, again=0.0),
        "dripping": Reply(b" ", again=0.05),
        "zipped": Reply(gzip.compress(long), zipped=True),
        "long": Reply(long),
        "white": Reply(b" " * 3_000_000),
        "deep": Reply(b'{"choices":' * 5000),
        "deeper": Reply(b"[" * 100_000),
        "empty": Reply(b""),
    }
    what = random.choice(list(odd))
    return odd[what], what


WIN_RATE = json.dumps({"prompts": {"source": "prompts.jsonl"}, "judge_max_tokens": 32})
COMPARE = ("evaluate", "m={model}", "n={model}", "evaluate.draws=100", f"evaluate.win_rate={WIN_RATE}")
ASKED: tuple[tuple[tuple[str, ...], Sequence[str]], ...] = (
    (("generate", "prompts.jsonl", *seeds.MODEL, "generate.samples=2", *seeds.ASKING), seeds.ANSWERS),
    (("judge", "generate", *seeds.MODEL, *seeds.ASKING), seeds.JUDGEMENTS),
    ((*COMPARE, *(f"evaluate.engine.{word}" for word in seeds.ENGINE)), seeds.VERDICTS),
)


def replies(case: Case, work: Path) -> Command:
    """An endpoint that answers anything, when it writes, judges and compares."""
    words, texts = case.random("command").choice(ASKED)
    answers = seeds.answering(texts) if case.random("others").random() < 0.7 else []

    def mutate(own: Random) -> str:
        reply, what = mutated_reply(seeds.completion(own.choice(texts)), own)
        answers.insert(own.randrange(len(answers) + 1), reply)
        return what

    return Command((*words, *OUT), case.each(mutate), answers)


# The machine


REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO)
WORK: tuple[tuple[tuple[str, ...], Sequence[str]], ...] = (
    (("filter", "pairs.jsonl", *seeds.MODEL, *OUT, *seeds.SMALL), ()),
    (("filter", "pairs.jsonl", *seeds.MODEL, *OUT, *seeds.SMALL, "-f", "trl"), ()),
    (("filter", "run", *OUT, "--keep", "0.3"), ()),
    (("advise", "run"), ()),
    (("report", "run"), ()),
    (("export", "run", "-f", "llamafactory", *OUT), ()),
    (("generate", "prompts.jsonl", *seeds.MODEL, *OUT, "generate.samples=2", *seeds.ASKING), seeds.ANSWERS),
    (("judge", "generate", *seeds.MODEL, *OUT, "judge.samples=2", *seeds.ASKING), seeds.JUDGEMENTS),
    (("pair", "judge", *OUT, "pair.language=penalise"), ()),
    (("run", "settings.yaml", *OUT, "--until", "filter", *seeds.ASKING), seeds.BOTH),
    (("evaluate", "m={model}", *OUT, "-c", "settings.yaml", "evaluate.draws=100"), ()),
)


def machine(case: Case, work: Path) -> Command:
    """A machine that refuses something while a command works, and then does not."""
    random = case.random("fault")
    words, texts = random.choice(WORK)
    kind = random.choice(("open", "open", "open", "size", "files"))
    most = random.choice((10_000, 20_000, 50_000, 100_000)) if kind == "size" else random.choice((12, 20, 30, 40))
    fault = Fault(kind, random.choice(REFUSALS), random.choice((0, 1, 2, 3, 5, 8, 13, 21, 34)), most)
    return Command(words, [f"{' '.join(words[:2])}: {fault}"], seeds.answering(texts), ("out", "run"), fault)


TARGETS: dict[str, Callable[[Case, Path], Command]] = {
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
    "machine": machine,
}
