"""`congrad` in a process of its own, which notes the files that are opened and the hosts that are called.

Reads command lines, one JSON list a line, and answers each with a line of JSON: code, error, files and calls.
"""

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout

import pyarrow as pa

from congrad.cli import main

opened: list[str] = []
called: list[str] = []


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        called.append(repr(arguments[1:] if event == "socket.connect" else arguments))
    elif event == "open" and isinstance(arguments[0], str | bytes):
        opened.append(os.path.realpath(os.fsdecode(arguments[0])))


def noted_memory_map(path: str, *arguments: object) -> pa.MemoryMappedFile:
    opened.append(os.path.realpath(path))  # Arrow opens files without Python
    return memory_map(path, *arguments)


sys.addaudithook(note)
memory_map, pa.memory_map = pa.memory_map, noted_memory_map

for command in sys.stdin:
    opened.clear()
    called.clear()
    code: object = 0
    sys.argv = ["congrad", *json.loads(command)]
    with redirect_stderr(io.StringIO()) as error, redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, error.getvalue(), opened, called]), flush=True)
