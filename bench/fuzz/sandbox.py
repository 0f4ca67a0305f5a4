"""Runs the command line in a forked child that can do no harm, and says what it did.

The child has the modules of its parent, so a case costs what the command itself does. An audit hook sees what Python
opens for writing, connects to and starts; all but the case's own folder and its own endpoint is refused and noted. The
kernel holds memory and processor time.
"""

import gzip
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import datasets.config

from congrad import cli
from congrad.words import JOINERS

SECONDS, WALL_SECONDS = 5, 20  # of the processor, and of waiting
MOST_BYTES = 10**9  # beyond what the child starts with
ENDLESS = b"(endless)"
ZIPPED = b"(zipped)"
DRIPPING = b"(dripping)"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGED = ("remove", "rename", "mkdir", "rmdir", "symlink", "link", "truncate", "chmod", "chown")
CHANGES = tuple(f"os.{name}" for name in CHANGED)
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")


@dataclass
class Done:
    """What a command did."""

    code: int | None  # None: a signal or the limit of time ended it
    out: str
    err: str
    seconds: float
    bytes_more: int
    ended: str = ""  # by what, where not by itself
    noted: list[str] = field(default_factory=list)  # what the audit hook refused
    changed: list[str] = field(default_factory=list)  # files that the command had no reason to touch


# The endpoint


