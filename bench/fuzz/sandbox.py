"""Runs the command line in a forked child that can do no harm, and says what it did.

The child has the modules of its parent, so a case costs what the command itself does. An audit hook sees what Python
opens for writing, connects to and starts; all but the case's own folder and its own endpoint is refused and noted. The
kernel holds memory and processor time.
"""

import errno
import os
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from stat import S_ISDIR
from typing import Any
from urllib.parse import urlsplit

import datasets.config

from congrad import cli
from congrad.words import JOINERS

SECONDS, WALL_SECONDS = 5, 30  # of the processor, and of waiting
MOST_BYTES = 10**9  # beyond what the child starts with
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGED = ("remove", "rename", "mkdir", "rmdir", "symlink", "link", "truncate", "chmod", "chown")
CHANGES = tuple(f"os.{name}" for name in CHANGED)
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")


@dataclass(frozen=True)
class Done:
    """What a command did.

    Attributes:
        code: None where a signal or the limit of time ended it, which `ended` names.
        bytes_more: the most memory of its own, beyond what it started with.
        noted: what the audit hook refused.
        changed: files that the command had no reason to touch.
    """

    code: int | None
    ended: str
    out: str
    err: str
    seconds: float
    bytes_more: int
    noted: list[str]
    changed: list[str]


@dataclass(frozen=True)
class Reply:
    """What an endpoint answers; `again`: the body without end, with these seconds between."""

    body: bytes
    status: int = 200
    zipped: bool = False
    again: float | None = None


@dataclass(frozen=True)
class Fault:
    """What a machine refuses from some moment on.

    Attributes:
        kind: "open": every opening for writing, and what else changes a folder, with the error `number`. "size": files
            of more than `most` bytes. "files": more than `most` open files.
        after: "open": this many go well before.
    """

    kind: str
    number: int = 0
    after: int = 0
    most: int = 0

    def __str__(self) -> str:
        if self.kind == "open":
            return f"{errno.errorcode[self.number]} after {self.after} files"
        return f"{self.kind} limited to {self.most}"


def inject(fault: Fault) -> None:
    """Makes it so for the rest of this process."""
    if fault.kind != "open":
        which = resource.RLIMIT_FSIZE if fault.kind == "size" else resource.RLIMIT_NOFILE
        resource.setrlimit(which, (fault.most, fault.most))
        return
    left = iter(range(fault.after))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
        makes = event in ("os.mkdir", "os.rename", "os.link", "os.symlink")
        if (writes or makes) and arguments[0] != os.devnull and next(left, None) is None:
            raise OSError(fault.number, os.strerror(fault.number), arguments[0])

    sys.addaudithook(hook)


