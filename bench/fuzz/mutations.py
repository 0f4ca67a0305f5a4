"""What is done to an input: to a JSON value, to the bytes of a file, to the file itself.

A mutation draws from a generator of its own, so that a case can be made again with one of its mutations alone. The text
that it returns says what it did.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = (
    "", " ", "\n", "\x00", "\x1b]0;title\x07\x1b[2J", "\x9b31m", "\u202eright to left\u2066", "\ud800", "\u2028\x85",
    "e\u0301\u0327" * 300, "a" * 100_000, "太" * 5000, "word " * 3000, "💥👩\u200d👩\u200d👧", "." * 300, "9" * 5000,
    "../../elsewhere/kept", "/etc/hostname", "~root", "http://192.0.2.1/x", "hf://datasets/a/b", "model.safetensors",
    "x\ny: !!python/object/apply:os.system [touch x]", "$(touch x); `touch x` && touch x", "'\"\\", "NaN", "null", "-1",
    "{prompt} {0} %s {{ 7 * 7 }} {% for x in y %}", "</script><script>alert(1)</script>", "| a | b |\n|---|", "de",
    "[bold red]x[/bold red][/]", ":smile: [a](javascript:x)", "1e999",
)  # fmt: skip
FLOATS = (0, -1, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
INTEGERS = (0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**11, 10**30, 10**400)
SAME_TYPE: dict[type, Sequence[Any]] = {str: TEXTS, int: INTEGERS, float: FLOATS, bool: (True, False)}
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, [0] * 10_000, ["x"] * 3000)
SNIPPETS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"{", b"}", b"[", b'"', b",", b"\\u0000", b"\\ud800", b"NaN",
    b"-Infinity", b"1e999", b"9" * 5000, b"\x1b[31m", b"\xe2\x80\xae", b"&a [*a]", b"<<: *b", b"? ", b": ", b"- ",
    b"!!python/name:os.system ", b"\t", b"#", b"|\n", b"---\n", b"'", b"[" * 3000, b'{"a":' * 3000, b"[" * 100_000,
)  # fmt: skip
NAMES = (".new", ".manifest.json.1", "report.html", "trl", "kept.parquet", "README.md", "-rf", "\x1b[31m.jsonl",
         ".lock", "a\nb.jsonl", "round-1", "x" * 200 + ".jsonl")  # fmt: skip
IN_ITS_PLACE = ("nothing", "folder", "link to a file", "link to a folder", "link to itself", "pipe")


def hostile_value(random: Random) -> Any:
    """A value that nobody expects, of any type."""
    value: Any = random.choice(random.choice((TEXTS, TEXTS, FLOATS, INTEGERS, OTHERS)))
    for level in range(random.choice((0, 0, 0, 0, 0, 0, 1, 20, 400))):
        value = [value] if level % 2 else {"a": value}
    return value


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of a JSON value, all but those far down a long list."""
    inner = list(value.items()) if isinstance(value, dict) else []
    inner += list(enumerate(value[:4])) if isinstance(value, list) else []
    return [here, *(place for key, each in inner for place in places(each, (*here, key)))]


def shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def mutate_value(value: Any, random: Random) -> tuple[Any, str]:
    """A JSON value with one place changed."""
    whole = [value]
    place = (0, *random.choice(places(value)))
    parent: Any = whole
    for step in place[:-1]:
        parent = parent[step]
    last, kind = place[-1], random.random()
    where, old, named = ".".join(map(str, place[1:])) or "(all)", parent[last], isinstance(parent, dict)
    if kind < 0.4 and type(old) in SAME_TYPE:
        parent[last] = random.choice(SAME_TYPE[type(old)])
    elif kind < 0.5 and len(place) > 1:
        del parent[last]
        return whole[0], f"{where} deleted"
    elif kind < 0.6 and named:
        new = random.choice(TEXTS)
        parent[new] = parent.pop(last)
        return whole[0], f"{where} renamed {shown(new)}"
    elif kind < 0.65 and named:
        new = random.choice(TEXTS)
        parent[new] = hostile_value(random)
        return whole[0], f"{where} got the neighbour {shown(new)}"
    elif kind < 0.75 and isinstance(old, list | str):
        parent[last] = random.choice((old * 2, old * 50, old[:-1]))
    elif kind < 0.85:
        parent[last] = random.choice((str(old), [old], {"a": old}))
    else:
        parent[last] = hostile_value(random)
    return whole[0], f"{where} = {shown(parent[last])}"