@contextmanager
def endpoint(replies: Sequence[bytes]) -> Iterator[int]:
    """Gives these bodies in turn, whatever it is asked; a body may begin with `HTTP 500\\n`. Yields its port."""
    bodies = cycle(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body, status = next(bodies), 200
            if body.startswith(b"HTTP "):
                line, _, body = body.partition(b"\n")
                status = int(line[5:])
            self.send_response(status)
            self.send_header("content-type", "application/json")
            if body.startswith(ZIPPED):
                body = gzip.compress(body.removeprefix(ZIPPED) % (b"a" * 100_000_000), 1)
                self.send_header("content-encoding", "gzip")
            if status in (301, 302, 307, 308):
                self.send_header("location", "http://192.0.2.1/v1/chat/completions")
            if body in (ENDLESS, DRIPPING):
                self.end_headers()
                self.go_on(*((b"x", 0.05) if body == DRIPPING else (b"x" * 65536, 0.0)))
                return
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def go_on(self, piece: bytes, pause: float) -> None:
            try:
                while True:
                    self.wfile.write(piece)
                    time.sleep(pause)
            except OSError:
                pass

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


# The child


def watch(scratch: Path, port: int, note: Callable[[str], object]) -> None:
    """Refuses what is none of the command's business, for the rest of this process."""
    inside = os.path.realpath(scratch) + os.sep
    quiet = threading.local()

    def outside(path: object) -> bool:
        if isinstance(path, int) or path is None:
            return False
        whole = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return not (whole + os.sep).startswith(inside) and whole not in ("/dev/null", "/dev/tty")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(quiet, "busy", False):
            return
        quiet.busy = True
        try:
            refuse(event, arguments)
        finally:
            quiet.busy = False

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES and outside(arguments[0]):
            note(f"opened for writing: {arguments[0]}")
            raise PermissionError(13, "refused", str(arguments[0]))
        if event in CHANGES and any(outside(path) for path in arguments[: 1 + (event in ("os.rename", "os.link"))]):
            note(f"{event}: {arguments[:2]}")
            raise PermissionError(13, "refused", str(arguments[0]))
        if event in ("socket.connect", "socket.sendto") and arguments[1][:2] != ("127.0.0.1", port):
            note(f"{event}: {arguments[1]}")
            raise ConnectionRefusedError(111, "refused")
        if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", None):
            note(f"{event}: {arguments[0]}")
            raise socket.gaierror(-2, "refused")
        if event in PROGRAMS:
            note(f"{event}: {arguments[:2]}")
            raise FileNotFoundError(2, "refused", str(arguments[0]))

    sys.addaudithook(hook)


def call(*arguments: object) -> int:
    """The command line in this process; its exit code."""
    sys.argv = ["congrad", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def memory_in_use(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def limit() -> None:
    """Memory and processor time of this process from here on."""
    most = memory_in_use("VmData") + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    used = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + SECONDS, int(used) + SECONDS + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, 10**9))


def in_child(work: Callable[[], int], scratch: Path) -> tuple[int, Any, str]:
    """Forks, does the work with its output in files; gives its status, its resources and by what it was ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    began, ended = time.monotonic(), ""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            for name, number in (("out", 1), ("err", 2)):
                os.dup2(os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            code = work()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() - began > WALL_SECONDS:
            ended = f"still running after {WALL_SECONDS} s"
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it may have started
    return status, used, ended


def run(arguments: Sequence[object], scratch: Path, *, replies: Sequence[bytes], may_change: Sequence[str]) -> Done:
    """A command in `scratch/work`; what it changes there but `may_change` is told. `{url}` is the endpoint's."""
    before, notes = snapshot(scratch, may_change), scratch / "notes"
    for name in OWN_FOLDERS:
        (scratch / name).mkdir(exist_ok=True)

    def work(port: int) -> int:
        home = str(scratch / "home")
        os.environ.update(HOME=home, HF_HOME=home, HF_DATASETS_CACHE=f"{home}/datasets", TMPDIR=str(scratch / "tmp"))
        datasets.config.HF_DATASETS_CACHE = scratch / "home" / "datasets"
        tempfile.tempdir = str(scratch / "tmp")
        os.chdir(scratch / "work")
        descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        watch(scratch, port, lambda text: os.write(descriptor, ascii(text).encode() + b"\n"))
        limit()
        start = memory_in_use("RssAnon")
        code = call(*(str(each).replace("{url}", f"http://127.0.0.1:{port}/v1") for each in arguments))
        (scratch / "memory").write_text(str(memory_in_use("VmHWM") - memory_in_use("RssFile") - start))
        return code

    with endpoint(replies) as port:
        status, used, ended = in_child(lambda: work(port), scratch)
    if not ended and os.WIFSIGNALED(status):
        ended = f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    out, err = ((scratch / name).read_bytes().decode("utf-8", "surrogateescape") for name in ("out", "err"))
    return Done(
        code=None if ended else os.waitstatus_to_exitcode(status),
        out=out,
        err=err,
        seconds=used.ru_utime + used.ru_stime,
        bytes_more=0 if ended else max(0, int((scratch / "memory").read_text())),
        ended=ended,
        noted=sorted({*notes.read_text().splitlines()}) if notes.exists() else [],
        changed=changes(before, snapshot(scratch, may_change)),
    )


OWN_FOLDERS = ("home", "tmp")
OWN = ("out", "err", "notes", "memory", *OWN_FOLDERS)  # of the sandbox


def snapshot(scratch: Path, may_change: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Every file of a case but those that the command is to write, with what would show a change."""
    found = {}
    for folder, folders, files in os.walk(scratch):
        relative = os.path.relpath(folder, scratch)
        if relative == ".":
            folders[:] = [name for name in folders if name not in OWN]
        for name in (*folders, *files):
            path = os.path.normpath(os.path.join(relative, name))
            if path.split(os.sep)[0] in OWN or any(f"{path}/".startswith(f"work/{each}/") for each in may_change):
                continue
            stat = os.lstat(os.path.join(folder, name))
            of_file = () if S_ISDIR(stat.st_mode) else (stat.st_size, stat.st_mtime_ns)
            found[path] = (stat.st_mode, stat.st_ino, *of_file)
    return found


def changes(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> list[str]:
    return sorted(ascii(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name))


# The oracle


def problems(done: Done) -> list[str]:
    """What must not be, each with its kind first; nothing where all is well."""
    lines = done.err.splitlines()
    found = [f"{done.ended.split(' after')[0]}: {lines[-1] if lines else ''}"[:200]] if done.ended else []
    if done.code is not None and done.code not in (0, 2):
        found.append(f"exit code {done.code}: {where(done.err)}")
    elif "Traceback (most recent" in done.err or "this is a bug" in done.err:
        found.append(f"traceback: {where(done.err)}")
    elif done.code == 2 and "Usage: " not in done.err:
        said = [line for line in lines if line.startswith("congrad: ")]
        if len(said) != 1 or not lines[-1].startswith("congrad: "):
            found.append(f"not one line: {(lines or [''])[0][:100]!a} ... {(lines or [''])[-1][:100]!a}")
    if "Warning: " in done.err:
        line = next(line for line in lines if "Warning: " in line)
        found.append(f"Python warning: {line[-120:]}")
    shown = (done.out + done.err).replace("\n", "")
    if acting := {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in JOINERS}:
        found.append(f"control characters: {sorted(map(ascii, acting))[:5]}")
    if done.bytes_more > MOST_BYTES:
        found.append(f"memory: {done.bytes_more / 1e9:.1f} GB more")
    if done.code is not None and done.seconds > SECONDS:
        found.append(f"time: {done.seconds:.1f} s")
    kinds = {"socket": "sent", "opened": "written outside", "os.": "changed outside"}
    for each in done.noted:
        kind = next((kind for start, kind in kinds.items() if each.strip("'\"").startswith(start)), "started")
        found.append(f"{kind}: {each[:150]}")
    found += [f"input changed: {name}" for name in done.changed[:3]]
    return found


def where(err: str) -> str:
    """The last own line of a traceback, and its error without what differs from case to case."""
    frames = re.findall(r'File "[^"\n]*?/(congrad/[^"\n]*)", line (\d+), in (\S+)', err)
    lines = [line for line in err.splitlines() if line and not line.startswith((" ", "congrad: this is"))]
    place = "{}:{} {}".format(*frames[-1]) if frames else "?"
    return f"{place}: {lines[-1][:160] if lines else ''}"


def signature(problem: str) -> str:
    """What failures of one cause have in common."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|\d+", "*", re.sub(r":(\d+) ", " ", problem))[:110]
