"""`python -m bench.fuzz --readers 200`: files of rows in many layouts, some of them broken, read in both ways.

Of each must hold, with `on_bad_row=stop` and with `drop`: nothing is raised but a `UserError` of one printable line;
rows in = pairs + rows left out; the columns that are not read stay as they were; and what one way reads without a bad
row, the other reads alike. A failure is named by its number, which `--readers 200 --file NUMBER` runs again.
"""

import gzip
import json
import math
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.fuzz.mutations import hostile_value, mutate_bytes, mutate_value
from bench.markdown import markdown
from congrad.errors import UserError
from congrad.preferences import Preferences, load_preferences

Row = dict[str, Any]
FORMATS = ("jsonl", "jsonl", "json", "csv", "parquet", "jsonl.gz")
LANGUAGES = ("de", "en", "German", " SW\n", "deu_Latn", "pt_BR", "zh-Hans", "xx-klingon", "")
WORDS = ("Haus", "tree", "nyumba", "Käse", "\u96e8", "Human: x", "[1]", "{", "NaN", "0", "1e5", "\u202e", "line\nline")
SLOW = 5.0  # seconds, for fifty rows


def text(random: Random) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randrange(1, 6)))


def talk(random: Random, *roles: str) -> list[Row]:
    return [{"role": role, "content": text(random)} for role in roles]


def pairs(random: Random) -> Row:
    return {"prompt": text(random), "chosen": text(random), "rejected": text(random)}


def repeated(random: Random) -> Row:
    prompt = "Write a story about this: " + text(random)
    return {"instruction": prompt, "chosen": prompt + text(random), "rejected": prompt + text(random)}


def with_system(random: Random) -> Row:
    history = [[text(random), text(random)] for _ in range(random.randrange(3))]
    return {**pairs(random), "system": random.choice(("", text(random))), "history": history}


def conversation(random: Random) -> Row:
    head = talk(random, "user")
    return {"chosen": head + talk(random, "assistant"), "rejected": head + talk(random, "assistant")}


def stored(random: Random) -> Row:
    write = random.choice((json.dumps, str))
    return {name: write(value) for name, value in conversation(random).items()}


def transcript(random: Random) -> Row:
    head = f"\n\nHuman: {text(random)}\n\nAssistant: "
    return {"chosen": head + text(random), "rejected": head + text(random)}


def speakers(random: Random) -> Row:
    sides = {name: {"from": "gpt", "value": text(random)} for name in ("chosen", "rejected")}
    return {"conversations": [{"from": "human", "value": text(random)}], **sides}


def comparison(random: Random) -> Row:
    winner = random.choice(("model_a", "model_b", "tie", "tie (bothbad)"))
    return {"prompt": text(random), "response_a": text(random), "response_b": text(random), "winner": winner}


def scale(random: Random) -> Row:
    better = random.randrange(-3, 4)
    return {"prompt": text(random), "response_1": text(random), "response_2": text(random), "preference": better}


def ratings(random: Random) -> Row:
    count = random.randrange(5)
    scores = [random.choice((random.random(), 1.0, None)) for _ in range(count)]
    return {"prompt": text(random), "responses": [text(random) for _ in range(count)], "scores": scores}


def completions(random: Random) -> Row:
    of = [{"model": "m", "response": text(random), "overall_score": random.randrange(5)} for _ in range(3)]
    return {"instruction": text(random), "completions": of}


def tree(random: Random) -> Row:
    names = {"message_id": "", "parent_id": None, "role": ""}  # which are known when the file is made
    return {**names, "text": text(random), "rank": random.choice((0, 1, 2, None))}


LAYOUTS: tuple[Callable[[Random], Row], ...] = (
    *(pairs, repeated, with_system, conversation, stored, transcript, speakers, comparison, scale, ratings),
    *(completions, tree),
)


@dataclass
class Case:
    """A file, and what is in it; `rows` is None where its bytes were changed and nobody knows what they say."""

    number: int
    layout: str
    kind: str
    path: Path
    rows: list[Row] | None
    done: list[str] = field(default_factory=list)


def make_case(number: int, seed: int, num_rows: int, folder: Path) -> Case:
    """A file of a layout and a format, drawn from its number."""
    random = Random(f"readers/{seed}/{number}")
    layout, kind = LAYOUTS[number % len(LAYOUTS)], random.choice(FORMATS)
    share = random.choice((0.0, 0.02, 0.1, 0.5))
    rows, done = [], []
    for position in range(num_rows):
        row = {**layout(random), "language": random.choice(LANGUAGES[:4] if random.random() < 0.9 else LANGUAGES)}
        if layout is tree:  # of five messages each
            root = position - position % 5
            row |= {"message_id": f"m{position}", "parent_id": f"m{root}" if position > root else None}
            row |= {"role": "assistant" if position > root else "prompter"}
        if random.random() < share:
            row, what = mutated(row, random)
            done.append(f"{position}: {what}")
        rows.append({**row, "uid": position, "unread": text(random), "raw": str(2**64 - 1 - position)})
    case = Case(number, layout.__name__, kind, folder / f"case.{kind}", rows, done)
    write(case, rows)
    if random.random() < 0.3:
        case.done.append(mutate_bytes(case.path, random))
        case.rows = None
    return case


