"""What is done to an input: to a JSON value, to a line of JSON Lines, to the bytes of a file, to the file itself.

Each mutation draws from its own generator, so that a case can be made again with fewer of them. Its text says what it
did.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

JsonPath = tuple[str | int, ...]

TEXTS = (
    "",
    " ",
    "\n",
    "\x00",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "\u202eright to left\u2066",
    "\ud800",
    "e\u0301\u0327" * 300,
    "a" * 100_000,
    "太" * 5000,
    "word " * 3000,
    "../../elsewhere/kept",
    "/etc/hostname",
    "~root",
    "http://192.0.2.1/x",
    "hf://datasets/a/b",
    "x\ny: !!python/object/apply:os.system [touch x]",
    "$(touch x); `touch x` && touch x",
    "'\"\\",
    "{prompt} {0} %s {{ 7 * 7 }} {% for x in y %}",
    "</script><script>alert(1)</script>",
    "[bold red]x[/bold red][/]",
    "| a | b |\n|---|",
    ":smile: [a](javascript:x)",
    "\u2028\u2029\u0085",
    "NaN",
    "null",
    "-1",
    "1e999",
    "9" * 5000,
    "💥👩\u200d👩\u200d👧",
    "CON",
    "." * 300,
    "model.safetensors",
    "de",
)
NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
INTEGERS = (2**31, -(2**31) - 1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**11, 10**30, 10**400)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, [0] * 10_000, ["x"] * 3000)
SAME_TYPE: dict[type, Sequence[Any]] = {str: TEXTS, int: (0, -1, 1, *INTEGERS), float: NUMBERS, bool: (True, False)}
SNIPPETS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"{", b"}", b"[", b'"', b",", b"\\u0000", b"\\ud800",
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\x1b[31m", b"\xe2\x80\xae", b"&a [*a]", b"<<: *b", b"? ", b": ",
    b"- ", b"!!python/name:os.system ", b"\t", b"#", b"|\n", b"---\n", b"'", b"[" * 3000, b'{"a":' * 3000,
    b"[" * 100_000,
)  # fmt: skip


def hostile_value(random: Random) -> Any:
    """A value that nobody expects, of any type."""
    kind = random.random()
    if kind < 0.45:
        return random.choice(TEXTS)
    if kind < 0.75:
        return random.choice((*NUMBERS, *INTEGERS))
    if kind < 0.95:
        return random.choice(OTHERS)
    return nested(random.choice((20, 400)))


def nested(depth: int) -> Any:
    value: Any = "deep"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def paths(value: Any, here: JsonPath = ()) -> list[JsonPath]:
    """The places of a JSON value, all but those far down a long list."""
    found = [here]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*here, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value[:4]):
            found += paths(inner, (*here, number))
    return found


def shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def mutate_value(value: Any, random: Random) -> tuple[Any, str]:
    """A JSON value with one place changed."""
    place = random.choice(paths(value))
    where = ".".join(map(str, place)) or "(all)"
    if not place:
        new = hostile_value(random)
        return new, f"(all) = {shown(new)}"
    parent = value
    for step in place[:-1]:
        parent = parent[step]
    last, kind = place[-1], random.random()
    if random.random() < 0.4 and type(parent[last]) in SAME_TYPE:
        parent[last] = random.choice(SAME_TYPE[type(parent[last])])
        return value, f"{where} = {shown(parent[last])}"
    if kind < 0.2:
        del parent[last]
        return value, f"{where} deleted"
    if kind < 0.3 and isinstance(parent, dict):
        new = random.choice(TEXTS)
        parent[new] = parent.pop(last)
        return value, f"{where} renamed {shown(new)}"
    if kind < 0.4 and isinstance(parent, dict):
        parent[random.choice(TEXTS)] = hostile_value(random)
        return value, f"{where} got a neighbour"
    if kind < 0.5 and isinstance(parent[last], list | str) and parent[last]:
        parent[last] = parent[last] * random.choice((2, 50)) if kind < 0.45 else parent[last][:-1]
        return value, f"{where} of another length"
    if kind < 0.6:
        parent[last] = random.choice((str(parent[last]), [parent[last]], {"a": parent[last]}, len(str(parent[last]))))
        return value, f"{where} of another type: {shown(parent[last])}"
    new = hostile_value(random)
    parent[last] = new
    return value, f"{where} = {shown(new)}"


def dumped(value: Any, random: Random) -> bytes:
    """JSON as somebody else may write it; a lone half of a surrogate pair stays one."""
    return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def mutate_json(path: Path, random: Random) -> str:
    value, what = mutate_value(json.loads(path.read_bytes()), random)
    data = dumped(value, random)
    if random.random() < 0.05 and isinstance(value, dict) and value:
        key = random.choice(list(value))
        data = b"{" + json.dumps(key).encode() + b":" + dumped(hostile_value(random), random) + b"," + data[1:]
        what += f"; {shown(key)} twice"
    path.write_bytes(data)
    return f"{path.name}: {what}"


def mutate_line(path: Path, random: Random) -> str:
    """One row of JSON Lines, or the same change of every row."""
    lines = path.read_bytes().splitlines()
    number, every, own = random.randrange(len(lines)), random.random() < 0.3, random.getrandbits(64)
    what = ""
    for place in range(len(lines)) if every else [number]:
        value, what = mutate_value(json.loads(lines[place]), Random(own))
        lines[place] = dumped(value, random)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return f"{path.name}:{'all' if every else number + 1}: {what}"


def mutate_bytes(path: Path, random: Random) -> str:
    data = path.read_bytes()
    place = random.randrange(len(data) + 1)
    kind = random.choice(("cut", "insert", "insert", "insert", "flip", "remove", "repeat", "empty"))
    snippet = random.choice(SNIPPETS)
    if kind == "cut":
        data = data[:place]
    elif kind == "insert":
        data = data[:place] + snippet + data[place:]
        kind += f" {snippet[:20]!r} ({len(snippet)} bytes)"
    elif kind == "flip":
        data = data[:place] + bytes(255 - each for each in data[place : place + 4]) + data[place + 4 :]
    elif kind == "remove":
        data = data[:place] + data[place + random.randrange(1, 60) :]
    elif kind == "repeat":
        data = data[:place] + data[max(0, place - 40) : place] * 200 + data[place:]
    else:
        data = b""
    path.write_bytes(data)
    return f"{path.name}: {kind} at {place}"


def replace_file(path: Path, random: Random) -> str:
    """Something else in the place of a file: nothing, a folder, a link to what is not ours, a pipe."""
    kinds = ("nothing", "folder", "link to a file", "link to a folder", "link to itself", "pipe")
    kind = random.choice(
        kinds if path.parent.name != "work" else kinds[:-1]
    )  # a pipe that its user names is waited for
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link to a file":
        path.symlink_to(os.path.relpath(elsewhere(path) / "kept", path.parent))
    elif kind == "link to a folder":
        path.symlink_to(os.path.relpath(elsewhere(path), path.parent))
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "pipe":
        os.mkfifo(path)
    return f"{path.name}: {kind} in its place"


def elsewhere(path: Path) -> Path:
    """The folder of a case that no command has a reason to touch."""
    return next(parent for parent in path.parents if parent.name == "work").parent / "elsewhere"


def add_file(path: Path, random: Random) -> str:
    """A file, folder or link beside the others, with a name that may mean something."""
    names = (".manifest.json.1", ".new", "manifest.json.tmp", "report.html", "trl", "kept.parquet", "README.md", "-rf",
             "\x1b[31m.jsonl", "a\nb.jsonl", "round-1", "lock", ".lock", "x" * 200 + ".jsonl")  # fmt: skip
    new = path.parent / random.choice(names)
    if new.exists() or new.is_symlink():
        return f"{new.name!r} is there"
    kind = random.choice(("file", "folder", "link"))
    if kind == "file":
        shutil.copy(path, new)
    elif kind == "folder":
        new.mkdir()
    else:
        new.symlink_to(os.path.relpath(elsewhere(path) / "kept", path.parent))
    return f"{new.name!r}: a {kind} was added"


def mutate_file(path: Path, random: Random) -> str:
    """A mutation that fits the kind of file."""
    if not path.is_file() or path.is_symlink():
        return f"{path.name} is no file any more"
    fitting: dict[str, Callable[[Path, Random], str]] = {".json": mutate_json, ".jsonl": mutate_line}
    kind = random.random()
    if kind < 0.7 and path.suffix in fitting:
        try:
            return fitting[path.suffix](path, random)
        except (ValueError, RecursionError):
            return mutate_bytes(path, random)
    if kind < 0.9:
        return mutate_bytes(path, random)
    return replace_file(path, random) if kind < 0.96 else add_file(path, random)
