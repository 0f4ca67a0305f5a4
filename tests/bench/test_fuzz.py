"""The sandbox of the fuzz command sees what must not be, and refuses it."""

import json
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TRIED = """
import json, os, socket, subprocess, sys, time
from pathlib import Path
from bench.fuzz import sandbox

scratch = Path(sys.argv[1])
(scratch / "work").mkdir()
(scratch / "work" / "input").write_text("as it was")

def connect():
    with socket.socket() as own:
        own.connect(("192.0.2.1", 80))

def write(path):
    Path(path).write_text("other")

TRIED = {
    "nothing": lambda: None,
    "its output": lambda: write("out"),
    "outside": lambda: write(scratch.parent / "outside"),
    "outside, through a link": lambda: (os.symlink(scratch.parent, "out"), write("out/outside")),
    "input": lambda: write("input"),
    "network": connect,
    "program": lambda: subprocess.run(["true"]),
    "processor": lambda: any(iter(int, 1)),
    "memory": lambda: bytearray(2 * 10**9),
    "terminal": lambda: os.write(1, b"\\x1b[2J"),
    "code": lambda: 3,
    "no reason": lambda: 2,
    "traceback": lambda: os.write(2, b"Traceback (most recent call last):"),
}

found = {}
for name, tried in TRIED.items():
    def call(*words):
        try:
            return tried() if name in ("code", "no reason") else tried() and 0 or 0
        except (OSError, MemoryError) as error:
            os.write(2, f"{type(error).__name__}\\n".encode())
            return 1
    sandbox.call = call
    for own in sandbox.OWN[:4]:
        subprocess.run(["rm", "-rf", scratch / own])
    done = sandbox.run((), scratch, replies=(), may_change=("out",))
    found[name] = [problem.split(":")[0] for problem in sandbox.problems(done)]
    (scratch / "work" / "out").unlink(missing_ok=True)
print(json.dumps(found))
"""


def test_the_sandbox_sees_what_must_not_be(start, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    (tmp_path / "case").mkdir()
    out, err = start("-c", TRIED, tmp_path / "case").communicate()
    assert json.loads(out or err) == {
        "nothing": [],
        "its output": [],
        "outside": ["exit code 1", "written outside"],
        "outside, through a link": ["exit code 1", "written outside"],
        "input": ["input changed"],
        "network": ["exit code 1", "sent"],
        "program": ["exit code 1", "started"],
        "processor": ["signal SIGKILL"],
        "memory": ["exit code 1"],
        "terminal": ["control characters"],
        "code": ["exit code 3"],
        "no reason": ["not one line"],
        "traceback": ["traceback"],
    }
    assert not (tmp_path / "outside").exists()