def mutated(row: Row, random: Random) -> tuple[Row, str]:
    """A row with one field of another value, or without it."""
    name, way = random.choice(list(row)), random.random()
    if way < 0.2:
        return {key: value for key, value in row.items() if key != name}, f"without {name}"
    if way < 0.5:
        return {**row, name: None}, f"{name} is null"
    if way < 0.8:
        value, what = mutate_value(row[name], random)
        return {**row, name: value}, f"{name}: {what}"
    value = hostile_value(random)
    return {**row, name: value}, f"{name} is {ascii(value)[:60]}"


def write(case: Case, rows: list[Row]) -> None:
    if case.kind == "csv":
        from bench.fuzz.targets import write_csv

        write_csv(case.path, [{name: cell(value) for name, value in row.items()} for row in rows])
    elif case.kind == "parquet":
        columns = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            try:
                columns[name.encode("utf-8", "replace").decode()] = pa.array(values)
            except (pa.ArrowException, UnicodeError, OverflowError):
                columns[name.encode("utf-8", "replace").decode()] = pa.array([json.dumps(value) for value in values])
        columns["big"] = pa.array([2**64 - 1 - row["uid"] for row in rows], pa.uint64())
        pq.write_table(pa.table(columns), case.path)
    elif case.kind == "json":
        case.path.write_text(json.dumps(rows))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        case.path.write_bytes(gzip.compress(lines, mtime=0) if case.kind == "jsonl.gz" else lines)


def cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)


def read(path: Path, way: str) -> tuple[Preferences | UserError | None, str]:
    """What the reader gives, and the traceback where it gives neither pairs nor its error."""
    try:
        return load_preferences(path, on_bad_row=way), ""
    except UserError as error:
        return error, ""
    except Exception:
        return None, traceback.format_exc()


def problems(case: Case) -> Iterator[str]:
    """What does not hold of a case."""
    began = time.process_time()
    found: dict[str, Any] = {}
    for way in ("stop", "drop"):
        found[way], told = read(case.path, way)
        if told:
            yield f"{way}: {told.splitlines()[-1]}\n{told}"
        if isinstance(found[way], UserError) and ("\n" in str(found[way]) or not str(found[way]).isprintable()):
            yield f"{way}: the error is no printable line: {str(found[way])!r}"
        if isinstance(found[way], Preferences):
            yield from (f"{way}: {each}" for each in lost(case, found[way]))
    stop, drop = found["stop"], found["drop"]
    if isinstance(stop, Preferences):
        if any(each.mistake.is_bad for each in stop.left_out):
            yield "stop: a bad row did not stop it"
        if not isinstance(drop, Preferences) or drop.fingerprint != stop.fingerprint:
            yield "drop: other pairs than with stop, where no row is bad"
    if (taken := time.process_time() - began) > SLOW:
        yield f"took {taken:.1f} s"


def lost(case: Case, got: Preferences) -> Iterator[str]:
    """What is lost of the rows without a word."""
    total = sum(source.num_rows for source in got.sources)
    if len(got) + len(got.left_out) != total:
        yield f"{len(got)} pairs and {len(got.left_out)} rows left out are not {total} rows"
    if len(got.languages) != len(got) or len(got.dataset) != len(got):
        yield f"{len(got.dataset)} rows, {len(got.languages)} languages and {len(got)} numbers"
    if case.rows is None:
        return
    if total != len(case.rows):
        yield f"{total} rows of {len(case.rows)}"
        return
    for column in ("uid", "unread", "raw"):
        wanted = [case.rows[row][column] for row in got.rows]
        if not same(got.dataset[column][:], wanted):
            yield f"column {column} is not as it was"
    if case.kind == "parquet":
        stored = pq.read_table(case.path, columns=["big"])["big"]
        if got.dataset.with_format("arrow")["big"][:].to_pylist() != stored.take(got.rows).to_pylist():
            yield "column big is not as it was"


def same(found: Any, wanted: list[Any]) -> bool:
    """Whether values are equal; a reader of CSV may give numbers for text that is one."""
    return len(found) == len(wanted) and all(
        one == other or str(one) == str(other) or (isinstance(one, float) and math.isnan(one) and other == "NaN")
        for one, other in zip(found, wanted, strict=True)
    )


def run(files: int, rows: int, seed: int, only: int | None = None) -> tuple[str, list[str]]:
    """A table by layout, and the failures."""
    counts: dict[str, Counter[str]] = {layout.__name__: Counter() for layout in LAYOUTS}
    failures = []
    for number in range(files) if only is None else [only]:
        with tempfile.TemporaryDirectory() as folder:
            case = make_case(number, seed, rows, Path(folder))
            own = counts[case.layout]
            found = list(problems(case))
            drop, _ = read(case.path, "drop")
            own.update(files=1, rows=rows, failures=bool(found), refused=not isinstance(drop, Preferences))
            if isinstance(drop, Preferences):
                own.update(pairs=len(drop), out=len(drop.left_out))
            told = f"{case.layout} as {case.kind}, {case.done[-3:]}"
            failures += [f"case {number} ({told}): {each}" for each in found]
            if only is not None:
                failures.append(f"{told}\n{drop if isinstance(drop, UserError) else len(drop or ())}")
    names = ("files", "rows", "refused", "pairs", "out", "failures")
    head = ("layout", "files", "rows", "files refused", "pairs", "rows left out", "failures")
    total: Counter[str] = sum(counts.values(), Counter())
    lines = [
        [layout.replace("_", " "), *(f"{own[name]:,}" for name in names)]
        for layout, own in [*counts.items(), ("all", total)]
    ]
    return markdown(head, lines), failures