def dumped(value: Any, random: Random) -> bytes:
    """JSON as somebody else may write it; a lone half of a surrogate pair stays one."""
    return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def mutate_rows(rows: list[Any], random: Random) -> str:
    """One row, or the same change of every row."""
    number, every, drawn, what = random.randrange(len(rows)), random.random() < 0.3, random.getrandbits(64), ""
    for place in range(len(rows)) if every else [number]:
        rows[place], what = mutate_value(rows[place], Random(drawn))
    return f"row {'all' if every else number + 1}: {what}"


def mutate_json(path: Path, random: Random) -> str:
    """A file of JSON or JSON Lines, as long as it is one."""
    if path.suffix == ".json":
        value, what = mutate_value(json.loads(path.read_bytes()), random)
        path.write_bytes(dumped(value, random))
    else:
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        what = mutate_rows(rows, random)
        path.write_bytes(b"".join(dumped(row, random) + b"\n" for row in rows))
    return f"{path.name}: {what}"


def mutate_parquet(path: Path, random: Random) -> str:
    """Another column in the place of one, or other rows."""
    table = pq.read_table(path)
    place, size = random.randrange(table.num_columns), table.num_rows
    text = random.choice(TEXTS).encode("utf-8", "replace").decode()
    others = {
        "text": pa.array([text] * size),
        "null": pa.nulls(size),
        "floats": pa.array([float(random.choice(FLOATS))] * size),
        "integers": pa.array([random.choice((-1, 0, 2**31, 2**53 + 1))] * size),
        "lists": pa.array([[]] * size),
        "codes": table.column(place).dictionary_encode(),
    }
    tables = {what: table.set_column(place, table.field(place).name, other) for what, other in others.items()}
    tables |= {
        "deleted": table.remove_column(place),
        "renamed": table.set_column(place, text, table.column(place)),
        "twice": table.append_column(table.field(place).name, table.column(place)),
        "half": table.slice(0, size // 2),
        "fifty times": pa.concat_tables([table] * 50),
    }
    what = random.choice(list(tables))
    pq.write_table(tables[what], path)
    return f"{path.name}: {table.field(place).name!r} {what}"


def mutate_bytes(path: Path, random: Random) -> str:
    data, snippet = path.read_bytes(), random.choice(SNIPPETS)
    place = random.randrange(len(data) + 1)
    start, rest, few = data[:place], data[place:], random.randrange(1, 60)
    changed = {
        "cut": start,
        f"insert {snippet[:20]!r} ({len(snippet)} bytes)": start + snippet + rest,
        "flip": start + bytes(255 - each for each in rest[:4]) + rest[4:],
        "remove": start + rest[few:],
        "repeat": start + start[-few:] * 200 + rest,
        "empty": b"",
    }
    what = random.choice(list(changed))
    path.write_bytes(changed[what])
    return f"{path.name}: {what} at {place}"


def replace_file(path: Path, random: Random) -> str:
    """Something else in the place of a file: nothing, a folder, a link to what is not ours, a pipe."""
    given = path.parent.name == "work"  # a pipe that its user names is waited for
    kind = random.choice(IN_ITS_PLACE[:-1] if given else IN_ITS_PLACE)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind.startswith("link"):
        path.symlink_to({"file": elsewhere(path) / "kept", "folder": elsewhere(path)}.get(kind[10:], path))
    return f"{path.name}: {kind} in its place"


def elsewhere(path: Path) -> Path:
    """The folder of a case that no command has a reason to touch."""
    return next(parent for parent in path.parents if parent.name == "work").parent / "elsewhere"


def add_file(path: Path, random: Random) -> str:
    """A file, folder or link beside the others, with a name that may mean something."""
    new, kind = path.parent / random.choice(NAMES), random.choice(("file", "folder", "link"))
    if os.path.lexists(new):
        return f"{new.name!r} is there"
    if kind == "file":
        shutil.copy(path, new)
    elif kind == "folder":
        new.mkdir()
    else:
        new.symlink_to(elsewhere(path) / "kept")
    return f"{new.name!r}: a {kind} was added"


def mutate_file(path: Path, random: Random) -> str:
    """A mutation that fits the kind of file."""
    kind = random.random()
    if path.is_symlink() or not path.is_file():
        return f"{path.name} is no file any more"
    fitting = {".json": mutate_json, ".jsonl": mutate_json, ".parquet": mutate_parquet}
    if kind < 0.7 and path.suffix in fitting:
        try:
            return fitting[path.suffix](path, random)
        except (ValueError, RecursionError, OSError):  # the mutation before left no such file
            return mutate_bytes(path, random)
    return (mutate_bytes if kind < 0.9 else replace_file if kind < 0.96 else add_file)(path, random)