@contextmanager
def endpoint(replies: Sequence[Reply]) -> Iterator[str]:
    """Gives these in turn, whatever it is asked; its URL."""
    turn = cycle(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            reply = next(turn)
            self.send_response(reply.status)
            if reply.zipped:
                self.send_header("content-encoding", "gzip")
            if 300 <= reply.status < 400:
                self.send_header("location", "http://192.0.2.1/v1/chat/completions")
            if reply.again is None:
                self.send_header("content-length", str(len(reply.body)))
            with suppress(OSError):  # whoever asked waits no longer
                self.end_headers()
                self.wfile.write(reply.body)
                while reply.again is not None:
                    time.sleep(reply.again)
                    self.wfile.write(reply.body)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.socket.close()  # `server_close` would wait for replies without end


def watch(scratch: Path, url: str, note: Callable[[str], object]) -> None:
    """Refuses what is none of the command's business, for the rest of this process."""
    inside, own, busy = os.path.realpath(scratch) + os.sep, urlsplit(url).port, threading.local()

    def outside(path: Any) -> bool:
        if isinstance(path, int) or path is None or path == os.devnull:
            return False
        return not (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(inside)

    def refused(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            return isinstance(arguments[2], int) and bool(arguments[2] & WRITES) and outside(arguments[0])
        if event in CHANGES:
            first, last = (1, 2) if event.endswith("link") else (0, 2 if event == "os.rename" else 1)
            return any(outside(path) for path in arguments[first:last])
        if event in ("socket.connect", "socket.sendto"):
            return bool(arguments[1][:2] != ("127.0.0.1", own))
        if event == "socket.getaddrinfo":
            return bool(arguments[0] != "127.0.0.1")
        return event in PROGRAMS

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(busy, "yes", False):
            return
        busy.yes = True  # for what this does itself
        try:
            if refused(event, arguments):
                note(ascii(f"{event}: {arguments[:2]}"))
                raise PermissionError(13, "refused by the sandbox")
        finally:
            busy.yes = False

    sys.addaudithook(hook)


def call(*words: str) -> int:
    """The command line in this process; its exit code."""
    sys.argv = ["congrad", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def memory(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def limit() -> None:
    """Memory, processor time and sizes of files of this process, from here on."""
    seconds = int(time.process_time()) + SECONDS + 1
    for what, most in ((resource.RLIMIT_DATA, memory("VmData") + MOST_BYTES), (resource.RLIMIT_CPU, seconds),
                       (resource.RLIMIT_FSIZE, MOST_BYTES), (resource.RLIMIT_CORE, 0)):  # fmt: skip
        resource.setrlimit(what, (most, most))


def in_child(work: Callable[[], int], scratch: Path) -> tuple[int, float, str]:
    """Forks, does the work with its output in files; gives its status, its time and by what it was ended."""
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
    return status, used.ru_utime + used.ru_stime, ended


def run(
    words: Sequence[str],
    scratch: Path,
    *,
    replies: Sequence[Reply],
    may_change: Sequence[str],
    fault: Fault | None = None,
) -> Done:
    """A command in `scratch/work`; what it changes there but `may_change` is told. `{url}` is the endpoint's."""
    before = snapshot(scratch, may_change)
    home, tmp, notes, used_most = (scratch / name for name in OWN[:4])
    for folder in (home, tmp):
        folder.mkdir(exist_ok=True)

    def work(url: str) -> int:
        os.environ |= {"HOME": str(home), "HF_HOME": str(home), "HF_DATASETS_CACHE": str(home / "datasets")}
        datasets.config.HF_DATASETS_CACHE = home / "datasets"
        os.environ["TMPDIR"] = tempfile.tempdir = str(tmp)
        os.chdir(scratch / "work")
        descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        watch(scratch, url, lambda text: os.write(descriptor, text.encode() + b"\n"))
        limit()
        start = memory("RssAnon")
        used = os.open(used_most, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # before anything is refused
        if fault is not None:
            inject(fault)
        code = call(*(word.replace("{url}", url) for word in words))
        os.write(used, str(memory("VmHWM") - memory("RssFile") - start).encode())
        return code

    with endpoint(replies) as url:
        status, seconds, ended = in_child(lambda: work(url), scratch)
    if not ended and os.WIFSIGNALED(status):
        ended = f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    out, err = ((scratch / name).read_bytes().decode("utf-8", "surrogateescape") for name in OWN[4:])
    return Done(
        code=None if ended else os.waitstatus_to_exitcode(status),
        ended=ended,
        out=out,
        err=err,
        seconds=seconds,
        bytes_more=max(0, int(used_most.read_text() or 0)) if used_most.exists() else 0,
        noted=sorted({*notes.read_text().splitlines()}) if notes.exists() else [],
        changed=sorted({ascii(name) for name, _ in before ^ snapshot(scratch, may_change)}),
    )


OWN = ("home", "tmp", "notes", "memory", "out", "err")  # of the sandbox


def snapshot(scratch: Path, may_change: Sequence[str]) -> set[tuple[str, tuple[int, ...]]]:
    """Every file of a case but those that the command is to write, with what would show a change."""
    found = set()
    for folder, folders, files in os.walk(scratch):
        for path in (Path(folder, name) for name in (*folders, *files)):
            name = path.relative_to(scratch)
            if name.parts[0] in OWN or any(name.is_relative_to(f"work/{each}") for each in may_change):
                continue
            stat = path.lstat()
            of_file = () if S_ISDIR(stat.st_mode) else (stat.st_size, stat.st_mtime_ns)
            found.add((str(name), (stat.st_mode, stat.st_ino, *of_file)))
    return found


KINDS = {"socket": "sent", "open": "written outside", "os.": "changed outside"}


def problems(done: Done) -> list[str]:
    """What must not be, each with its kind first; nothing where all is well."""
    lines = done.err.splitlines() or [""]
    found = [f"{done.ended}: {lines[-1][:120]}"] if done.ended else []
    if done.code not in (None, 0, 2):
        found.append(f"exit code {done.code}: {where(done.err)}")
    elif "Traceback (most recent" in done.err or "this is a bug" in done.err:
        found.append(f"traceback: {where(done.err)}")
    elif done.code == 2 and "Usage: " not in done.err:
        said = [line for line in lines if line.startswith("congrad: ")]
        if said != lines[-1:]:
            found.append(f"not one line: {lines[0][:100]!a} ... {lines[-1][:100]!a}")
    if "Warning: " in done.err:
        found.append(f"Python warning: {next(line for line in lines if 'Warning: ' in line)[-120:]}")
    shown = (done.out + done.err).replace("\n", "")
    if acting := {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in JOINERS}:
        found.append(f"control characters: {sorted(map(ascii, acting))[:5]}")
    if done.bytes_more > MOST_BYTES:
        found.append(f"memory: {done.bytes_more / 1e9:.1f} GB more")
    if done.code is not None and done.seconds > SECONDS:
        found.append(f"time: {done.seconds:.1f} s")
    for note in done.noted:
        kind = next((kind for start, kind in KINDS.items() if note[1:].startswith(start)), "started")
        found.append(f"{kind}: {note[:150]}")
    return found + [f"input changed: {name}" for name in done.changed[:3]]


def where(err: str) -> str:
    """The last own line of a traceback, and its error without what differs from case to case."""
    frames = re.findall(r'File "[^"\n]*?/(congrad/[^"\n]*)", line (\d+), in (\S+)', err)
    lines = [line for line in err.splitlines() if line and not line.startswith((" ", "congrad: this is"))]
    place = "{}:{} {}".format(*frames[-1]) if frames else "?"
    return f"{place}: {lines[-1][:160] if lines else ''}"


def signature(problem: str) -> str:
    """What failures of one cause have in common."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|\d+", "*", re.sub(r":(\d+) ", " ", problem))[:110]
